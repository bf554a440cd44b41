"""One form a figure, no confident line where the slope is unknown, intervals, floors and hidden sizes as drawn."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from analysis.figures import page, scaling
from analysis.figures.captions import legend_title
from analysis.figures.measured import floors
from analysis.report.latex import latex_table, tex
from analysis.rows.words import carried
from analysis.study import comparison
from analysis.study.comparison import common_form, figure_form, told_first
from analysis.study.reading import slope_known
from analysis.study.sources import study_of_csv

FID = "fid_corrected_classifier"


def test_one_form_for_all_budgets_though_each_would_take_its_own(study, monkeypatch):
    groups = list(comparison.by_budget(study, "loss_all_scales", "params").values())
    scores = {20_480: {"power": 1e-6, "power + offset": 4e-6}, 61_440: {"power": 9e-4, "power + offset": 1e-6}}
    monkeypatch.setattr(
        comparison, "held_out_score", lambda record: scores.get(record.budget, {}).get(record.form, 1e-5)
    )
    assert [comparison.best_form(group).form for group in groups[:2]] == ["power", "power + offset"]
    assert common_form(groups) == "power + offset"
    assert figure_form(study, ["loss_all_scales"], "params") == "power + offset"


def test_a_form_whose_slope_is_known_at_fewer_budgets_is_not_taken(study, monkeypatch):
    groups = list(comparison.by_budget(study, "loss_all_scales", "params").values())
    monkeypatch.setattr(comparison, "slope_known", lambda record: record.form == "power")
    assert common_form(groups) == "power"


def test_every_line_of_a_figure_is_of_the_form_that_its_legend_names(study):
    ax = scaling.draw_against_size(study, "loss_all_scales", form="power")
    laws = study.find("loss_all_scales", "params", "power")
    curves = [line.get_xydata() for line in ax.lines if len(line.get_xdata()) == scaling.CURVE_POINTS]
    assert len(curves) == len(laws) == 3
    for curve, record in zip(curves, laws, strict=True):
        np.testing.assert_allclose(curve[:, 1], record.law.predict(curve[:, 0]))
    assert legend_title(study, "params", "power") == "images seen; law: power"
    plt.close(ax.figure)


def test_a_slope_that_may_be_zero_is_dotted_without_a_band(study, monkeypatch):
    monkeypatch.setattr(scaling, "slope_known", lambda record: record.budget != 20_480)
    ax = scaling.draw_against_size(study, "loss_all_scales")
    assert sum(isinstance(band, PolyCollection) for band in ax.collections) == 2
    texts = [line.get_label() for line in ax.lines]
    assert sum("slope not known from 0" in text for text in texts) == 1
    plt.close(ax.figure)


def test_slopes_are_known_where_their_interval_leaves_zero_out():
    def record(low, high):
        law = SimpleNamespace(
            kind=SimpleNamespace(read_for=(SimpleNamespace(name="alpha", of="x", scale=1.0, tex=""),)),
            estimator=SimpleNamespace(theta=np.zeros(1), natural=lambda theta: {"alpha": np.zeros(1)}),
            interval=lambda name, level: (low, high),
        )
        return SimpleNamespace(law=law, against="params")

    assert slope_known(record(-0.43, -0.01))
    assert not slope_known(record(-1.48, 0.009))


def test_fids_carry_their_intervals_and_the_frame_holds_them(study):
    for draw, x in ((scaling.draw_against_size, "params_total"), (scaling.draw_against_compute, "train_flops")):
        ax = draw(study, FID)
        bars = [seg for one in ax.collections if isinstance(one, LineCollection) for seg in one.get_segments()]
        bars = [seg for seg in bars if round(seg[0][1], 9) in set(study.rows["fid_low_classifier"].round(9))]
        ends = {(round(seg[0][0]), round(seg[0][1], 9), round(seg[1][1], 9)) for seg in bars}
        rows = study.rows[[x, "fid_low_classifier", "fid_high_classifier"]].itertuples(index=False)
        assert ends == {(round(at), round(low, 9), round(high, 9)) for at, low, high in rows}
        low, high = ax.get_ylim()
        assert low < min(end[1] for end in ends) and high > max(end[2] for end in ends)
        plt.close(ax.figure)


def test_the_floor_is_corrected_where_that_is_known_and_has_its_band(study):
    (floor,) = floors(study.rows, FID)
    assert (floor.value, floor.low, floor.high, floor.words) == (3.1, 3.0, 3.2, "tokenizer's own rFID")
    raw = study.rows.drop(columns=[f"tokenizer_rfid_{part}_classifier" for part in ("corrected", "low", "high")])
    (floor,) = floors(raw, FID)
    assert floor.value == 3.2 and np.isnan(floor.low) and "not corrected" in floor.words
    assert floors(study.rows, "loss_all_scales") == []


def test_hidden_sizes_are_hollow_and_their_bars_lie_in_the_frame(study):
    ax = scaling.draw_against_size(study, "loss_all_scales")
    largest = study.rows["params_total"].max()
    low, high = ax.get_ylim()
    for line in ax.lines:
        if line.get_linestyle() == "None" and line.get_marker() in page.MARKERS[:3] and len(line.get_xdata()):
            hollow = line.get_markerfacecolor() == "white"
            assert hollow == bool(np.all(line.get_xdata() == largest))
    for record in study.find("loss_all_scales", "params", figure_form(study, ["loss_all_scales"], "params")):
        assert all(low < test.low < test.high < high for test in record.backtests)
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (-0.3565, -0.4284, -0.2848, ("-0.36", "-0.43", "-0.28")),
        (3.6995, 3.68, 3.72, ("3.700", "3.680", "3.720")),
        (12.4, 8, 20, ("12", "8", "20")),
        (-0.35, -1.394, 0.004, ("-0.350", "-1.394", "0.004")),
        (5.0, 5.0, 5.0, ("5", "5", "5")),
        (1.9, 0.0, 2.7, ("1.9", "0.0", "2.7")),
    ],
)
def test_digits_are_those_that_the_interval_carries(value, low, high, shown):
    assert carried(value, low, high) == shown


def test_the_table_begins_with_what_a_paper_prints(study):
    first = told_first(study)
    assert [record.form for record in first if record.target == "loss_all_scales" and record.against == "params"] == [
        figure_form(study, ["loss_all_scales"], "params")
    ] * 3
    assert all(slope_known(record) for record in first)
    head, rest = latex_table(study).split("other forms, and what the rows do not tell")
    assert head.count(r"\\") == len(first) + 1  # its header
    assert rest.count(r" \\") == len(study.records) - len(first) + 1
    assert tex("α −0.3, 8×10¹⁰ & 5 %") == r"$\alpha$ $-$0.3, 8$\times$10$^{10}$ \& 5 \%"


def test_a_law_of_a_csv_has_one_form_too(tmp_path):
    frame = pd.DataFrame({"params": [5e6, 2e7, 8e7, 3e8, 1.2e9]})
    frame["loss"] = 1.7 + (frame["params"] / 1e7) ** -0.3
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study = study_of_csv(tmp_path / "rows.csv")
    ax = scaling.draw_against_size(study, "loss")
    assert legend_title(study, "params", figure_form(study, ["loss"], "params")) == "law: power + offset"
    plt.close(ax.figure)
    assert common_form([[replace(record, law=None) for record in study.records]]) is None
