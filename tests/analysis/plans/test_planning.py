"""Plans from laws: predictions, allocation, expectations and designs, from the library and the command line."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import CannotFit
from analysis.plans.allocate import allocate
from analysis.plans.candidates import candidate
from analysis.plans.design import design
from analysis.plans.devices import device_rate
from analysis.plans.expect import expect
from analysis.plans.predict import joint_record, predict_run
from analysis.study.sources import study_of
from tests.support.fake_study import block_parameters, planted_loss, write_study
from tests.support.laws import run
from var_scaling.cli import plans


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_study(root, depths=(2, 3, 4, 5, 6, 8), budgets=(20_480, 61_440, 184_320), seeds=(0, 1), fid=False)
    return root


@pytest.fixture(scope="module")
def study(runs):
    return study_of(runs / "sweeps" / "depth", targets=("loss_all_scales",))


@pytest.fixture(scope="module")
def candidates():
    depths = range(2, 21)
    return pd.DataFrame(
        {
            "depth": list(depths),
            "params_total": [block_parameters(d) + 20_000 * d for d in depths],
            "params_blocks": [block_parameters(d) for d in depths],
            "train_flops_per_image": [6 * 30 * (12 * d * (16 * d) ** 2 + 20_000 * d) for d in depths],
            "learning_rate": [0.036 / d for d in depths],
        }
    )


def test_a_prediction_holds_the_truth_and_notes_how_far_it_reaches(study, candidates):
    size = float(candidate(candidates, 10)["params_total"])
    answer = predict_run(study, "loss_all_scales", size, 184_320)
    assert answer.low < answer.law_low < answer.value < answer.law_high < answer.high
    assert answer.low < planted_loss(size, 184_320) < answer.high
    far = predict_run(study, "loss_all_scales", 100 * size, 184_320)
    assert "extrapolation" in [note.code for note in far.notes]
    assert "extrapolation" not in [note.code for note in answer.notes]
    with pytest.raises(ValueError, match="depth 99"):
        candidate(candidates, 99)


def test_the_best_depth_is_the_one_that_the_planted_law_would_choose(study, candidates):
    flops = 2e13
    plan = allocate(study, candidates, flops)
    images = flops / candidates["train_flops_per_image"]
    truth = [planted_loss(n, d) for n, d in zip(candidates["params_total"], images, strict=True)]
    assert plan.depth == candidates["depth"][int(np.argmin(truth))]
    assert plan.images == pytest.approx(images[int(np.argmin(truth))])
    assert plan.table["chance"].sum() == pytest.approx(1)
    assert plan.table["learning_rate"].iloc[0] == 0.018
    size, low, high = plan.continuous
    assert low <= size <= high
    assert plan.notes == ()


def test_a_budget_that_wants_more_than_the_candidates_says_so(study, candidates):
    plan = allocate(study, candidates.iloc[:4], 1e15)
    assert plan.depth == 5
    assert "edge_minimum" in [note.code for note in plan.notes]
    assert "extrapolation" in [note.code for note in plan.notes]
    with pytest.raises(ValueError, match="positive"):
        allocate(study, candidates, 0)


def test_is_my_loss_normal(study):
    size = 676_000.0
    truth = planted_loss(size, 61_440)
    assert expect(study, "loss_all_scales", size, 61_440, truth).verdict == "normal"
    assert expect(study, "loss_all_scales", size, 61_440, truth * 1.05).verdict == "higher than expected"
    low = expect(study, "loss_all_scales", size, 61_440, truth * 0.95)
    assert low.verdict == "lower than expected"
    assert low.deviation < -2
    assert expect(study, "loss_all_scales", size, 61_440).measured is None


def test_the_proposed_trial_narrows_the_interval_as_promised(study, candidates):
    """The local design's promise against a refit with that trial's expected rows added."""
    found = design(study, candidates, "alpha")
    assert found.table["per_flop"].iloc[0] == 1
    assert found.table["per_flop"].is_monotonic_decreasing
    assert (found.table["shrinks"] > 0).all()
    deep = found.table.set_index("depth")["shrinks"]
    assert deep[20] > deep[8]  # a longer lever tells more, whatever it costs
    cheap = design(study, candidates, "alpha", most_flops=2e13)
    assert cheap.table["flops"].max() <= 2e13
    assert set(cheap.table["depth"]) < set(found.table["depth"])
    for quantity in ("a_opt", "E", "beta"):
        assert design(study, candidates, quantity).variance > 0
    with pytest.raises(ValueError, match="alpha"):
        design(study, candidates, "gamma")
    with pytest.raises(ValueError, match="cheapest"):
        design(study, candidates, "alpha", most_flops=1)


def test_the_design_matches_a_refit(study, candidates):
    """Adding rows at the proposed point shrinks the model-based standard error by the promised share."""
    law = joint_record(study, "loss_all_scales").law
    fit = law.estimator
    promised = design(study, candidates, "alpha").table.set_index("depth").loc[12, "shrinks"]
    size = float(candidate(candidates, 12)["params_total"])
    budgets = np.array(sorted(study.rows["images_seen"].unique()), float)
    names = list(fit.natural(fit.theta[None]))
    assert "alpha" in names

    def spread(rows):
        information = rows.T @ rows
        return np.sqrt(np.linalg.inv(information)[2, 2])  # parameters are e, a, alpha, b, beta

    from dataclasses import replace

    from analysis.engine.terms import PowerTerms

    logs = np.stack([np.log(np.full(3, size)) - fit.centres[0], np.log(budgets) - fit.centres[1]])
    more = replace(fit, terms=PowerTerms(logs, True), response=np.zeros(3), weights=np.ones(3)).jacobian
    measured = 1 - spread(np.concatenate([fit.jacobian, more])) / spread(fit.jacobian)
    assert promised == pytest.approx(measured, rel=1e-3)


def test_device_hours_come_from_rows_or_a_data_sheet_and_say_which(study):
    rate, source = device_rate(study.rows, None)
    assert "measured on cpu" in source
    assert rate > 0
    rate, source = device_rate(study.rows, "H100")
    assert rate == pytest.approx(0.35 * 989e12)
    assert "assumed" in source
    with pytest.raises(ValueError, match="h100"):
        device_rate(study.rows, "abacus")


def test_without_a_joint_law_only_the_studys_own_budget_is_answered(tmp_path):
    sweep = write_study(tmp_path, budgets=(20_480,), fid=False)
    study = study_of(sweep, targets=("loss_all_scales",))
    answer = predict_run(study, "loss_all_scales", 2e6, 20_480)
    assert answer.value == pytest.approx(planted_loss(2e6, 20_480), rel=0.02)
    with pytest.raises(CannotFit):
        predict_run(study, "loss_all_scales", 2e6, 50_000)


@pytest.fixture
def fitted_once(monkeypatch, runs, study):
    """The commands without the fit in front of them, which test_fit_laws runs."""
    monkeypatch.setattr(plans, "_study", lambda *_, **__: (study, runs / "sweeps" / "depth"))


@pytest.mark.usefixtures("fitted_once")
def test_predict_allocate_expect_and_design_on_the_command_line():
    code, text, _ = run("predict", "--depth", 8, "--json")
    document = json.loads(text)
    assert code == 0
    assert [answer["target"] for answer in document["predictions"]] == ["loss_all_scales"]
    assert document["images"] == 184_320
    code, text, _ = run("allocate", "--flops", "2e13", "--device", "h100", "--json")
    document = json.loads(text)
    assert code == 0
    assert document["depth"] in (5, 6, 8)
    assert document["device_hours"] == pytest.approx(2e13 / (0.35 * 989e12) / 3600)
    for arguments, words in (
        (("predict", "--depth", 8), "loss, all scales"),
        (("allocate", "--flops", "2e13"), "device hours"),
        (("expect", "--depth", 5, "--images", 61_440, "--loss", 9), "higher than expected"),
        (("design", "--quantity", "a_opt"), "narrows"),
    ):
        code, text, _ = run(*arguments)
        assert code == 0
        assert words in text


@pytest.mark.usefixtures("fitted_once")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict",), "--depth"),
        (("predict", "--depth", 77), "depth 77"),
        (("allocate", "--flops", "-1"), "positive"),
        (("design", "--quantity", "gamma"), "alpha"),
        (("design", "--quantity", "loss"), "--depth"),
    ],
)
def test_wrong_questions_are_answered_with_a_sentence(arguments, words):
    code, _, problem = run(*arguments)
    assert code == 2
    assert words in problem


def test_a_misspelt_target_is_named_before_anything_is_fitted(runs):
    code, _, problem = run("expect", "--runs", runs, "--depth", 5, "--target", "loss_al_scales")
    assert code == 2
    assert "did you mean 'loss_all_scales'" in problem
