"""Samples over size and budget, finished budgets on their trunks, loss of each scale, data seen again."""

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.figures import envelope, gallery_study, repeats, samples, scales
from analysis.figures.style import styled
from analysis.rows.folders import trials_around
from analysis.study.sources import study_of_csv
from analysis.study.trajectories import Trajectories


def sheet(level: float, side: int = 64, rows: int = 3, columns: int = 10, names: int = 14) -> np.ndarray:
    """A grid as it lies beside a row: class c in row r has the level + c/100, its upper half darker by (r + 1)/10."""
    pitch = side + 4
    picture = np.ones((names + rows * pitch - 4, columns * pitch - 4))
    for r in range(rows):
        for c in range(columns):
            tile = np.full((side, side), level + c / 100)
            tile[: side // 2] -= (r + 1) / 10
            picture[names + r * pitch :][:side, c * pitch :][:, :side] = tile
    return picture


def test_tiles_of_a_sheet_are_found_by_the_height_of_a_sample():
    found = samples.tiles(sheet(0.5), 32)
    assert found.shape == (3, 10, 64, 64)
    np.testing.assert_allclose(found[:, :, -1, 0], np.tile(0.5 + np.arange(10) / 100, (3, 1)))
    part = samples.mosaic(found, 2, 5)
    assert part.shape == (2 * 66 - 2, 5 * 66 - 2)
    np.testing.assert_allclose(part[63, ::66], 0.5 + np.array([1, 3, 5, 7, 9]) / 100)
    assert samples.tiles(np.zeros((3 * 130 - 2, 4 * 130 - 2, 3)), 128).shape == (3, 4, 128, 128, 3)


def first_run(found: np.ndarray, length: int = 6) -> int:
    """Where so many in a row begin: letters are thinner than halves of tiles."""
    runs = np.lib.stride_tricks.sliding_window_view(found, length).all(axis=1)
    return int(np.flatnonzero(runs)[0])


@pytest.fixture
def pictured(study):
    """The study with a sheet beside the rows of two sizes and two budgets."""
    for folder in trials_around(Path(study.source)).iterdir():
        if folder.name.startswith(("depth=2-seed=0", "depth=8-seed=0")):
            (folder / "identity.json").write_text(json.dumps({"data": {"resolution": 32}}))
            for budget in (20_480, 184_320):
                level = 0.9 if folder.name.startswith("depth=8") else 0.5
                plt.imsave(folder / "budgets" / str(budget) / "samples.png", sheet(level), cmap="gray", vmin=0, vmax=1)
    return study


def test_cells_stand_by_size_and_budget_upright_with_flops_and_fid(pictured, tmp_path):
    table = samples.sample_cells(pictured)
    assert list(table["budget"]) == [20_480, 20_480, 184_320, 184_320]
    assert list(table["depth"]) == [2, 8, 2, 8]
    row = pictured.rows[(pictured.rows["depth"] == 8) & (pictured.rows["images_seen"] == 20_480)]
    assert table["flops"].iloc[1] == row["train_flops"].iloc[0]
    assert table["fid"].iloc[1] == row["fid_corrected_classifier"].iloc[0]
    with styled():
        written = gallery_study.samples_panel(pictured, tmp_path / "samples")
    assert {path.suffix for path in written} == {".png", ".svg", ".pdf", ".csv"}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "samples.csv"), table, check_dtype=False)
    picture = plt.imread(tmp_path / "samples.png")[:, :, 0]
    for share, level in ((0.28, 0.5), (0.78, 0.9)):  # of the width: within the smaller size's cells, and the larger's
        column = picture[:, int(picture.shape[1] * share)]
        above, below = (first_run(np.abs(column - level - shift) < 0.045) for shift in (-0.05, 0.05))
        assert above < below  # upright
    assert (tmp_path / "samples.svg").read_text().count("<image") == 4


