"""Given coefficients and wide tables, as fit-laws takes them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.errors import BadRequest
from analysis.laws.plane import CHINCHILLA
from analysis.laws.power import OFFSET
from analysis.rows.wide import melted
from analysis.study.fixing import Fixed, read_fixes
from analysis.study.sources import study_of_csv
from var_scaling.cli.scaling import app

SIZES = 10 ** np.linspace(7, 9, 6)
AMOUNTS = {"loss 1B": 1e9, "loss 3B": 3e9, "loss 10B": 1e10}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    noise = np.random.default_rng(0)
    table = pd.DataFrame({"params": SIZES, "layer2": 1})
    for name, amount in AMOUNTS.items():
        table[name] = (1.69 + 406.4 / SIZES**0.34 + 410.7 / amount**0.28) * np.exp(0.003 * noise.normal(size=6))
    table.loc[5, "loss 10B"] = np.nan
    path = tmp_path_factory.mktemp("wide") / "wide.csv"
    table.to_csv(path, index=False)
    return path


def test_a_wide_table_and_given_coefficients(wide):
    result = CliRunner().invoke(
        app, ["fit-laws", str(wide), "--wide", "tokens", "--fix", "alpha=0.34", "--no-figures", "--json"]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["rows"] == 17
    laws = [law for law in answer["laws"] if law["against"] == "params, data"]
    law, tied = laws[:2]
    assert law["given"] == ["alpha"] and tied["given"] == []
    assert law["coefficients"]["alpha"] == 0.34 and law["intervals"]["alpha"] == [0.34, 0.34]
    assert [note["code"] for note in law["notes"]].count("pinned") == 1
    own = [law for law in answer["laws"] if law["against"] == "params" and law["coefficients"]]
    assert own and all(law["intervals"]["alpha"][0] < law["intervals"]["alpha"][1] for law in own)


def test_one_forms_coefficient_is_that_forms_alone(wide):
    study = study_of_csv(wide, wide="tokens", fix={"offset.E": 1.9}, holdout=0)
    floors = [record.law.coefficients["E"] for record in study.find(form=OFFSET, against="params") if record.law]
    assert floors and set(floors) == {1.9}
    assert study.find(form=CHINCHILLA)[0].law.given == ()


def test_a_name_means_the_laws_that_the_rows_carry():
    assert Fixed({"E": 1.0}, joint=True).of(OFFSET) == {}
    assert Fixed({"E": 1.0}, joint=False).of(OFFSET) == {"E": 1.0}
    assert Fixed({"E": 1.0}, joint=True).of(CHINCHILLA) == {"E": 1.0}
    with pytest.raises(BadRequest, match="no law of these rows has a coefficient 'beta'"):
        Fixed({"beta": 0.3}, joint=False).check()  # of a law in one variable it is a scale: say which form


@pytest.mark.parametrize(
    ("texts", "words"), [(["alpha"], "NAME=NUMBER"), (["E=x"], "NAME=NUMBER"), (["E=1", "E=2"], "twice")]
)
def test_fixes_that_cannot_be_read(texts, words):
    with pytest.raises(BadRequest, match=words):
        read_fixes(texts)


def test_what_wide_columns_hold():
    table = pd.DataFrame({"run": ["a", "b"], "1M": [3.0, 2.9], "2.5M": [2.5, None], "note": ["x", "y"]})
    rows, loss, note = melted(table, "params")
    assert loss == "loss" and list(rows["params"]) == [1e6, 2.5e6, 1e6]
    assert list(rows[loss]) == [3.0, 2.5, 2.9] and list(rows["run"]) == ["a", "a", "b"]
    assert "empty cells (1)" in note.sentence


@pytest.mark.parametrize(
    ("columns", "what", "words"),
    [
        ({"N": [1, 2], "loss": [3, 2]}, "tokens", "no two columns are alike"),
        ({"tokens": [1], "l 1": [2], "l 2": [2]}, "tokens", "already"),
        ({"l 1": [2], "l 2": [2], "m 1": [2], "m 2": [2]}, "tokens", "several kinds"),
        ({"l 1e3": [2], "l 1k": [2]}, "tokens", "one amount"),
        ({"l 1": [2.0, "bad"], "l 2": [2, 1]}, "tokens", "row 2, column 'l 1' holds 'bad'"),
    ],
)
def test_wide_tables_that_cannot_be_read(columns, what, words):
    with pytest.raises(BadRequest, match=words):
        melted(pd.DataFrame(columns), what)
