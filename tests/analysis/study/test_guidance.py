"""Guidance is chosen on one split and reported on the other, and a table that cannot do so is refused."""

import pandas as pd
import pytest

from analysis.errors import BadRequest
from analysis.study.guidance import guidance_study

VALIDATION = {0.0: 3.0, 1.5: 2.0, 3.0: 2.2}
TRAIN = {0.0: 3.1, 1.5: 2.4, 3.0: 2.1}  # its own lowest, at 3, may not be quoted


def table(splits=("validation", "train")):
    lines = []
    for seed in (0, 1):
        line = {"family": "var", "trial": f"t{seed}", "depth": 3, "seed": seed, "images_seen": 100, "variant": None}
        for split, values in (("validation", VALIDATION), ("train", TRAIN)):
            for t, fid in values.items() if split in splits else ():
                label = f"classifier-{split}-2000-g{t:g}-abc"
                line |= {
                    f"fid_corrected_{label}": fid + 0.1 * (2 * seed - 1),
                    f"fid_low_{label}": fid - 0.2,
                    f"fid_high_{label}": fid + 0.2,
                    f"fid_guidance_{label}": t,
                    f"fid_reference_{label}": split,
                }
        lines.append(line)
    return pd.DataFrame(lines)


def written(rows, tmp_path):
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_what_one_split_chooses_the_other_reports(tmp_path):
    (line,) = guidance_study([written(table(), tmp_path)]).best.to_dict("records")
    assert (line["guidance"], line["fid_chosen_by"]) == (1.5, pytest.approx(2.0))
    assert line["fid"] == pytest.approx(2.4), "not 2.1, the lowest of the split that reports"
    assert line["lowest_reported"] == pytest.approx(2.1)
    assert not line["at_an_end"]
    (turned,) = guidance_study([written(table(), tmp_path)], "train", "validation").best.to_dict("records")
    assert (turned["guidance"], turned["at_an_end"]) == (3.0, True)


def test_one_split_alone_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="splits with a FID here: train"):
        guidance_study([written(table(("train",)), tmp_path)])
