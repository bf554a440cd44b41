"""`var-sweep tune` from its command line to a sweep that uses the winner, on a real Ray, around a planted optimum."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import engine
from var_scaling.cli import tune
from var_scaling.launch.order import Order
from var_scaling.launch.ray.place import Ray
from var_scaling.launch.ray.tune import winner
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import parse_study
from var_scaling.planning.tuned import FACTOR, Point, TunedRecipe, load_recipe
from var_scaling.runs import store

pytestmark = pytest.mark.xdist_group("ray")
WORKER = (sys.executable, str(ROOT / "tests" / "support" / "planted_worker.py"))


def sweep(*arguments: str, runs: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "VAR_SCALING_WORKER_COMMAND": "\x1f".join(WORKER)}
    command = [sys.executable, "-m", "var_scaling.cli.sweep", *arguments, "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280, env=env)
    assert done.returncode == 0, done.stderr
    return done


def centre(study: Path, runs: Path) -> tuple[float, float]:
    """What the ladder's recipe says at depth 2, which the search lies around."""
    config = engine.plan(study, runs).trials[0].config
    assert config.model.depth == 2 and config.train.learning_rate and config.model.gamma_init
    return config.train.learning_rate, config.model.gamma_init


def search(study: Path, runs: Path, address: str, out: Path) -> tuple[TunedRecipe, str]:
    where = ("--depth", "2", "--steps", "2", "--address", address, "--out", str(out))
    done = sweep("tune", str(study), *where, runs=runs)
    return load_recipe(out), done.stdout


def test_the_planted_optimum_is_found_and_later_sweeps_use_it(
    fake_study: Path, runs: Path, ray_address: str, tmp_path: Path
) -> None:
    rate, gamma = centre(fake_study, runs)
    runs.mkdir()
    store.write_json(runs / "optimum.json", {"learning_rate": rate * FACTOR, "gamma_init": gamma})
    recipe, said = search(fake_study, runs, ray_address, tmp_path / "found.yaml")
    assert recipe.learning_rate == pytest.approx(rate * FACTOR, rel=1e-5)
    assert recipe.knobs == {"gamma_init": pytest.approx(gamma)} and recipe.at_edge == ()
    assert "widen" not in said
    assert len(recipe.evidence) == 15, "every candidate has evidence, those that were cut short too"
    spent = sorted({point.images for point in recipe.evidence})
    assert len(spent) == 3 and recipe.evidence[0].images == spent[-1], "ASHA cut some at each rung"
    rows = _rows(runs)
    assert len(rows) < 15 * 3 * 0.85, "the search costs less than the grid"

    again, _ = search(fake_study, runs, ray_address, tmp_path / "again.yaml")
    assert (again.learning_rate, again.knobs) == (recipe.learning_rate, recipe.knobs)
    # ASHA decides in the order of reports, so a second search may carry a candidate further; it repeats nothing.
    assert rows.items() <= _rows(runs).items()
    attempts = sum(len(store.attempt_numbers(folder)) for folder in (runs / "trials").iterdir())
    assert attempts == len(_rows(runs)), "one attempt a rung"

    found = ("--recipe", str(tmp_path / "found.yaml"))
    plan = json.loads(sweep("plan", str(fake_study), *found, "--json", runs=runs).stdout)
    used = {t["depth"]: t["learning_rate"] for t in plan["trials"]}
    assert used[2] == pytest.approx(recipe.learning_rate, rel=1e-5)
    assert used[3] == pytest.approx(recipe.learning_rate * 2 / 3, rel=1e-5), "the ladder's rule: 1 / depth"
    winner = next(t for t in plan["trials"] if (t["depth"], t["seed"]) == (2, 0))
    budgets = [p.name for p in (runs / winner["folder"] / "budgets").glob("*")]
    assert budgets, "the winner is a trial like any other, so its rows are there"


def test_an_optimum_outside_is_said(fake_study: Path, runs: Path, tmp_path: Path) -> None:
    source = tune._study(fake_study, 2, 1, [])
    launch = Order(make_plan(*parse_study(source, "tune"), runs), source, Ray(), only=lambda trial: False).write()
    configs = [trial.config for trial in launch.plan.trials]
    rates = sorted({c.train.learning_rate or 0.0 for c in configs})
    gammas = sorted({c.model.gamma_init or 0.0 for c in configs})
    assert len(rates) == len(gammas) == 3

    def found(rate: float, gamma: float) -> TunedRecipe:
        return winner("x", launch, [Point(learning_rate=rate, knobs={"gamma_init": gamma}, images=7_000, loss=3.0)])

    assert found(rates[1], gammas[1]).at_edge == ()
    outside = found(rates[2], gammas[0])
    assert outside.at_edge == ("learning_rate", "gamma_init")
    said = tune._found(outside, fake_study, tmp_path / "x.yaml")
    assert "--steps" in said and "--knob gamma_init" in said
    assert "widen" not in tune._found(found(rates[1], gammas[1]), fake_study, tmp_path / "x.yaml")


def _rows(runs: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in runs.glob("trials/*/budgets/*/row.json")}
