"""A study that pursues a loss: rounds to the end, the same decisions however often it is killed, and what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.support import pursued_worker
from var_scaling.cli.sweep import app
from var_scaling.errors import RequestProblem
from var_scaling.launch.pursuit import Decision, read_decisions, write_decision
from var_scaling.planning.plan import make_plan
from var_scaling.planning.question import Question, question_of
from var_scaling.planning.study import parse_study
from var_scaling.runs import store

WORKER = (sys.executable, str(ROOT / "tests" / "support" / "pursued_worker.py"))
STUDY = """
name: hunt
base:
  data: {name: fashion-mnist-mini}
  tokenizer: {preset: tiny}
  model: {family: var, head_dim: 16}
  train: {batch_size: 64, schedule: wsd}
grid:
  model.depth: [2, 3, 4, 5]
  seed: [0]
budgets: {images: [5_120, 15_360, 46_080]}
pursue: {quantity: loss_all_scales, at: {model.depth: 6, images: 92_160}, interval: 0.03, spend: {train_flops: 9e12},
         at_once: 5}
"""


def question(text: str, runs: Path) -> Question:
    study, configs = parse_study(text, "hunt.yaml")
    return question_of(make_plan(study, configs, runs), configs)


def laid(place: Path, **planted: Any) -> tuple[Path, Path]:
    """A sweep file, and a runs folder whose trials follow a planted law."""
    (place / "runs").mkdir(parents=True)
    store.write_json(place / "runs" / "planted.json", {"noise": 0.002, "diverge": [], "seconds": 0.0, **planted})
    (place / "hunt.yaml").write_text(STUDY)
    return place / "hunt.yaml", place / "runs"


def launched(file: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VAR_SCALING_WORKER_COMMAND", "\x1f".join(WORKER))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return CliRunner().invoke(app, ["launch", str(file), "--runs", str(runs), "--no-mlflow", "--json"])


def plain(decisions: list[Decision]) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(each).items() if name != "time"} for each in decisions]


@pytest.fixture(scope="module")
def hunted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A pursuit that ran to its end undisturbed: its file, its runs, and what it said."""
    file, runs = laid(tmp_path_factory.mktemp("hunted"))
    with pytest.MonkeyPatch.context() as patch:
        result = launched(file, runs, patch)
    assert result.exit_code == 0, result.output
    return file, runs, json.loads(result.stdout)


def test_it_ends_narrow_holds_the_truth_and_costs_less_than_the_grid(hunted: tuple[Path, Path, dict[str, Any]]) -> None:
    file, runs, said = hunted
    rounds = said["pursuit"]
    last, asked = rounds[-1], question(file.read_text(), runs)
    assert last["end"] == "narrow" and last["half_width"] <= 0.03
    assert last["low"] < pursued_worker.law(asked.params, asked.images) < last["high"]
    assert last["spent"] == sum(sum(each["prices"]) for each in rounds) < 9e12
    assert len(rounds) > 2 and all(each["reason"] for each in rounds)
    assert all(len(each["chosen"]) <= 5 for each in rounds)
    chosen = [label for each in rounds for label in each["chosen"]]
    assert len(chosen) == len(set(chosen)) == last["rows"]
    trained = {f"{p.parents[2].name} at {p.parent.name}" for p in runs.glob("trials/*/budgets/*/row.json")}
    assert trained == set(chosen)  # nothing else of the grid was trained
    assert (runs / "sweeps/hunt/pursuit/interval.png").stat().st_size > 5_000
    table = (runs / "sweeps/hunt/pursuit/interval.csv").read_text()
    assert "whole grid" in table and "pursued" in table