def test_without_pictures_there_is_no_such_figure(tmp_path):
    frame = pd.DataFrame({"params": [1e6, 2e6, 4e6, 8e6], "loss": [3.0, 2.8, 2.65, 2.55]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study = study_of_csv(tmp_path / "rows.csv")
    assert samples.sample_cells(study).empty
    assert scales.scale_table(study).empty
    assert gallery_study.envelope_panel(study, tmp_path / "envelope") == []
    assert gallery_study.repeats_panel(study, tmp_path / "repeats") == []


def test_no_finished_budget_lies_below_the_envelope(study):
    sizes = np.repeat(np.sort(study.rows["params_total"].unique()), 3)
    curves = pd.DataFrame({"size": sizes, "images": 1.0, "x": sizes * 1e6, "y": 5.0})
    ax, table = envelope.draw_envelope(replace(study, trajectories=Trajectories(curves, curves)))
    edge, finished = table[table["part"] == "envelope"], table[table["part"] == "finished"]
    means = finished.groupby(["size", "x"], as_index=False)["y"].mean()
    for point in means.itertuples():
        reached = edge[edge["x"] <= point.x * (1 + 1e-9)]["y"]
        assert reached.min() <= point.y + 1e-9
    assert len(finished) == len(study.rows)
    steps = next(line for line in ax.lines if line.get_drawstyle() == "steps-post")
    np.testing.assert_allclose(steps.get_ydata(), edge["y"])
    plt.close(ax.figure)


def test_losses_of_two_kinds_share_no_panel(study, tmp_path):
    assert envelope.of_one_kind(study)
    other = study.rows.assign(train_loss=0.3 * study.rows["loss_all_scales"])
    curves = pd.DataFrame({"size": 1e6, "images": 1.0, "x": [1e9, 2e9], "y": [0.5, 0.4]})
    two = replace(study, rows=other, trajectories=Trajectories(curves, curves))
    assert gallery_study.envelope_panel(two, tmp_path / "envelope") == []


def test_each_scale_is_the_mean_of_its_rows_at_the_longest_budget(study):
    table = scales.scale_table(study)
    assert set(table["scale"]) == {1, 2, 3, 4} and set(table["budget"]) == {184_320}
    rows = study.rows[study.rows["images_asked"] == 184_320]
    for line in table.itertuples():
        expected = rows[rows["params_total"] == line.params][f"loss_scale_{line.scale}"].mean()
        assert line.loss == pytest.approx(expected)
    ax = scales.draw_scales(table, study)
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(drawn["2"], table[table["scale"] == 2]["loss"])
    plt.close(ax.figure)


def test_repeated_data_leave_the_curve_of_fresh_ones(tmp_path):
    n, u, e = (
        part.ravel() for part in np.meshgrid([1e6, 4e6, 16e6, 64e6], [1e7, 4e7, 16e7], [1.0, 4, 16, 64], indexing="ij")
    )
    d = u * (1 + 5 * (1 - np.exp(-(e - 1) / 5)))
    noise = np.exp(0.003 * np.random.default_rng(0).normal(size=len(n)))
    loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * noise
    pd.DataFrame({"params": n, "unique_tokens": u, "epochs": e, "loss": loss}).to_csv(
        tmp_path / "rows.csv", index=False
    )
    study = study_of_csv(tmp_path / "rows.csv")
    record = next(r for r in study.find("loss", "params, data, epochs") if r.law is not None)
    assert repeats.repeated_sizes(record) == [1e6, 16e6, 64e6]
    ax, table = repeats.draw_repeats(study, record, 16e6)
    law, rows = table[table["part"] == "law"], table[table["part"] == "rows"]
    assert len(rows) == 12
    most = law[law["unique"] == 1e7].iloc[-1]
    fresh = table[(table["part"] == "fresh")]
    at = np.interp(np.log(most["images"]), np.log(fresh["images"]), fresh["y"])
    assert most["y"] > 1.02 * at  # 64 passes are not 64 times the data
    low, high = ax.get_ylim()
    assert low < rows["y"].min() and high > rows["y"].max()
    plt.close(ax.figure)
