"""The reuse constant: a planted one is found, rows that rise are named, and a table of one U is refused."""

import numpy as np
import pandas as pd
import pytest

from analysis.errors import BadRequest
from analysis.study.reuse import reuse_constants

R = 9.0


def loss(params, unique, epochs):
    seen = unique * np.minimum(epochs, 1) * (1 + R * (1 - np.exp(-np.maximum(epochs - 1, 0) / R)))
    return 1.5 + 40 * params**-0.4 + 300 * seen**-0.5


def table(uniques=(1_250, 2_500, 5_000, 20_000), noise=0.001):
    rng, lines = np.random.default_rng(2), []
    for depth, params in ((2, 6e4), (3, 1.6e5), (4, 3.4e5)):
        for unique in uniques:
            for seed in (0, 1):
                lines += [
                    {
                        "family": "var",
                        "trial": f"d{depth}-u{unique}-s{seed}",
                        "depth": depth,
                        "seed": seed,
                        "params_total": params,
                        "unique_images": unique,
                        "images_seen": images,
                        "epochs": images / unique,
                        "loss_all_scales": loss(params, unique, images / unique) * np.exp(noise * rng.normal()),
                    }
                    for images in (10_240, 30_720, 92_160)
                ]
    return pd.DataFrame(lines)


def written(rows, tmp_path):
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    return path


def test_a_planted_constant_is_in_its_interval_at_each_cap_and_over_fitted_rows_are_named(tmp_path):
    rows = table()
    late = (rows["trial"] == "d4-u1250-s0") & (rows["images_seen"] == 92_160)
    rows.loc[late, "loss_all_scales"] *= 2
    found = reuse_constants([written(rows, tmp_path)], (32, 100))
    assert found.rising["trial"].tolist() == ["d4-u1250-s0"]
    assert [each.rows for each in found.constants] == [int((rows["epochs"] <= 32).sum()), len(rows) - 1]
    for each in found.constants:
        line = each.as_dict()
        assert line["low"] < R < line["high"], line


def test_one_number_of_unique_images_has_no_constant(tmp_path):
    with pytest.raises(BadRequest, match="20,000 unique images; R tells seeing again from seeing more"):
        reuse_constants([written(table(uniques=(20_000,)), tmp_path)])


def test_a_cap_that_leaves_no_repetition_is_refused_and_the_others_stand(tmp_path):
    few, many = reuse_constants([written(table(), tmp_path)], (0.6, 32)).constants
    assert few.law is None and few.as_dict()["refused"]
    assert many.law is not None


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadRequest, match="epochs missing here"):
        reuse_constants([written(table().drop(columns="epochs"), tmp_path)])
