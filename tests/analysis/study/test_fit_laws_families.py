"""A study of several families: each has laws of its own, of its own loss, and nothing pools them."""

import json

import pytest

from tests.support.families import LOSSES, planted_rows, write_runs
from tests.support.laws import run


@pytest.fixture
def sweep(tmp_path):
    return write_runs(tmp_path, planted_rows())


def test_each_family_is_fitted_alone_to_its_own_loss(sweep):
    code, told, refusal = run("fit-laws", sweep, "--no-figures", "--json")
    assert (code, refusal) == (0, "")
    families = json.loads(told)["families"]
    assert set(families) == {"var", "dit"}
    for name, document in families.items():
        targets = {law["target"] for law in document["laws"]}
        assert LOSSES[name] in targets and not targets & (set(LOSSES.values()) - {LOSSES[name]})
        assert all("family has" not in note["sentence"] for note in document["notes"])
        assert (sweep / "laws" / name / "laws.json").is_file()
    assert not (sweep / "laws" / "laws.json").exists()


def test_one_familys_laws_are_those_of_its_rows_alone(tmp_path, sweep):
    rows = planted_rows()
    alone = write_runs(tmp_path / "alone", rows[rows["family"] == "dit"])
    options = ("--no-figures", "--json", "--y", LOSSES["dit"])
    both = json.loads(run("fit-laws", sweep, *options, "--family", "dit")[1])["laws"]
    single = json.loads(run("fit-laws", alone, *options)[1])["laws"]
    assert [law.get("coefficients") for law in both] == [law.get("coefficients") for law in single]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "--depth", "6"), "name one with --family"),
        (("fit-laws", "--family", "ditt"), "there are var, dit"),
    ],
)
def test_a_family_has_to_be_one_of_them(sweep, arguments, words):
    code, _, refusal = run(arguments[0], sweep, *arguments[1:])
    assert code == 2 and words in refusal
