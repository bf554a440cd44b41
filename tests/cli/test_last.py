"""`last` is the same sweep to every command."""

from __future__ import annotations

import json
from pathlib import Path

from analysis.rows.load import newest_sweep
from var_scaling.cli.rows import Rows
from var_scaling.launch.status import find_sweep


def plant(runs: Path, name: str, launched: str, trials: list[str]) -> None:
    folder = runs / "sweeps" / name
    folder.mkdir(parents=True)
    study = {"name": name, "launched": launched, "trials": [{"trial": each} for each in trials]}
    (folder / "study.json").write_text(json.dumps(study))


def test_last_is_one_sweep_to_all(tmp_path: Path) -> None:
    plant(tmp_path, "older", "2026-11-01", ["a1", "b2"])
    plant(tmp_path, "newer", "2026-11-02", ["c3", "d4"])
    plant(tmp_path, "var-d3-s0-e5", "2026-11-03", ["e5"])  # as `train` leaves it
    asked = (
        find_sweep(tmp_path, "last"),
        newest_sweep(tmp_path),
        Rows(runs=tmp_path).locate(),
        Rows(source=Path("last"), runs=tmp_path).locate(),
    )
    assert {folder.name for folder in asked} == {"newer"}


def test_a_lone_trial_is_last_where_there_is_nothing_else(tmp_path: Path) -> None:
    plant(tmp_path, "var-d3-s0-e5", "2026-11-03", ["e5"])
    assert find_sweep(tmp_path, "last") == newest_sweep(tmp_path)
