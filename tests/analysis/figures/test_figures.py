"""Figures: axes in, axes out; ticks that can be read; nothing drawn from a refused fit; every picture with its rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import fit_isoflop
from analysis.errors import Note
from analysis.figures.captions import caption
from analysis.figures.scaling import judged
from analysis.report.files import write_laws
from analysis.rows.recipe import recipe_notes
from analysis.study.sources import study_of_csv
from tests.support.laws import valleys


@pytest.mark.parametrize(
    ("low", "high"), [(3.4, 4.4), (0.7219, 0.7225), (4e4, 3e6), (1e11, 5e12), (1e15, 1e22), (1e-9, 1e-8), (1, 1.0001)]
)
def test_ticks_are_few_round_and_inside(low, high):
    import matplotlib.pyplot as plt

    from analysis.figures import page

    ax = plt.subplots()[1]
    page.log_axes(ax, np.array([low, high]))
    ticks = [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    plt.close(ax.figure)
    assert 2 <= len(ticks) <= 9


def test_a_scaling_panel_shows_rows_law_interval_and_held_out_point(study):
    import matplotlib.pyplot as plt

    from analysis.figures import page, scaling

    ax = plt.subplots()[1]
    assert scaling.draw_against_size(study, "loss_all_scales", ax) is ax
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert "Parameters" in ax.get_xlabel()
    assert "nats" in ax.get_ylabel()
    assert len(ax.collections) >= 3  # an interval a budget
    page.legend_above(ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(texts) == 3
    assert all("held out" in text and "[" in text for text in texts)
    plt.close(ax.figure)


@pytest.mark.slow
def test_every_figure_has_three_formats_and_its_rows(study, tmp_path):
    written = write_laws(study, tmp_path, published="var")
    stems = {path.stem for path in written if path.suffix == ".png"}
    expected = {
        "loss_params",
        "loss_compute",
        "residuals",
        "profile",
        "backtest",
        "sensitivity",
        "collapse",
        "allocation",
        "scales",
    }
    assert expected | {"published_var", "fid_corrected_classifier_params"} <= stems
    for stem in stems:
        for kind in ("png", "svg", "pdf", "csv"):
            assert (tmp_path / f"{stem}.{kind}").stat().st_size > 200
        assert len(pd.read_csv(tmp_path / f"{stem}.csv")) > 1
    rows = pd.read_csv(tmp_path / "loss_compute.csv", dtype={"trial": str})
    assert set(rows["trial"]) == set(study.rows["trial"])
    assert rows["loss_all_scales_on_frontier"].any()
    with pytest.raises(ValueError, match="var"):
        write_laws(study, tmp_path, published="everybody")


def test_the_caption_states_convention_trials_interval_and_notes(study):
    text = caption(study, study.find("loss_all_scales", "params"))
    for words in ("all parameters", "12 trials", "36 rows"):
        assert words in text
    # the fake recipe's learning rate is 0.036/depth at every size: said in the tables, not on every figure
    assert "recipe_moves" not in text
    assert "learning_rate = 0.036 depth^-1" in next(n.sentence for n in study.notes if n.code == "recipe_moves")
    tuned = study.rows.copy()
    tuned.loc[tuned["depth"] == 4, "learning_rate"] *= 1.5
    loud = replace(study, notes=recipe_notes(tuned, study.columns))
    assert "recipe_moves" in caption(loud, study.find("loss_all_scales", "params"))


def test_isoflop_panels():
    import matplotlib.pyplot as plt

    from analysis.figures import isoflop

    fit = fit_isoflop(*valleys())
    grid = plt.subplots(1, 2)[1]
    isoflop.draw_valleys(fit, grid[0])
    isoflop.draw_optimum(fit, grid[1])
    assert len(grid[0].lines) == 2 * 4 + 2  # points and curve of each valley, what has none, the minima
    assert "C^" in grid[1].get_legend().get_texts()[0].get_text()
    plt.close(grid[0].figure)


def test_a_csv_whose_every_fit_is_refused_draws_nothing(tmp_path):
    path = tmp_path / "two.csv"
    path.write_text("params,loss\n1e6,3\n2e6,2.9\n")
    study = study_of_csv(path)
    assert study.fitted == []
    written = write_laws(study, tmp_path / "out")
    assert [file.name for file in written] == ["laws.json", "rows.csv", "table.csv", "table.tex"]


def test_the_same_rows_give_the_same_bytes(study, tmp_path):
    from analysis.figures import page, residuals
    from analysis.figures.style import styled

    pictures = []
    for name in ("a", "b"):
        with styled():
            record = next(record for record in study.find("loss_all_scales", "params") if record.law is not None)
            ax = residuals.draw_residuals(record)
            page.save(ax.figure, tmp_path / name)
        pictures.append([(tmp_path / f"{name}.{kind}").read_bytes() for kind in ("png", "svg", "pdf")])
    assert pictures[0] == pictures[1]


def test_captions_say_conventions_trials_held_out_errors_and_the_numbers_of_notes(study):
    records = [record for record in study.find("loss_all_scales", "params, data") if record.law is not None]
    text = caption(study, records)
    for words in ("N: ", "D: ", "C: ", " trials, ", " rows.", "Largest size held out: "):
        assert words in text
    assert "held out" not in caption(study, records, held_out=False)
    noted = replace(study, notes=(Note("outliers", "words", 7.25), Note("outliers", "words", 5.0)))
    assert "Notes: outliers (x2, 5 to 7.25)" in caption(noted, [])


def test_an_interval_over_a_factor_of_ten_is_no_prediction(study):
    test = next(record for record in study.records if record.backtests).backtests[-1]
    assert judged(test) in ("inside its interval", "outside its interval")
    assert "too wide" in judged(replace(test, low=1.0, high=11.0))


def test_a_frame_holds_the_held_out_prediction(tmp_path):
    """A power law far below the last size of a ladder that flattens: its cross lay off the frame."""
    import matplotlib.pyplot as plt

    from analysis.figures import scaling

    frame = pd.DataFrame({"params": [5e6, 2e7, 8e7, 3e8, 1.2e9], "loss": [55.2, 31.0, 17.5, 12.1, 11.9]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study = study_of_csv(tmp_path / "rows.csv")
    ax = scaling.draw_against_size(study, "loss")
    low, high = ax.get_ylim()
    tests = [test for record in study.find("loss", "params") for test in record.backtests]
    assert tests
    drawn = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "x"]
    assert drawn and all(low < value < high for value in drawn)
    plt.close(ax.figure)


def test_the_frame_of_an_allocation_is_that_of_its_curves(tmp_path):
    import matplotlib.pyplot as plt

    from analysis.figures import allocation
    from analysis.plans.candidates import candidates_of_rows
    from analysis.plans.predict import joint_record

    rng = np.random.default_rng(0)
    rows = [(n, d) for n in (8.0, 16.0, 32.0, 64.0) for d in (1.2e10, 3e10, 8e10)]
    frame = pd.DataFrame(rows, columns=["gmacs", "samples"])
    frame["C"] = frame["gmacs"] * frame["samples"]
    frame["err"] = (15 + 30 / frame["gmacs"] ** 0.2) * (frame["samples"] / 1e10) ** -0.03
    frame["err"] *= np.exp(0.02 * rng.normal(size=12))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study = study_of_csv(tmp_path / "rows.csv", x="gmacs", data="samples", compute="C", y=("err",))
    ax, table = allocation.draw_allocation(
        study, joint_record(study, "err"), candidates_of_rows(study.rows, study.columns)
    )
    low, high = ax.get_ylim()
    assert low > table["loss"].min() / 2 and high < 2 * table["loss"].max()
    plt.close(ax.figure)
