"""What a study says in MLflow besides its curves: its tokenizer's training, its laws, its pictures, its images."""

import json
import sqlite3

import pytest
from PIL import Image

from tests.support.tracker import run_count, stored_points, train
from var_scaling.runs import store
from var_scaling.runs.journal import Journal
from var_scaling.tracking import laws, notes, view
from var_scaling.tracking.address import VIEW_KEY
from var_scaling.tracking.mirror import Mirror


@pytest.fixture
def client(uri):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs_by_name(client):
    experiment = client.get_experiment_by_name("depth").experiment_id
    return {run.info.run_name: run for run in client.search_runs([experiment])}


def finish(sweep, trial="02aa"):
    train(sweep, trial)
    for budget in (900, 2000):
        sweep.row(trial, budget, branch=400)
        sweep.evaluation(trial, budget, fid=5.0 - budget / 1000)
        Image.new("RGB", (90, 60), (budget % 255, 0, 0)).save(
            sweep.trial(trial) / "budgets" / str(budget) / "samples.png"
        )


def test_a_tokenizers_training_is_a_run_with_curves_psnr_rfid_and_reconstructions(sweep, uri, client):
    stage, measured = sweep.runs / "store" / "tokenizer" / "aaa", sweep.runs / "store" / "reconstruction" / "bbb"
    sweep._json(stage / "identity.json", {"kind": "tokenizer", "tokenizer": {"preset": "tiny", "vocab_size": 512}})
    study = store.read_json(sweep.folder / "study.json")
    for trial in study["trials"]:
        trial["stages"] = ["store/tokenizer/aaa", "store/reconstruction/bbb"]
    sweep._json(sweep.folder / "study.json", study)
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert not [name for name in runs_by_name(client) if name.startswith("tokenizer")], "not begun: no ghost"
    attempt = store.take(stage)
    journal = Journal(attempt.folder / "journal.jsonl")
    for images in (100, 200, 300):
        journal.write(phase="tokenizer", images=images, time=1e9 + images, **{"train/psnr": 10 + images / 100})
    journal.write(event="checkpoint", phase="tokenizer", images=200)
    Mirror(sweep.runs, sweep.name, uri).sync()
    run = runs_by_name(client)["tokenizer tiny aaa"]
    assert [p.step for p in client.get_metric_history(run.info.run_id, "tokenizer/psnr")] == [100, 200], "durable"
    assert run.info.status == "RUNNING"
    sweep._json(stage / "result" / "report.json", {"psnr": 21.5, "usage": 0.75})
    attempt.end("finished")
    sweep._json(measured / "identity.json", {"kind": "reconstruction"})
    sweep._json(measured / "needs.json", ["store/tokenizer/aaa"])
    sweep._json(measured / "result" / "report.json", {"features": "classifier", "rfid_train": 2.25})
    Image.new("L", (90, 60)).save(measured / "result" / "reconstructions.png")
    for _ in range(2):
        Mirror(sweep.runs, sweep.name, uri).sync()
    run = runs_by_name(client)["tokenizer tiny aaa"]
    assert [p.value for p in client.get_metric_history(run.info.run_id, "tokenizer/psnr")] == [11, 12, 13]
    assert run.data.metrics["validation/psnr"] == 21.5
    assert run.data.metrics["validation/rFID_train_classifier"] == 2.25
    assert run.data.params == {"preset": "tiny", "vocab_size": "512"}
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == runs_by_name(client)["depth 000"].info.run_id
    pictures = [f.path for f in client.list_artifacts(run.info.run_id, "images")]
    assert len(pictures) == 2, "a picture and its preview, once"
    assert all(path.startswith("images/reconstructions+step+300+") for path in pictures)


def test_a_row_is_a_run_with_fid_and_its_interval_that_a_later_mean_replaces(sweep, uri, client):
    finish(sweep)
    study = store.read_json(sweep.folder / "study.json")
    study["trials"][0]["evaluations"] = ["fid-123.json"]
    sweep._json(sweep.folder / "study.json", study)
    Mirror(sweep.runs, sweep.name, uri).sync()
    label = "classifier-train-2000-g1.5"
    best = min(runs_by_name(client).values(), key=lambda run: run.data.metrics.get(f"budget/fid_{label}", 99))
    assert best.info.run_name.startswith("var d2 s0 · 2k images")
    assert best.data.metrics[f"budget/fid_{label}"] == 3.0
    assert best.data.metrics[f"budget/fid_{label}_floor"] == 3.25
    other = sweep.trial("02aa") / "budgets" / "2000" / "evaluations"
    value = store.read_json(other / "fid-123.json")
    store.write_json(other / "fid-9.json", value | {"fid_corrected": 5.0})
    study["trials"][0]["evaluations"].append("fid-9.json")
    sweep._json(sweep.folder / "study.json", study)
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert client.get_run(best.info.run_id).data.metrics[f"budget/fid_{label}"] == 4.0, "the mean of two seeds"


