"""The bar of a launch only goes forward, and is at its end when all is done."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.conftest import FAKE_STUDY
from tests.support import engine
from var_scaling.cli.bars import Bars
from var_scaling.launch.follow import View
from var_scaling.runs.record import Record


def test_a_launch_of_more_budgets_starts_at_nothing_and_never_goes_back(tmp_path: Path) -> None:
    study, runs = tmp_path / "fake.yaml", tmp_path / "runs"
    study.write_text(FAKE_STUDY)
    engine.run(study, runs)
    study.write_text(
        FAKE_STUDY.replace("[3_000, 7_000]", "[3_000, 7_000, 20_000]").replace(
            "budgets", "evaluate: {fid: {samples: 500}}\nbudgets"
        )
    )
    launch, _ = engine.start(study, runs)
    bars = Bars(launch, Console(file=io.StringIO()))
    seen = []

    def draw(records: dict[str, Record], queue: dict[str, str]) -> None:
        bars.draw(View(queue, records))  # type: ignore[arg-type]
        task = bars.progress.tasks[0]
        seen.append(task.completed / task.total)

    # As they are on disk: trained to their old budgets, at 7,000 of 7,000 images.
    old = {t.work.folder: t.record for t in launch.plan.trials}
    assert {(r.done, r.total) for r in old.values()} == {(7_000, 7_000)}, "the premise"
    stages = [job.work.folder for job in launch.jobs if job.work.kind != "trial"]
    records = {folder: Record("new") for folder in stages} | old
    draw(records, {})
    assert seen == [0.0], "what an earlier launch did is no progress of this one"
    for stage in stages:
        for done in (10, 90, 40):  # a stage has parts, each with a progress of its own
            records[stage] = Record("running", 1, done=done, total=100)
            draw(records, {stage: "running"})
        records[stage] = Record("finished", 1)
        draw(records, {stage: "gone"})
    for folder, before in old.items():
        for done in (8_000, 15_000, 20_000):
            records[folder] = replace(before, state="running", attempts=2, done=done, total=20_000)
            draw(records, {folder: "running"})
        for missing in (3, 2, 1):  # now it evaluates, and its progress is of samples
            rows = (3_000, 7_000, 20_000)
            records[folder] = replace(
                before, state="running", attempts=2, done=0, total=500, rows=rows, missing_evaluations=missing
            )
            draw(records, {folder: "running"})
        records[folder] = replace(before, state="finished", attempts=2)
        draw(records, {folder: "gone"})
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len({round(share, 3) for share in seen}) > 20, "it moves"
