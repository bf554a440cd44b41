"""Does MLflow hold what the journals say, point for point? Read through MLflow's own client, name by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from var_scaling.runs import store
from var_scaling.runs.journal import read_effective

Points = dict[tuple[str, int], tuple[float, int]]  # (name, step) -> (value, timestamp in ms)


def expected_points(trial: Path) -> Points:
    """What the effective journal and the rows of a finished trial ask for."""
    found: Points = {}
    for line in read_effective(trial):
        for name, value in line.items():
            if name.startswith("train/"):
                short = name.removeprefix("train/")
                prefix = str(line["phase"]) if line["phase"] != "trunk" else "train" if short == "loss" else "trunk"
                short = "loss_var" if short == "loss" else short
                found[f"{prefix}/{short}", line["images"]] = (value, int(line["time"] * 1000))
    for path in trial.glob("budgets/*/row.json"):
        row = store.read_json(path)
        found["val/loss_var", row["images_seen"]] = (row["loss_all_scales"], int(row["finished"] * 1000))
    return found


def stored_points(client: Any, run_id: str) -> Points:
    """Every point of a run; a double is an error."""
    found: Points = {}
    for name in client.get_run(run_id).data.metrics:
        for point in client.get_metric_history(run_id, name):
            assert (name, point.step) not in found, f"{name} at {point.step} is there twice"
            found[name, point.step] = (point.value, point.timestamp)
    return found


def check(runs: Path, sweep: str, uri: str) -> int:
    """Compare every trial of a finished sweep; returns the number of points."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(sweep).experiment_id
    trials = store.read_json(runs / "sweeps" / sweep / "study.json")["trials"]
    count = 0
    for trial in trials:
        mirrored = client.search_runs([experiment], f"tags.trial = '{trial['trial']}'")
        assert len(mirrored) == 1, f"{len(mirrored)} runs of {trial['trial']}"
        assert mirrored[0].info.status == "FINISHED"
        stored = stored_points(client, mirrored[0].info.run_id)
        spent = {step: value for (name, step), (value, _) in stored.items() if name == "compute/train_flops"}
        stored = {key: point for key, point in stored.items() if not key[0].startswith("compute/")}
        assert {step for name, step in stored if name == "train/loss_var"} <= spent.keys()
        assert len({value / step for step, value in spent.items()}) == 1, "compute goes with the images"
        expected = expected_points(runs / "trials" / trial["folder"])
        other = {n: p for n, p in stored.items() if n[0].partition("/")[0] in ("val", "scale") and n not in expected}
        different = {n: (p, expected.get(n)) for n, p in stored.items() if n not in other and expected.get(n) != p}
        assert not different, f"{trial['folder']}: stored, expected: {dict(sorted(different.items())[:8])}"
        assert expected.keys() <= stored.keys(), f"lost: {sorted(expected.keys() - stored.keys())[:8]}"
        assert {step for _, step in other} <= {b["images"] for b in trial["budgets"]}, "one point a budget"
        count += len(stored)
    launches = len(list((runs / "sweeps" / sweep / "launches").glob("*/launch.json")))
    everything = client.search_runs([experiment], max_results=5000)
    kinds = {
        kind: [r.data.tags[kind] for r in everything if kind in r.data.tags]
        for kind in ("launch", "trial", "row", "stage")
    }
    assert len(kinds["trial"]) == len(trials) and len(kinds["launch"]) == launches, "no ghost run"
    assert sum(map(len, kinds.values())) == len(everything), "every run is one of these"
    for kind in ("row", "stage"):
        assert len(set(kinds[kind])) == len(kinds[kind]), f"a {kind} has two runs"
    return count
