"""Families side by side: planted crossings, exponents and costs are covered; what cannot be compared is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.study import crossings
from tests.support.families import CROSSING, EXPONENTS, LOSSES, planted_fid, planted_rows, write_runs
from tests.support.laws import run


def written(folder, rows, name="rows.csv"):
    rows.to_csv(folder / name, index=False)
    return folder / name


def compared(*arguments):
    code, told, refusal = run("compare", *arguments, "--no-figures", "--json")
    assert (code, refusal) == (0, ""), refusal
    return json.loads(told)


def meeting(found, axis="compute", depth=None):
    return next(each for each in found["meetings"] if (each["axis"], each["depth"]) == (axis, depth))


def test_a_planted_crossing_and_exponents_are_found(tmp_path):
    found = compared(written(tmp_path, planted_rows(noise=0.01)))
    on_compute = meeting(found)
    assert on_compute["verdict"] == "crosses"
    (crossing,) = on_compute["crossings"]
    assert crossing["x_low"] < CROSSING < crossing["x_high"] < 3 * crossing["x_low"]
    assert crossing["lower"] == "dit" and "after which dit is lower" in on_compute["sentence"]
    meetings = pd.read_csv(next(tmp_path.rglob("meetings.csv")))
    assert meetings["at"].dtype == float and (meetings["from"] < meetings["to"]).all(), "numbers, one a cell"
    assert meetings.loc[meetings["axis"] == "compute", "at"].tolist() == [pytest.approx(crossing["x"])]
    for law in found["laws"]:
        if law["target"] == "fid" and law["form"] == "power":
            assert law["low"] < EXPONENTS[law["contender"]] < law["high"]
    (difference,) = (line for line in found["exponent_differences"] if line["form"] == "power")
    assert difference["low"] < EXPONENTS["var"] - EXPONENTS["dit"] < difference["high"]
    assert difference["low"] > 0, "0.28 apart is told apart by one per cent of noise"


def test_the_crossings_interval_covers_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(crossings, "RESAMPLES", 300)
    held = 0
    for seed in range(40):
        rows = planted_rows(noise=0.03, seed=seed).rename(
            columns={
                "images_seen": "images",
                "train_flops": "compute",
                "tokenizer_rfid": "floor",
                "params_total": "params",
            }
        )
        rng = np.random.default_rng(seed)
        one, other = (
            crossings.curve(*crossings.cell_means(part, rng), "compute")
            for _, part in rows.groupby("family", sort=False)
        )
        lines = crossings.meet("var", one, "dit", other, "compute").crossings
        held += any(line["x_low"] <= CROSSING <= line["x_high"] for line in lines)
    assert held >= 35, f"{held} of 40 intervals of 95 % hold the planted crossing"


def test_never_is_said_of_these_rows(tmp_path):
    rows = planted_rows(lambda family, compute: planted_fid("var", compute) * (1.5 if family == "dit" else 1))
    found = compared(written(tmp_path, rows))
    assert all(each["verdict"] == "never" and not each["crossings"] for each in found["meetings"] if not each["depth"])
    on_compute = meeting(found)
    assert "var below dit" in on_compute["sentence"] and "never, in these rows" in on_compute["sentence"]
    last = on_compute["fid_ratio"][-1]
    assert last["low"] < 1 / 1.5 < last["high"]


def test_families_apart_by_less_than_their_noise_are_not_decided(tmp_path):
    rows = planted_rows(lambda family, compute: planted_fid("var", compute), noise=0.08)
    assert meeting(compared(written(tmp_path, rows)))["verdict"] == "undecided"


def test_what_equal_fid_costs(tmp_path):
    rows = planted_rows(lambda family, compute: planted_fid("var", compute / (3 if family == "dit" else 1)), noise=0.01)
    cost = meeting(compared(written(tmp_path, rows)))["cost_ratio"]  # var over dit
    assert cost["low"] < 1 / 3 < cost["high"]


def test_equal_images_are_compared_at_equal_depth(tmp_path):
    found = compared(written(tmp_path, planted_rows()))
    on_images = [each for each in found["meetings"] if each["axis"] == "images"]
    assert [each["depth"] for each in on_images] == [2, 3, 4, 5]
    assert all(each["range"] == [30_720, 92_160] for each in on_images)
    assert "epochs" in on_images[0]["sentence"]


def test_losses_of_families_stay_apart(tmp_path):
    found = compared(write_runs(tmp_path, planted_rows()))
    targets = {(law["contender"], law["target"]) for law in found["laws"]}
    assert targets == {(name, target) for name in LOSSES for target in ("fid", LOSSES[name])}
    assert all(
        set(line) == {"first", "second", "form", "difference", "low", "high"} for line in found["exponent_differences"]
    )
    assert len(found["exponent_differences"]) <= 2, "of FID alone, one a form"


def test_a_studys_variants_are_the_contenders_and_floors_are_told(tmp_path):
    sweep = write_runs(tmp_path, planted_rows(), variants={"var": "ours", "dit": "theirs"})
    found = compared(sweep)
    assert found["contenders"] == ["ours", "theirs"]
    assert found["floors"] == {"ours": 1.0, "theirs": 0.5}
    assert any("floors" in note["sentence"] for note in found["notes"])


def test_two_sweeps_of_one_family_each(tmp_path):
    rows = planted_rows()
    write_runs(tmp_path, rows[rows["family"] == "var"], "depth")
    write_runs(tmp_path, rows[rows["family"] == "dit"], "dit")
    assert compared("depth", "dit", "--runs", tmp_path)["contenders"] == ["var", "dit"]


def test_the_papers_two_fid_sets_are_never_mixed(tmp_path):
    claims = compared(written(tmp_path, planted_rows()))["claims"]
    fid = next(line for line in claims if line["claim"].startswith("FID of DiT"))
    assert fid["proceedings"] == pytest.approx(2.27 / 1.92) and fid["readme"] == pytest.approx(2.27 / 1.97)
    time = next(line for line in claims if line["claim"].startswith("time"))
    assert time["ours"] == pytest.approx(20) and time["proceedings"] == 45


def test_every_figure_has_the_rows_behind_it(tmp_path):
    code, told, refusal = run("compare", written(tmp_path, planted_rows()), "--out", tmp_path / "out")
    assert (code, refusal) == (0, "") and "reach equal FID at" in told
    pictures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"scaling", "speed", "ratio"}
    for stem in pictures:
        assert len(pd.read_csv(tmp_path / "out" / f"{stem}.csv")) >= 4


REFUSED = {
    "one family": (lambda rows: rows[rows["family"] == "var"], "only one family"),
    "features": (
        lambda rows: rows.assign(features=rows["family"].map({"var": "inception", "dit": "clip"})),
        "features",
    ),
    "reference": (
        lambda rows: rows.assign(reference=rows["family"].map({"var": "train", "dit": "validation"})),
        "refere",
    ),
    "data": (lambda rows: rows.assign(data_name=rows["family"]), "data sets"),
    "unique images": (lambda rows: rows.assign(unique_images=rows["seed"] + 5_000), "unique images"),
    "no FID": (lambda rows: rows.drop(columns=["fid", "fid_low", "fid_high"]), "no FID"),
    "no family": (lambda rows: rows.drop(columns="family"), "family"),
    "FID zero": (lambda rows: rows.assign(fid=0.0), "no row has a FID above zero"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_a_sentence(tmp_path, case):
    change, words = REFUSED[case]
    code, told, refusal = run("compare", written(tmp_path, change(planted_rows())), "--json")
    assert code == 2 and told == "" and words in refusal, (code, told, refusal)
    assert len(refusal) > 40


def test_a_name_that_is_nowhere_lists_the_sweeps(tmp_path):
    write_runs(tmp_path, planted_rows())
    code, _, refusal = run("compare", "compair", "--runs", tmp_path)
    assert code == 2 and "compair" in refusal and "sweeps under" in refusal and "compare" in refusal


def test_rows_that_name_no_model_are_said_to_be_taken_for_seeds(tmp_path):
    bare = planted_rows()[["family", "fid", "images_seen"]]
    notes = compared(written(tmp_path, bare))["notes"]
    assert any("taken for seeds of one model" in note["sentence"] for note in notes)
    notes = compared(written(tmp_path, planted_rows().drop(columns=["cell", "params_total"])))["notes"]
    assert not any("taken for seeds" in note["sentence"] for note in notes), "a depth names a model"


def test_one_seed_is_said(tmp_path):
    found = compared(written(tmp_path, planted_rows(seeds=(0,))))
    assert any("one seed" in note["sentence"] for note in found["notes"])
