"""A published fit of rows that live in this repository: Muennighoff et al. 2023; see data/README.md."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import fit_chinchilla, fit_repeated

ROWS = pd.read_csv(Path(__file__).parent / "data" / "datablations.csv")


def huber(residual, delta=1e-3):
    inner = np.minimum(np.abs(residual), delta)
    return float((inner * (np.abs(residual) - inner / 2)).sum())


def test_at_most_two_epochs_give_the_printed_fit():
    part = ROWS[(ROWS["rows_of"] == "seen_up_to_2.5_times") & (ROWS["tokens"] <= 2 * ROWS["unique_tokens"])]
    assert len(part) == 59
    law = fit_chinchilla(part["params"], part["tokens"], part["loss"])
    printed = {"A": 6.2826843, "B": 8.082129, "E": 0.6377628, "alpha": 0.3496321, "beta": 0.3626313}
    for name in ("A", "B", "E"):
        assert np.log(law.coefficients[name]) == pytest.approx(printed[name], abs=2e-3)
    for name in ("alpha", "beta"):
        assert law.coefficients[name] == pytest.approx(printed[name], abs=2e-4)
    theirs = np.exp(printed["E"]) + sum(
        np.exp(printed[key] - printed[exponent] * np.log(part[column]))
        for key, exponent, column in (("A", "alpha", "params"), ("B", "beta", "tokens"))
    )
    published = huber(np.log(part["loss"]) - np.log(theirs))
    assert law.objective < published < law.objective * (1 + 1e-4)
    for name in ("E", "alpha", "beta"):
        low, high = law.interval(name)
        assert low < (np.exp(printed[name]) if name == "E" else printed[name]) < high


def test_repeated_data_wear_out_where_no_other_form_fits_better():
    part = ROWS[ROWS["rows_of"] == "repeated"]
    assert len(part) == 182
    law = fit_repeated(part["params"], part["unique_tokens"], part["tokens"] / part["unique_tokens"], part["loss"])
    assert law.objective == pytest.approx(0.0065659, rel=1e-4)  # the published law: 0.0158259
    assert law.coefficients["R"] == pytest.approx(25.168, rel=1e-3)
    low, high = law.interval("R")
    assert low < 25 < high < 60
