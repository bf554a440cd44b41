"""Rows as training writes them pass `analysis`, and those that its tests make by hand have the same columns."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis import load_runs
from analysis.rows.conventions import convention_notes
from analysis.study.sources import study_of
from tests.support.fake_study import write_study
from tests.support.tiny import STUDY, Tiny


@pytest.fixture(scope="module")
def real(tiny_stages: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep folder of two depths, trained for some steps."""
    tiny = tiny_stages.copy(tmp_path_factory.mktemp("real") / "runs")
    for depth in (2, 3):
        tiny.run(f"model.depth={depth}", text=STUDY)
    return tiny.runs


def test_a_row_of_training_has_what_hand_made_ones_have(real: Path, tmp_path: Path) -> None:
    write_study(tmp_path, depths=(2, 3), fid=False)
    made, found = load_runs(tmp_path), load_runs(real)
    assert set(made) == set(found)
    for name in made:
        both = [pd.api.types.is_numeric_dtype(table[name]) for table in (made, found)]
        assert both[0] == both[1], name


def test_rows_of_training_are_read_and_every_law_is_a_fit_or_a_refusal(real: Path) -> None:
    study = study_of(real)
    assert len(study.rows) == 4
    assert {record.refusal.code for record in study.refused} <= {"too_few_sizes", "one_ray"}
    assert study.columns.depth == "depth"
    json.dumps(study.conventions)


def test_what_an_evaluation_measures_is_no_convention(tmp_path: Path) -> None:
    """`fid_reference_bias` was taken for the name of a reference: ten values, ten kinds of FID."""
    write_study(tmp_path)
    rows = load_runs(tmp_path)
    label = next(name.removeprefix("fid_samples_") for name in rows if name.startswith("fid_samples_"))
    rows[f"fid_reference_bias_{label}"] = range(len(rows))
    columns = study_of(tmp_path).columns
    assert not [note for note in convention_notes(rows, columns) if "fid_" in note.sentence]
    rows[f"fid_reference_{label}"] = ["train", "validation"] * (len(rows) // 2) + ["train"] * (len(rows) % 2)
    assert [note for note in convention_notes(rows, columns) if "fid_reference" in note.sentence], "the premise"
