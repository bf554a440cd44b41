"""Sequential design: what it asks, what it believes, and whether what it promises comes true on planted studies."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.errors import CannotFit
from analysis.plans.designer import Designer
from tests.support.laws import run

TARGET = pd.DataFrame({"params": [90.0, 40.0], "data": [180.0, 400.0]})


def chinchilla(table):
    return (2.0 + 1.2 * table["params"] ** -0.35 + 1.5 * table["data"] ** -0.3).to_numpy()


def coupled(table):
    size, data = table["params"], table["data"]
    return (1.0 + 1.5 * size**-0.15 + 1.2 * size**0.2 * data ** -(0.4 * size**-0.1)).to_numpy()


def pool(seeds=2):
    size, data, _ = (part.ravel() for part in np.meshgrid(np.geomspace(1, 30, 6), np.geomspace(1, 60, 6), range(seeds)))
    table = pd.DataFrame({"params": size, "data": data, "cost": size * data})
    table.index = [f"run-{place}" for place in range(len(table))]
    return table


def told(law, share, *, noise=0.003, seed=0, **options):
    """A designer that spent a share of the pool, with what it told."""
    table = pool()
    loss = pd.Series(law(table) * np.exp(noise * np.random.default_rng(seed).normal(size=len(table))), table.index)
    designer = Designer(table, "cost", TARGET, seed=seed, **options)
    total = table["cost"].sum()
    while (label := designer.ask(spend=share * total - designer.spent)) is not None:
        designer.tell(label, loss[label])
    return designer, loss


def half_width(designer):
    low, high = designer.interval(TARGET)
    return float(((high - low) / 2 / designer.predict(TARGET)).mean())


@pytest.mark.parametrize("law", [chinchilla, coupled])
def test_from_nothing_to_the_truth_at_a_tenth_of_the_cost(law):
    designer, _ = told(law, 0.1)
    truth = law(TARGET)
    low, high = designer.interval(TARGET)
    assert (np.abs(designer.predict(TARGET) / truth - 1) < 0.03).all()
    assert ((low <= truth) & (truth <= high)).all()
    assert designer.spent <= 0.1 * designer.candidates["cost"].sum()


def test_what_it_picks_tells_more_than_picks_by_lot():
    designer, loss = told(coupled, 0.1)
    total, rng, others = designer.candidates["cost"].sum(), np.random.default_rng(1), []
    for _ in range(5):
        other = Designer(designer.candidates, "cost", TARGET)
        for label in rng.permutation(designer.candidates.index):
            if other.spent + designer.candidates["cost"][label] <= 0.1 * total:
                other.tell(label, loss[label])
        others.append(half_width(other))
    assert half_width(designer) < 0.9 * np.median(others)


def test_the_rows_say_which_form_holds():
    plain, _ = told(chinchilla, 0.6)
    bent, _ = told(coupled, 0.6)
    assert bent.weights["coupled"] > 0.9
    assert plain.weights["chinchilla"] > 0.5
    assert {"p", "q"} < set(bent.law.coefficients)
    assert "p" not in plain.law.coefficients
    assert sum(bent.weights.values()) == pytest.approx(1)


def test_noise_is_learnt_from_the_rows():
    quiet, loud = (told(chinchilla, 0.5, noise=noise)[0] for noise in (0.002, 0.03))
    assert 0.001 < quiet.noise < 0.005
    assert 0.015 < loud.noise < 0.05
    assert half_width(loud) > 2 * half_width(quiet)


def test_seeds_where_seed_noise_rules():
    designer, _ = told(chinchilla, 0.5, noise=0.05)
    rows = designer.candidates.loc[designer.told.index]
    again = rows.duplicated(["params", "data"]).sum()
    assert again >= 3


def test_a_failed_run_is_paid_for_and_not_asked_again():
    table = pool()
    designer = Designer(table, "cost", TARGET)
    asked = []
    for step in range(12):
        label = designer.ask()
        assert label not in asked
        asked.append(label)
        designer.tell(label, None if step % 4 == 1 else np.nan if step % 4 == 3 else chinchilla(table.loc[[label]])[0])
    assert designer.spent == pytest.approx(table["cost"][asked].sum())
    assert designer.told.isna().sum() == 6
    assert np.isfinite(designer.predict(TARGET)).all()
    designer.tell(asked[1], 3.0)  # made once more, and well
    assert designer.told.isna().sum() == 5
    assert designer.spent == pytest.approx(table["cost"][asked].sum())


def test_a_run_that_diverged_with_a_finite_loss_is_set_aside():
    designer, loss = told(chinchilla, 0.3)
    before, width = designer.predict(TARGET), half_width(designer)
    lost = designer.told.index[5]
    designer.tell(lost, 3 * loss[lost])
    assert designer.set_aside == [lost]
    assert designer.predict(TARGET) == pytest.approx(before, rel=0.02)
    assert half_width(designer) < 2 * width
    designer.tell(lost, loss[lost])
    assert designer.set_aside == []


def test_spend_is_kept_by_one_and_by_several():
    table = pool()
    designer = Designer(table, table["cost"].to_numpy(), TARGET)
    for label in table.index[:10]:
        designer.tell(label, chinchilla(table.loc[[label]])[0])
    assert designer.ask(spend=0.5 * table["cost"].min()) is None
    assert designer.ask(spend=0.5 * table["cost"].min(), n=3) == []
    for spend in (5.0, 40.0, 300.0):
        batch = designer.ask(spend=spend, n=4)
        assert 1 <= len(batch) <= 4
        assert len(set(batch)) == len(batch)
        assert not set(batch) & set(designer.told.index)
        assert table["cost"][batch].sum() <= spend
        assert table["cost"][designer.ask(spend=spend)] <= spend
    for label in table.index:
        designer.tell(label, chinchilla(table.loc[[label]])[0])
    assert designer.ask() is None


def test_what_it_promises_for_a_sum_comes_true():
    designer, loss = told(coupled, 0.05, seed=3)
    total = designer.candidates["cost"].sum()
    table = designer.outlook([0.0, 0.05 * total, 0.3 * total])
    widths = table["half_width"].to_numpy()
    assert (np.diff(widths) < 0).all()
    assert (table["cost"] <= table["spend"]).all()
    assert widths[0] == pytest.approx(half_width(designer), rel=0.5)
    spend = designer.spent + 0.3 * total
    while (label := designer.ask(spend=spend - designer.spent)) is not None:
        designer.tell(label, loss[label])
    assert widths[2] / 2.5 < half_width(designer) < 2.5 * widths[2]


def test_groups_have_laws_of_their_own():
    one, two = pool(1), pool(1)
    table = pd.concat([one.assign(set="a"), two.assign(set="b")], ignore_index=True)
    target = pd.concat([TARGET.assign(set="b"), TARGET.assign(set="a")], ignore_index=True)
    loss = np.concatenate([chinchilla(one), 3 * coupled(two)])
    designer = Designer(table, "cost", target, groups="set")
    while (label := designer.ask(spend=0.3 * table["cost"].sum() - designer.spent)) is not None:
        designer.tell(label, loss[label])
    assert designer.predict(target) == pytest.approx(
        np.concatenate([3 * coupled(TARGET), chinchilla(TARGET)]), rel=0.02
    )
    assert set(designer.weights) == set(designer.law) == {"a", "b"}
    with pytest.raises(ValueError, match="'c'"):
        designer.predict(TARGET.assign(set="c"))


def test_repeated_data_have_a_reuse_constant():
    size, unique, epochs = (
        part.ravel() for part in np.meshgrid(np.geomspace(1, 8, 4), [4.0, 16.0, 64.0], [1.0, 2.0, 4.0, 12.0, 40.0])
    )

    def truth(size, unique, epochs, reuse=8.0):
        worth = unique * (1 + reuse * (1 - np.exp(-(epochs - 1) / reuse)))
        return 2.0 + 1.2 * size**-0.4 + 2.0 * worth**-0.4

    table = pd.DataFrame({"params": size, "unique": unique, "epochs": epochs, "cost": size * unique * epochs})
    target = pd.DataFrame({"params": [16.0, 16.0], "unique": [64.0, 256.0], "epochs": [60.0, 10.0]})
    designer = Designer(table, "cost", target, forms=("repeated", "chinchilla"))
    loss = truth(size, unique, epochs) * np.exp(0.003 * np.random.default_rng(0).normal(size=len(table)))
    while (label := designer.ask(spend=0.3 * table["cost"].sum() - designer.spent)) is not None:
        designer.tell(label, loss[label])
    assert designer.weights["repeated"] > 0.9
    assert designer.predict(target) == pytest.approx(
        truth(16.0, target["unique"], target["epochs"]).to_numpy(), rel=0.03
    )
    assert designer.law.coefficients["R"] == pytest.approx(8.0, rel=0.4)


def test_a_power_law_needs_sizes_alone():
    table = pd.DataFrame({"params": np.geomspace(1, 100, 9)})
    designer = Designer(table, table["params"], pd.DataFrame({"params": [1000.0]}), forms=("power",))
    for label in table.index:
        designer.tell(label, 2 + 3 * table["params"][label] ** -0.3)
    assert designer.predict(pd.DataFrame({"params": [1000.0]}))[0] == pytest.approx(2 + 3 * 1000**-0.3, rel=0.01)
    assert designer.law.coefficients["alpha"] == pytest.approx(-0.3, rel=1e-3)


def test_before_the_rows_carry_a_fit_there_is_a_prediction_and_a_refusal_of_the_law():
    table = pool()
    designer = Designer(table, "cost", TARGET)
    assert designer.spent == 0
    low, high = designer.interval(TARGET)
    assert (high / low > 3).all()
    designer.tell(table.index[0], 5.0)
    assert (designer.predict(TARGET) < 5.0).all()
    with pytest.raises(CannotFit):
        _ = designer.law


def test_the_same_seed_asks_the_same():
    first, second = (told(coupled, 0.05)[0].told for _ in range(2))
    assert list(first.index) == list(second.index)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"forms": ("cubic",)}, "cubic"),
        ({"forms": ()}, "forms"),
        ({"cost": "price"}, "price"),
        ({"cost": [1.0, 2.0]}, "2 costs"),
        ({"cost": [0.0] * 72}, "positive"),
        ({"target": TARGET.drop(columns="data")}, "data"),
        ({"target": TARGET.assign(data=0.0)}, "positive"),
        ({"target": TARGET.iloc[:0]}, "no target"),
        ({"candidates": pool().assign(params="many")}, "params"),
        ({"candidates": pd.concat([pool(1), pool(1)])}, "run-0"),
        ({"groups": "set"}, "set"),
        ({"forms": ("repeated",)}, "epochs"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(change, words):
    with pytest.raises(ValueError, match=words):
        Designer(**{"candidates": pool(), "cost": "cost", "target": TARGET} | change)


def test_what_cannot_be_told_or_asked_is_refused():
    designer = Designer(pool(), "cost", TARGET)
    for call, words in (
        (lambda: designer.tell("nobody", 1.0), "nobody"),
        (lambda: designer.tell("run-0", -1.0), "-1"),
        (lambda: designer.ask(n=0), "n is 0"),
        (lambda: designer.ask(spend=float("nan")), "nan"),
        (lambda: designer.interval(TARGET, level=95), "95"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert designer.spent == 0


def test_the_command_names_the_next_runs_and_what_each_sum_buys(tmp_path):
    table = pool(1)
    table["loss"] = coupled(table) * np.exp(0.003 * np.random.default_rng(0).normal(size=len(table)))
    rows = table[table["params"] < 20]
    rows.drop(columns="cost").to_csv(tmp_path / "study.csv", index=False)
    asked = ("design", tmp_path / "study.csv", "--x", "params", "--data", "data", "--y", "loss")
    asked += ("--quantity", "loss", "--size", 90, "--images", 180, "--top", 3)
    code, text, problem = run(*asked, "--json")
    assert (code, problem) == (0, "")
    answer = json.loads(text)
    truth = coupled(TARGET)[0]
    assert answer["low"] <= truth <= answer["high"]
    assert len(answer["trials"]) == 3
    assert all(set(trial) >= {"params", "images", "flops"} for trial in answer["trials"])
    widths = [line["half_width"] for line in answer["outlook"]]
    assert widths[0] > widths[-1]
    assert all(line["cost"] <= line["spend"] * (1 + 1e-9) for line in answer["outlook"])
    assert sum(trial["flops"] for trial in answer["trials"]) <= answer["planned_flops"]
    code, text, _ = run(*asked)
    assert code == 0
    assert "what the interval is expected to become" in text
    code, _, problem = run(*asked, "--flops", 1e-3)
    assert code == 2
    assert "cheapest" in problem
