"""A plan prices all that a launch will do, by arithmetic that equals what is done, or by what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY
from tests.support import engine
from tests.support.programs import run
from tests.support.tiny import STUDY, Tiny
from var_scaling.config import yaml
from var_scaling.planning import prices
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import parse_study
from var_scaling.runs import store
from var_scaling.tokenizers.registry import kind_of, read_tokenizer

DEMO = FAKE_STUDY.replace("budgets", "evaluate: {fid: {samples: 500}}\nbudgets")


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_the_flops_of_an_autoencoder_are_those_that_torch_counts(preset: str, tmp_path: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from var_scaling.tokenizers.vq.config import VQConfig
    from var_scaling.tokenizers.vq.model import build_tokenizer

    data = "{name: imagenet}" if preset == "paper" else "{name: fashion-mnist-mini}"
    text = FAKE_STUDY.replace("{name: fashion-mnist-mini}", data).replace("preset: tiny", f"preset: {preset}")
    planned = make_plan(*parse_study(text, "x"), tmp_path)
    config = planned.trials[0].works.stages[0].config["tokenizer"]
    with torch.device("meta"):
        tokenizer = build_tokenizer(VQConfig.model_validate(config)).eval()
        images = torch.empty(1, config["image_channels"], config["resolution"], config["resolution"])
        with torch.no_grad(), FlopCounterMode(display=False) as encoding:
            latents = tokenizer.encoder(images)
        with FlopCounterMode(display=False) as decoding:  # as training runs it: without gradients it does with fewer
            tokenizer.decoder(latents)
    encoder, decoder = kind_of(read_tokenizer(config)).image_flops(read_tokenizer(config))
    attention = 0.05 if config["attention"] else 1e-9  # which the arithmetic leaves out
    assert encoder == pytest.approx(encoding.get_total_flops(), rel=attention)
    assert decoder == pytest.approx(decoding.get_total_flops(), rel=attention)


def test_the_disk_of_a_token_cache_is_what_it_takes(tiny_stages: Tiny) -> None:
    (cache,) = tiny_stages.runs.glob("store/tokens/*")
    config = yaml.load(cache / "config.yaml")[0]
    said, kept = prices.cache_bytes(config["data"], read_tokenizer(config["tokenizer"]))
    files = list(cache.glob("result/*.npy"))
    assert kept == any("features" in path.name for path in files)
    assert said == sum(path.stat().st_size - 128 for path in files), "less the headers"


def test_views_and_features_are_in_the_disk_of_a_plan(tmp_path: Path) -> None:
    one = make_plan(*parse_study(FAKE_STUDY, "x"), tmp_path)
    eight = make_plan(*parse_study(FAKE_STUDY, "x", ["data.views=8"]), tmp_path)
    (tokens,) = (s.folder for s, _ in eight.stages if s.kind == "tokens")
    assert eight.stage_costs[tokens].disk_bytes > 250e6, "20,000 images of 8 views, 29 positions of 16 numbers"
    less = max(cost.disk_bytes for cost in one.stage_costs.values())
    assert 6 * less < eight.stage_costs[tokens].disk_bytes < 8 * less


def test_every_work_that_a_launch_starts_has_a_price_and_a_finished_one_has_none(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (tmp_path / "demo.yaml").write_text(DEMO)
    planned = engine.plan(tmp_path / "demo.yaml", runs)
    assert [stage.kind for stage, _ in planned.stages] == ["tokenizer", "tokens", "classifier", "reconstruction"]
    assert set(planned.stage_costs) == {stage.folder for stage, _ in planned.stages}
    assert all(cost.seconds > 4 and cost.disk_bytes > 0 for cost in planned.stage_costs.values())
    for trial in planned.trials:
        assert trial.evaluations.seconds > 2 * prices.DISTANCE_SECONDS, "two budgets"
        assert trial.seconds == trial.cost.seconds + trial.evaluations.seconds
    done = run("sweep", "plan", str(tmp_path / "demo.yaml"), "--runs", str(runs), "--json")
    told = json.loads(done.stdout)
    assert all(stage["seconds"] > 0 for stage in told["stages"])
    assert all(trial["seconds"] > trial["training_seconds"] > 0 for trial in told["trials"])
    said = run("sweep", "plan", str(tmp_path / "demo.yaml"), "--runs", str(runs)).stdout
    assert "on one worker: stages" in " ".join(said.split())
    engine.run(tmp_path / "demo.yaml", runs)  # fake work trains and does not evaluate
    after = engine.plan(tmp_path / "demo.yaml", runs)
    assert not after.stage_costs
    assert all(t.cost.seconds == 0 and t.disk_bytes < 1e5 for t in after.trials)
    assert [t.evaluations.seconds for t in after.trials] == [t.evaluations.seconds for t in planned.trials]


def test_what_was_measured_here_wins(tiny_stages: Tiny, tmp_path: Path) -> None:
    (report,) = tiny_stages.runs.glob("store/tokenizer/*/result/report.json")
    seconds = store.read_json(report)["seconds"]
    again = make_plan(*parse_study(STUDY, "x", ["tokenizer.train.seed=1"]), tiny_stages.runs)
    (stage,) = (s.folder for s, _ in again.stages if s.kind == "tokenizer")
    cost = again.stage_costs[stage]
    assert cost.source == "measured here"
    assert cost.seconds == pytest.approx(prices.START_SECONDS + max(seconds, 0.5), rel=0.01)


def test_a_trial_that_was_laid_out_and_not_begun_is_not_its_own_nearest(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (tmp_path / "fake.yaml").write_text(FAKE_STUDY)
    engine.start(tmp_path / "fake.yaml", runs)
    planned = engine.plan(tmp_path / "fake.yaml", runs)
    assert {t.record.state for t in planned.trials} == {"new"}, "the premise"
    for trial in planned.trials:
        name, fields = trial.nearest or ("", ())
        assert name
        assert name != Path(trial.work.folder).name
        assert fields


def test_the_axes_of_a_grid_are_columns_of_the_plan_and_of_the_study(tmp_path: Path) -> None:
    text = FAKE_STUDY.replace(
        "seed: [0, 1]", "data.unique_images: [2_000, 20_000]\n  train.learning_rate: [0.01, 0.02]"
    )
    (tmp_path / "axes.yaml").write_text(text)
    command = ("sweep", "plan", str(tmp_path / "axes.yaml"), "--runs", str(tmp_path / "runs"))
    said = run(*command, COLUMNS="160").stdout
    header = next(line.split() for line in said.splitlines() if "unique_images" in line)
    assert "learning_rate" in header
    place = header.index("unique_images")
    cells = [line.split()[place] for line in said.splitlines() if line.strip().startswith(("d2-", "d3-"))]
    assert cells == ["2k", "2k", "20k", "20k"] * 2
    launch, _ = engine.start(tmp_path / "axes.yaml", tmp_path / "runs")
    study = store.read_json(launch.folder.parents[1] / "study.json")
    assert study["trials"][1]["axes"] == {"unique_images": 2000, "learning_rate": 0.02}