def test_the_laws_are_metrics_of_the_launch_and_the_headline_of_the_notes(sweep, uri, client):
    finish(sweep)
    law = {
        "name": "loss_all_scales against compute, power + offset",
        "target": "loss_all_scales",
        "against": "compute",
        "budget": None,
        "refused": None,
        "coefficients": {"E": 2.5, "alpha": -0.31, "beta": 7.0},
        "intervals": {"alpha": [-0.4, -0.2]},
        "backtests": [{"error": 0.012}],
    }
    worse = law | {"name": "loss_all_scales against compute, power", "coefficients": {"E": 0.0, "alpha": -0.1}}
    forms = [
        {"target": "loss_all_scales", "against": "compute", "budget": None, "form": "power", "preferred": False},
        {
            "target": "loss_all_scales",
            "against": "compute",
            "budget": None,
            "form": "power + offset",
            "preferred": True,
        },
    ]
    sweep._json(sweep.folder / "laws" / "laws.json", {"laws": [worse, law], "forms": forms})
    for _ in range(2):
        Mirror(sweep.runs, sweep.name, uri).sync()
    parent = runs_by_name(client)["depth 000"]
    name = "law/loss_all_scales against compute"
    assert parent.data.metrics == {
        f"{name}/alpha": -0.31,
        f"{name}/floor": 2.5,
        f"{name}/held_out_error_percent": pytest.approx(1.2),
    }
    experiment = client.get_experiment_by_name("depth")
    for note in (parent.data.tags[notes.TAG], experiment.tags[notes.TAG]):
        assert "alpha -0.31 [-0.4, -0.2]; the largest model, held out, was predicted within 1.2 %" in note
    assert f"viewStateShareKey={VIEW_KEY}&compareRunsMode=TABLE" in experiment.tags[notes.TAG]
    assert laws.headline({"laws": []}) == ""


def test_pictures_are_a_series_by_images_seen_and_the_data_set_is_named(sweep, uri, client):
    finish(sweep)
    identity = store.read_json(sweep.trial("02aa") / "identity.json")
    sweep._json(sweep.trial("02aa") / "identity.json", identity | {"data": {"name": "mini", "unique_images": 7}})
    for path in [None, *(sweep.folder / "mirror").glob("*.json")]:
        if path:
            path.unlink()  # a lost state sends all of it again
        Mirror(sweep.runs, sweep.name, uri).sync()
    run = runs_by_name(client)["var-d2-s0-02aa"]
    steps = [f.path.split("+")[2] for f in client.list_artifacts(run.info.run_id, "images")]
    assert sorted(steps) == ["2000", "2000", "900", "900"], "a picture and its preview of each budget, once"
    assert run.data.tags["mlflow.loggedImages"] == "True"
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "mini"
    assert json.loads(data.dataset.profile) == {"name": "mini", "unique_images": 7}


def test_a_study_that_an_earlier_version_mirrored_gets_what_that_lacked(sweep, uri, client, tmp_path):
    finish(sweep)
    mirror = Mirror(sweep.runs, sweep.name, uri)
    mirror.sync()
    before = stored_points(tmp_path / "mlflow.db", "02aa")
    whole = run_count(tmp_path / "mlflow.db")
    # As the earlier one left it: curves under names without a family, no run a row, no compute, no view.
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        rows = connection.execute("select run_uuid from tags where key = 'row'").fetchall()
        for table in ("metrics", "latest_metrics", "params", "tags"):
            connection.executemany(f"delete from {table} where run_uuid = ?", rows)
        connection.executemany("delete from runs where run_uuid = ?", rows)
        connection.execute("update metrics set key = 'train/loss' where key = 'train/loss_var'")
        connection.execute("delete from metrics where key like 'compute/%'")
        connection.execute("delete from tags where key = 'origin'")
        connection.execute("delete from experiment_tags")
    state = store.read_json(mirror.state.path)
    runs = {key: known for key, known in state["runs"].items() if not key.startswith("row:")}
    for known in runs.values():
        del known["origin"]
    store.write_json(mirror.state.path, {"experiment": state["experiment"], "runs": runs})
    Mirror(sweep.runs, sweep.name, uri).sync()
    after = stored_points(tmp_path / "mlflow.db", "02aa")
    assert before.items() <= after.items()
    assert {name for name, _ in after.keys() - before.keys()} == {"train/loss"}, "what was there stays"
    assert run_count(tmp_path / "mlflow.db") == whole
    assert view.TAG in client.get_experiment_by_name("depth").tags


def test_the_view_of_a_sweep_that_has_no_row_yet_sorts_and_draws_its_curves(sweep, uri, client):
    train(sweep)
    Mirror(sweep.runs, sweep.name, uri).sync()
    state = json.loads(client.get_experiment_by_name("depth").tags[view.TAG])
    assert state["orderByKey"] == "metrics.`train/loss_var`"
    assert [chart["metricKey"] for chart in state["compareRunCharts"] if chart["type"] == "LINE"] == ["train/loss_var"]
    finish(sweep, "03aa")
    Mirror(sweep.runs, sweep.name, uri).sync()
    state = json.loads(client.get_experiment_by_name("depth").tags[view.TAG])
    assert state["orderByKey"] == "metrics.`budget/fid_classifier-train-2000-g1.5`"
    first = next(chart for chart in state["compareRunCharts"] if chart["type"] == "SCATTER")
    assert (first["xaxis"]["key"], first["yaxis"]["key"]) == ("budget/log10_C", "budget/loss_var")


def test_a_view_of_many_measurements_fits_a_tag():
    families = [f"family{n}" for n in range(8)]
    state = view.view_state(families, [f"label-{n}" for n in range(6)], [10, 20], 20)
    assert len(json.dumps(state)) > 5_000, "the premise"
    value = view.as_tag(state)
    assert value.startswith("deflate;")
    assert len(value) < 5_000