def test_launched_again_it_is_over_and_trains_nothing(
    hunted: tuple[Path, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, runs, said = hunted
    launches = sorted((runs / "sweeps/hunt/launches").iterdir())
    result = launched(file, runs, monkeypatch)
    assert result.exit_code == 0 and json.loads(result.stdout)["pursuit"] == said["pursuit"]
    assert sorted((runs / "sweeps/hunt/launches").iterdir()) == launches


def test_status_and_plan_tell_of_it(hunted: tuple[Path, Path, dict[str, Any]]) -> None:
    file, runs, said = hunted
    status = CliRunner().invoke(app, ["status", "hunt", "--runs", str(runs)])
    assert "over, narrow:" in status.output and "pursued to ±3 %" in status.output
    found = json.loads(CliRunner().invoke(app, ["status", "hunt", "--runs", str(runs), "--json"]).stdout)
    assert found["pursuit"] == said["pursuit"]
    plan = json.loads(CliRunner().invoke(app, ["plan", str(file), "--runs", str(runs), "--json"]).stdout)
    assert plan["pursuit"]["end"] == "narrow" and plan["pursuit"]["spent"] == said["pursuit"][-1]["spent"]


def test_a_plan_simulates_what_is_not_begun(tmp_path: Path) -> None:
    file, runs = laid(tmp_path)
    before = sorted(runs.rglob("*"))
    result = CliRunner().invoke(app, ["plan", str(file), "--runs", str(runs)])
    assert result.exit_code == 0, result.output
    assert "simulated pursuits of laws as probable as the prior alone" in " ".join(result.output.split())
    assert sorted(runs.rglob("*")) == before


def test_killed_in_each_round_it_ends_in_the_same_decisions(
    hunted: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, whole, said = hunted
    file, runs = laid(tmp_path, seconds=0.3)
    env = {**os.environ, "VAR_SCALING_WORKER_COMMAND": "\x1f".join(WORKER), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "launch", str(file), "--runs", str(runs), "--no-mlflow"]
    rounds = len(said["pursuit"])
    killed = 0
    for number in range(rounds):
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 120
        decided = runs / f"sweeps/hunt/pursuit/{number:03d}.json"
        while not decided.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert decided.exists()
        if number < rounds - 1:
            time.sleep(0.4)  # its works have begun
            os.killpg(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        else:
            assert process.wait(timeout=120) == 0
    assert killed == rounds - 1
    assert plain(read_decisions(runs / "sweeps/hunt")) == plain(read_decisions(whole / "sweeps/hunt"))


def test_a_run_that_fails_is_paid_for_and_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, runs = laid(tmp_path, diverge=["d3-s0"])
    file.write_text(STUDY.replace("9e12", "6e11"))  # ends soon
    result = launched(file, runs, monkeypatch)
    rounds = json.loads(result.stdout)["pursuit"]
    assert result.exit_code == 0 and rounds[-1]["end"] is not None
    asked = [(each["number"], label) for each in rounds for label in each["chosen"] if label.startswith("var-d3-s0-")]
    assert asked and len({number for number, _ in asked}) == 1
    assert rounds[-1]["failed"] == 3  # all budgets of that trial are lost with it


def test_budgets_on_one_trunk_cost_what_they_add(tmp_path: Path) -> None:
    asked = question(STUDY, tmp_path)
    labels = [candidate.label for candidate in asked.candidates]
    alone = asked.prices([])
    beside = asked.prices(labels[:1])
    assert beside[0] == alone[0] and beside[3:] == alone[3:]
    unit, first, second = asked.candidates[0].unit, 5_120, 15_360
    branch = 64 * (first // 64 - round(0.2 * first / 64))
    assert alone[1] - beside[1] == branch * unit  # the trunk up to the first branch is there
    assert alone[1] == second * unit


def test_two_that_decide_at_once_end_with_one_decision(tmp_path: Path) -> None:
    one, other = (Decision(0, (label,), (1.0,), 0.0, 0, 0, None, None, None, 0.1, {}, label) for label in "ab")
    assert write_decision(tmp_path, one) == write_decision(tmp_path, other) == one
    assert [path.name for path in (tmp_path / "pursuit").iterdir()] == ["000.json"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("loss_all_scales", "loss_al_scales", "line 12: .*did you mean `loss_all_scales`"),
        ("images: 92_160}, interval", "imags: 92_160}, interval", "exactly one of `images` and `train_flops`"),
        ("{model.depth: 6,", "{model.dept: 6,", "line 12: .*no such field"),
        ("{model.depth: 6,", "{", "names no model"),
        ("interval: 0.03", "interval: 3", "line 12: .*less than 1"),
        ("at_once: 5", "at_onc: 5", "did you mean `at_once`"),
        ("train_flops: 9e12", "train_flops: 0", "greater than 0"),
        ("seed: [0]", "train.batch_size: [64, 128]", "line 10: .*one law has to describe all"),
    ],
)
def test_mistakes_in_the_file_have_their_line(before: str, after: str, words: str) -> None:
    assert before in STUDY
    with pytest.raises(RequestProblem, match=words):
        parse_study(STUDY.replace(before, after), "hunt.yaml")
