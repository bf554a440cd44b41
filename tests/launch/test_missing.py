"""`launch` ends with 0 if and only if everything that was asked for is there; anything else is named, with a reason."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER
from tests.support import commands, engine, programs
from tests.support.claims import a_live_claim, claims, lasting, launch, slowly
from var_scaling.runs import holders, store


def test_a_worker_that_was_killed_is_started_again(fake_study: Path, runs: Path) -> None:
    process = launch(fake_study, slowly(runs))
    path, holder = a_live_claim(runs)
    os.kill(holder.pid, signal.SIGKILL)
    commands.until(lambda: (path.parent / "001").exists(), "its next attempt")
    slowly(runs, 0.0)
    assert process.wait(120) == 0, commands.said(runs)


def test_a_trial_whose_worker_is_always_killed_is_named(fake_study: Path, runs: Path) -> None:
    process = launch(fake_study, slowly(runs))
    victim, _ = a_live_claim(runs)

    def killed() -> bool:
        for path, holder in claims(runs):
            if path.parent == victim.parent and holders.life(holder) == "alive":
                os.kill(holder.pid, signal.SIGKILL)
        slowly(runs, 0.0 if len(list(victim.parent.glob("[0-9]*"))) == 3 else 0.5)
        return process.poll() is not None

    commands.until(killed, "the launch ends", 120)
    assert process.returncode == 1
    assert "killed" in commands.said(runs) and victim.parents[1].name in commands.said(runs)


def test_a_cancel_from_another_shell_is_no_success(fake_study: Path, runs: Path) -> None:
    process = launch(lasting(fake_study), slowly(runs))
    a_live_claim(runs)
    commands.run("cancel", "fake", "--yes", runs=runs)
    assert process.wait(60) == 1
    assert "cancelled from another shell" in commands.said(runs)


def test_a_cancel_reaches_a_running_stage_and_what_stands_on_it(fake_study: Path, runs: Path) -> None:
    stage = next(job.work.folder for job in engine.start(fake_study, runs)[0].jobs if job.work.kind == "tokenizer")
    (runs / "stage_seconds").write_text("60")
    process = launch(fake_study, runs)
    commands.until(lambda: list(claims(runs, stage)), "the stage runs")
    commands.run("cancel", "fake", "--yes", runs=runs)
    assert process.wait(60) == 1
    assert not list(runs.glob("trials/*/attempts"))


@pytest.mark.parametrize("how", ["not-claimed", "unknown-holder", "failed-stage"])
def test_what_never_began_is_named_with_its_reason(fake_study: Path, runs: Path, how: str) -> None:
    started, _ = engine.start(fake_study, runs)
    trial = next(runs / job.work.folder for job in started.jobs if job.work.kind == "trial")
    if how == "not-claimed":  # as where the folder is another user's
        (trial / "attempts").write_text("")
        said = f"its worker left before it began: {trial.name} could not be claimed"
    elif how == "unknown-holder":
        attempt = store.take(trial)
        claim = store.read_json(attempt.folder / "claim.json")
        claim["holder"] |= {"host": "elsewhere", "boot": "other"}
        store.write_json(attempt.folder / "claim.json", claim)
        said = "held by pid"
    else:
        stage = next(job.work.folder for job in started.jobs if job.work.kind == "tokenizer")
        (runs / f"fail_{Path(stage).name}").write_text("no file [/data/val]")
        said = "no file [/data/val]"
    assert launch(fake_study, runs).wait(120) == 1
    told = commands.said(runs)
    assert said in told and "bug" not in told, told
    if how == "unknown-holder":
        commands.run("status", "fake", runs=runs)
        assert "1 may run or not" in commands.said(runs)
    if how == "failed-stage":
        commands.run("logs", Path(stage).name[:8], runs=runs)
        commands.run("retry", "fake", "--cores", 2, runs=runs, expect=1)
        assert len(list((runs / stage / "attempts").glob("[0-9]*"))) == 2


def test_a_trial_that_left_the_study_is_said_and_within_reach(fake_study: Path, runs: Path) -> None:
    process = launch(lasting(fake_study), slowly(runs))
    path, _ = a_live_claim(runs)
    other = fake_study.with_name("fake2.yaml")
    other.write_text(FAKE_STUDY.replace("[2, 3]", "[4]"))
    engine.start(other, runs)
    commands.run("status", "fake", runs=runs)
    assert "no longer in the study" in commands.said(runs) and path.parents[1].name in commands.said(runs)
    commands.run("cancel", "fake", "--yes", runs=runs)
    assert process.wait(60) == 1
    assert not list(claims(runs))


def test_a_launch_tells_what_it_ran_and_what_a_filter_means(fake_study: Path, runs: Path) -> None:
    def told(*arguments: object):  # noqa: ANN202
        return programs.run("sweep", *map(str, arguments), VAR_SCALING_WORKER_COMMAND="\x1f".join(FAKE_WORKER))

    fake_study.write_text(FAKE_STUDY.replace("[2, 3]", "[2]"))
    runs.mkdir()
    (runs / "fail_").write_text("once: no [/disk]")
    failing = "launch", fake_study, "--runs", runs, "--no-mlflow"
    first = told(*failing)
    assert first.returncode == 1 and "no [/disk]" in first.stderr
    assert "1 works run" in first.stdout and "rows of" not in first.stdout and "fit-laws" not in first.stdout
    (runs / "fail_").unlink()
    (runs / "fail_var-d2-s0").write_text("a bug")
    lines = told(*failing).stderr.splitlines()
    assert not [line for line in lines if "running" in line and "disk" in line], "the failure of an attempt before"
    for command, code, words in (
        (("logs", "d2-s1"), 0, "checkpoint trunk at 7,000 images: train/loss 0.6"),
        (("status", "fake", "state=faild"), 2, "a state is one of new, running"),
        (("status", "fake", "depth=two"), 2, "depth is a whole number"),
        (("status", "fake", "depth=9"), 0, "none of the 2 trials of fake is meant by depth=9"),
        (("cancel", "fake", "depth=9", "--yes"), 0, "nothing of fake that depth=9 means runs"),
    ):
        said = told(*command, "--runs", runs)
        assert said.returncode == code and words in " ".join((said.stdout + said.stderr).split()), said
