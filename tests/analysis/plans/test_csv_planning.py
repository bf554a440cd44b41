"""Plans from somebody's CSV: columns of any name, sizes that are no depths, and questions that cannot be answered."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.errors import Note
from analysis.plans.allocate import allocate
from analysis.plans.candidates import candidates_of_rows
from analysis.plans.design import design
from analysis.plans.devices import device_rate
from analysis.plans.predict import predict_run
from analysis.rows.counting import COMPUTE_WORDS, counted
from analysis.study.sources import study_of_csv
from tests.support.fake_study import write_study
from tests.support.laws import grid, repeated, run
from var_scaling.cli.run import count


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "good.csv"
    grid().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def study(good):
    return study_of_csv(good)


def test_a_device_is_looked_up_where_no_row_was_timed():
    rate, source = device_rate(grid(), "h100")
    assert rate == pytest.approx(0.35 * 989e12)
    assert "data sheet" in source


def test_six_n_d_of_a_study_says_which_n():
    assert COMPUTE_WORDS["flops_6nd"] == "C: 6 x all parameters x tokens seen"


def test_a_new_trial_is_one_row_where_no_run_has_several(study):
    candidates = candidates_of_rows(study.rows, study.columns)
    found = design(study, candidates, "a_opt")
    assert found.budgets == 1
    assert len(found.table) == 8 * 6
    assert found.table["flops"].to_numpy() == pytest.approx(6 * found.table["params"] * found.table["images"])
    assert found.table["shrinks"].max() < 0.3  # 49 rows in place of 48


def test_a_new_trial_has_several_budgets_where_the_runs_have(tmp_path):
    rows = grid()
    rows["run"] = rows.groupby("params").ngroup()
    rows.to_csv(tmp_path / "trunks.csv", index=False)
    study = study_of_csv(tmp_path / "trunks.csv", x="params", data="tokens")
    found = design(study, candidates_of_rows(study.rows, study.columns), "a_opt")
    assert found.budgets == 6
    assert len(found.table) == 8
    assert found.table["images"].to_numpy() == pytest.approx(rows["tokens"].max())


def test_a_best_size_at_the_edge_has_no_limit_beyond(study):
    candidates = candidates_of_rows(study.rows, study.columns)
    plans = [allocate(study, candidates, flops) for flops in (1e16, 1e20, 1e25)]
    sizes = candidates["params"]
    assert plans[0].continuous == pytest.approx((sizes.min(), 0, sizes.min()))
    assert 0 < plans[1].continuous[1] < plans[1].continuous[0] < plans[1].continuous[2] < np.inf
    assert plans[2].continuous == pytest.approx((sizes.max(), sizes.max(), np.inf))
    assert count(plans[2].continuous[2]) == "inf"


@pytest.mark.parametrize("flops", [1e19, 1e20])
def test_the_best_size_between_coarse_sizes_is_the_law_s_own(tmp_path, flops):
    """Six sizes a factor 4 apart; a parabola through three of them missed the optimum by more than the interval."""
    grid(sizes=6, amounts=5).to_csv(tmp_path / "coarse.csv", index=False)
    study = study_of_csv(tmp_path / "coarse.csv")
    study = replace(study, records=tuple(study.find(form="chinchilla")))
    plan = allocate(study, candidates_of_rows(study.rows, study.columns), flops)
    law = study.records[0].law

    def own(values):
        alpha, beta = values["alpha"], values["beta"]
        return (alpha * values["A"] / (beta * values["B"]) * (flops / 6) ** beta) ** (1 / (alpha + beta))

    interval = np.quantile(own(law.draws().draws), [0.025, 0.975])
    assert plan.continuous[0] == pytest.approx(own(law.coefficients), rel=1e-4)
    assert plan.continuous[1:] == pytest.approx(interval, rel=1e-3)


def test_the_largest_candidate_is_no_edge_where_the_best_size_lies_below_it(study):
    candidates = candidates_of_rows(study.rows, study.columns).iloc[::2]
    sizes = candidates["params"].to_numpy()
    plans = [allocate(study, candidates, flops) for flops in np.geomspace(1e17, 1e24, 60)]
    at_edge = ["edge_minimum" in [note.code for note in plan.notes] for plan in plans]
    largest = [plan.table["loss"].argmin() == len(sizes) - 1 for plan in plans]
    below = [plan for plan, last, edge in zip(plans, largest, at_edge, strict=True) if last and not edge]
    assert below
    assert all(sizes[-2] < plan.continuous[0] < sizes[-1] for plan in below)
    assert at_edge[-1]


def test_an_allocation_repeats_what_its_law_says(study):
    said = Note("one_ray", "nearly", 0.2)
    records = [replace(r, law=None if r.law is None else replace(r.law, notes=(said,))) for r in study.records]
    plan = allocate(replace(study, records=tuple(records)), candidates_of_rows(study.rows, study.columns), 1e20)
    assert said in plan.notes


def test_plans_where_data_were_repeated_are_for_data_seen_once(tmp_path):
    """A law in N and D alone takes sixteen passes for as many new tokens, and promises too little of new ones."""
    repeated(epochs="E", unique_tokens="U").to_csv(tmp_path / "repeated.csv", index=False)
    study = study_of_csv(tmp_path / "repeated.csv")
    for size, tokens in ((5e8, 1e10), (2e9, 1.28e11)):
        answer = predict_run(study, "loss", size, tokens)
        assert answer.value == pytest.approx(1.8 + 480 / size**0.35 + 2000 / tokens**0.37, rel=3e-3)
        assert answer.law == "loss against params, data, epochs, repeated data, data seen once"
        assert "a run that sees as many by repeating fewer lies higher" in answer.notes[-1].sentence
    plan = allocate(study, candidates_of_rows(study.rows, study.columns), 1e20)
    truth = 1.8 + 480 / plan.table["params"] ** 0.35 + 2000 / plan.table["images"] ** 0.37
    assert plan.table["loss"].to_numpy() == pytest.approx(truth.to_numpy(), rel=3e-3)
    assert plan.prediction.law.endswith("data seen once")
    joint = [record for record in study.records if record.against != "params, data, epochs"]
    plan = allocate(replace(study, records=tuple(joint)), candidates_of_rows(study.rows, study.columns), 1e20)
    assert "only the law of repeated data tells them apart" in plan.notes[-1].sentence


def test_sizes_read_off_a_figure_are_one_candidate(study):
    rows = study.rows.assign(params=study.rows["params"] * (1 + 0.001 * np.arange(len(study.rows)) % 0.007))
    assert len(candidates_of_rows(rows, study.columns)) == 8


def test_sizes_of_a_table_without_depths_are_called_sizes(good):
    code, text, _ = run("allocate", good, "--flops", "1e19", "--device", "h100")
    assert code == 0
    assert "depth" not in text
    assert "parameters, tokens = " in text
    assert "data sheet" in text
    code, text, _ = run("design", good, "--quantity", "a_opt")
    assert code == 0
    assert "depth" not in text
    code, text, _ = run("allocate", good, "--flops", "1e19", "--json")
    assert json.loads(text)["depth"] is None
    code, _, problem = run("predict", good, "--depth", 3)
    assert code == 2
    assert "--size" in problem


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "--size", "1e8", "--images", 0), "0 tokens"),
        (("predict", "--size", "1e8", "--images", 0.5), "at least 1"),
        (("predict", "--size", 0), "0 parameters"),
        (("expect", "--size", "1e8", "--images", "inf"), "inf tokens"),
        (("design", "--flops", "nan"), "nan FLOPs at most"),
        (("design", "--flops", -5), "positive"),
        (("allocate", "--flops", 1), "of the best candidate"),
    ],
)
def test_what_no_run_can_have_is_refused(good, arguments, words):
    code, _, problem = run(arguments[0], good, *arguments[1:])
    assert code == 2
    assert words in problem


def test_a_point_that_no_run_can_have_has_no_design(study):
    candidates = candidates_of_rows(study.rows, study.columns)
    for at, words in (((1e8, 0), "0 tokens"), ((np.nan, 1e9), "nan parameters"), ((1e8, np.nan), "nan tokens")):
        with pytest.raises(ValueError, match=words):
            design(study, candidates, "loss", at=at)


def test_data_in_billions_may_be_below_one(tmp_path):
    rows = grid()
    rows.assign(tokens=rows["tokens"] / 1e10).to_csv(tmp_path / "billions.csv", index=False)
    code, text, _ = run("predict", tmp_path / "billions.csv", "--size", "1e8", "--images", 0.5, "--json")
    assert code == 0
    assert json.loads(text)["images"] == 0.5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "0.05"),
        (0.8, "0.8"),
        (66.351, "66.35"),
        (512, "512"),
        (184_320, "184,320"),
        (13_238_804_036.4, "13,238,804,036"),
        (1.6666666666666666e22, "1.667e+22"),
    ],
)
def test_an_amount_is_told_in_digits_that_tell_it(value, text):
    assert counted(value) == text


def test_data_in_billions_are_not_rounded_to_whole_ones(tmp_path):
    rows = grid()
    rows["flops"] = 6 * rows["params"] * rows["tokens"]
    rows["tokens"] /= 2e10
    rows.to_csv(tmp_path / "billions.csv", index=False)
    _, text, _ = run("fit-laws", tmp_path / "billions.csv", "--no-figures", "--all")
    assert "loss at tokens = 0.05, largest model" in text
    _, text, _ = run("allocate", tmp_path / "billions.csv", "--flops", "1e19", "--json")
    images = json.loads(text)["images"]
    assert images < 1
    _, text, _ = run("allocate", tmp_path / "billions.csv", "--flops", "1e19")
    assert f"tokens = {images:.4g}: loss" in text
    _, text, _ = run("design", tmp_path / "billions.csv")
    assert "0.05" in text.split()


@pytest.fixture(scope="module")
def unusual(tmp_path_factory):
    """The same rows under other names, one of them without its loss."""
    path = tmp_path_factory.mktemp("csv") / "unusual.csv"
    rows = grid().rename(columns={"params": "weights", "tokens": "words", "loss": "nats"})
    rows.loc[3, "nats"] = np.nan
    rows.assign(cost=6 * rows["weights"] * rows["words"], who=np.arange(len(rows))).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "question",
    [
        ("predict", "--size", "1e8"),
        ("allocate", "--flops", "1e19"),
        ("expect", "--size", "1e8", "--loss", 3),
        ("design", "--quantity", "loss", "--size", "1e9"),
    ],
)
def test_columns_of_any_name_can_be_planned_from(unusual, question):
    names = ("--x", "weights", "--data", "words", "--compute", "cost", "--group", "who", "--target", "nats")
    code, text, problem = run(question[0], unusual, *question[1:], *names, "--drop-missing", "--json")
    assert (code, problem) == (0, "")
    assert json.loads(text)
    code, _, problem = run(question[0], unusual, *question[1:], *names)
    assert code == 2
    assert "row 4" in problem


@pytest.mark.parametrize(
    "question", [("predict", "--size", 3e9), ("expect", "--size", 3e9), ("allocate", "--flops", 1e20), ("design",)]
)
def test_brackets_of_a_header_are_no_markup(tmp_path, question):
    grid(sizes=6, amounts=4).set_axis(["params [B]", "tokens [b]", "loss [/nats]"], axis=1).to_csv(
        tmp_path / "rows.csv", index=False
    )
    names = ("--x", "params [B]", "--data", "tokens [b]", "--y", "loss [/nats]")
    code, text, _ = run(question[0], tmp_path / "rows.csv", *names, *question[1:])
    assert code == 0
    assert ("tokens [b]" if question[0] in ("design", "allocate") else "loss [/nats]") in text


def test_brackets_of_a_header_are_told_with_the_laws(tmp_path):
    frame = grid(sizes=6, amounts=1).set_axis(["params [b]", "tokens", "loss [/nats]"], axis=1).drop(columns="tokens")
    frame.assign(kind=["a", "b"] * 3).to_csv(tmp_path / "rows.csv", index=False)
    code, text, _ = run("fit-laws", tmp_path / "rows.csv", "--x", "params [b]", "--y", "loss [/nats]", "--no-figures")
    assert code == 0
    assert "N: column params [b]" in text
    assert "\nloss [/nats]" in text


def test_a_law_in_size_alone_answers_for_a_size(tmp_path):
    sizes = np.repeat(np.geomspace(1e7, 1e10, 8), 2)
    loss = (1.8 + 30 * sizes**-0.25) * np.exp(0.003 * np.random.default_rng(0).normal(size=16))
    file = tmp_path / "sizes.csv"
    pd.DataFrame({"params": sizes, "loss": loss}).to_csv(file, index=False)
    code, text, _ = run("predict", file, "--size", 3e10, "--json")
    assert code == 0
    (answer,) = json.loads(text)["predictions"]
    assert json.loads(text)["images"] is None
    assert answer["law"] == "loss against params, power + offset"
    assert answer["low"] < 1.8 + 30 * 3e10**-0.25 < answer["high"]
    code, text, _ = run("expect", file, "--size", 3e10, "--loss", 2.5)
    assert code == 0
    assert "higher than expected" in text
    code, _, problem = run("predict", file, "--size", 3e10, "--images", 1e9)
    assert code == 2
    assert "--images" in problem
    pd.DataFrame({"flops": sizes, "loss": loss}).to_csv(file, index=False)
    code, _, problem = run("predict", file, "--compute", "flops", "--size", 3e10)
    assert code == 2
    assert "sizes" in problem


@pytest.mark.parametrize("command", [("fit-laws", "--no-figures"), ("predict", "--depth", 3)])
def test_options_that_only_a_csv_has_are_named_where_a_study_ignores_them(tmp_path, command):
    sweep = write_study(tmp_path, fid=False)
    asked = ("--x", "params_total", "--group", "trial", "--data", "images_seen", "--epochs", "epochs")
    code, _, problem = run(command[0], sweep, *command[1:], *asked, "--budget", "seed", "--keep-duplicates")
    assert code == 2
    assert "leave out --x, --data, --group, --budget, --epochs, --keep-duplicates" in problem


def test_a_csv_has_one_column_of_sizes(good):
    code, _, problem = run("fit-laws", good, "--x", "params", "--params", "tokens")
    assert code == 2
    assert "give one" in problem


def test_an_asked_target_that_is_absent_is_refused_with_the_list(good):
    code, _, problem = run("expect", good, "--size", "1e8", "--target", "loss_all_scales")
    assert code == 2
    assert "no column 'loss_all_scales'; the table has params, tokens, loss" in problem


def test_an_answer_that_its_own_rows_contradict_says_so(tmp_path):
    size, data = np.repeat(10 ** np.linspace(6, 8, 5), 4), np.tile(10 ** np.linspace(8, 9.5, 4), 5)
    loss = 1.7 + 300 / size**0.34 + 400 / data**0.28
    table = pd.DataFrame({"params": size, "tokens": data, "loss": loss})
    table.loc[0, "loss"] = 0.9 * loss.min()  # the smallest of all, and better than the largest
    table.to_csv(tmp_path / "odd.csv", index=False)
    study = study_of_csv(tmp_path / "odd.csv", holdout=0, delta=1e-3)
    answer = predict_run(study, "loss", 1e8, 10**9.5)
    notes = [note.sentence for note in answer.notes if note.code == "loss_rises"]
    assert len(notes) == 1 and "no larger and saw no more" in notes[0] and "below the whole interval" in notes[0]
    table.assign(loss=loss).to_csv(tmp_path / "even.csv", index=False)
    even = predict_run(study_of_csv(tmp_path / "even.csv", holdout=0), "loss", 1e8, 10**9.5)
    assert not [note for note in even.notes if note.code == "loss_rises"]
