"""Figures for a paper: sizes, fonts, text and captions as read back from the files; data drawn are those of the CSV."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.errors import BadRequest
from analysis.figures import gallery, page, scaling
from analysis.figures.style import PAPER, SCREEN, style_named, styled
from analysis.report.captions import gather
from tests.support.laws import run

WIDTHS = {3.25, 5.5, 6.75}


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    """Two figures of the study on paper, with what was gathered beside them."""
    folder = tmp_path_factory.mktemp("paper")
    tasks = {task.args[1].name: task for task in gallery.figure_tasks(study, folder, style=PAPER)}
    return folder, gather([*tasks["loss_params"](), *tasks["fid_corrected_classifier_compute"]()])


def test_text_is_text_of_seven_points_in_fonts_that_others_have(drawn):
    folder, _ = drawn
    for file in folder.glob("*.svg"):
        svg = file.read_text(encoding="utf-8")
        assert svg.count("<text") > 10
        whole, parts = (
            [float(size) for size in re.findall(rf"<{tag}[^>]*font-size: ([\d.]+)px", svg)] for tag in ("text", "tspan")
        )
        assert whole and min(whole) >= 7
        assert min(parts, default=7.0) >= 0.69 * 7  # exponents of formulas are raised
        assert max(parts, default=7.0) >= 7
        assert "Var Scaling Sans" not in svg and "DejaVu Sans" in svg
        assert "−" in svg and not re.search(r">[^<]*(?<![\w.])-\d[^<]*<", svg)


def test_widths_are_those_of_columns_and_pages_and_fonts_are_embedded(drawn):
    folder, _ = drawn
    for file in folder.glob("*.svg"):
        width = float(re.search(r'width="([\d.]+)pt"', file.read_text(encoding="utf-8"))[1]) / 72
        assert any(abs(width - known) < 0.01 for known in WIDTHS)
        pdf = file.with_suffix(".pdf").read_bytes()
        box = [float(value) for value in re.search(rb"/MediaBox \[([^\]]*)\]", pdf)[1].split()]
        assert box[2] / 72 == pytest.approx(width, abs=0.01)
        assert pdf.count(b"/Type /FontDescriptor") == pdf.count(b"/FontFile2") > 0
        assert b"/Subtype /Type3" not in pdf


def test_captions_leave_the_picture_for_a_text_and_a_snippet(drawn):
    folder, written = drawn
    words = (folder / "caption.txt").read_text(encoding="utf-8")
    snippet = (folder / "figures.tex").read_text(encoding="utf-8")
    assert {folder / "caption.txt", folder / "figures.tex"} <= set(written)
    assert not list(folder.glob("*.json"))
    for name, width in (("loss_params", 3.25), ("fid_corrected_classifier_compute", 3.25)):
        assert f"{name} ({width:g} in)" in words
        assert rf"\includegraphics[width={width:g}in]{{{name}.pdf}}" in snippet
        assert "36 rows" not in (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert "36 rows" in words and "Every law: power + offset" in words
    plain = re.sub(r"\\[{}]", "", snippet)
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"(?<!\\)[%&#]", re.sub(r"^%.*$", "", snippet, flags=re.M))


def test_the_screen_keeps_its_caption(study, tmp_path):
    tasks = {task.args[1].name: task for task in gallery.figure_tasks(study, tmp_path, style=SCREEN)}
    figures = []
    kept = page.save
    page.save = lambda figure, *rest: figures.append(figure) or []
    try:
        tasks["loss_params"]()
    finally:
        page.save = kept
    assert "36 rows" in figures[0].get_supxlabel()
    plt.close(figures[0])


def test_every_point_drawn_is_in_the_csv(study, drawn):
    folder, _ = drawn
    rows = pd.read_csv(folder / "loss_params.csv")
    with styled(PAPER):
        ax = scaling.draw_against_size(study, "loss_all_scales")
    points = [line.get_xydata() for line in ax.lines if line.get_marker() in page.MARKERS]
    there = np.concatenate([part for part in points if len(part)])
    expected = rows[["params_total", "loss_all_scales"]].to_numpy(float)
    assert len(there) == len(expected)
    assert {tuple(np.round(point, 6)) for point in there} == {tuple(np.round(point, 6)) for point in expected}
    plt.close(ax.figure)


def test_a_panel_tells_each_law_as_a_formula_that_gives_its_curve(study):
    with styled(PAPER):
        ax = scaling.draw_against_size(study, "loss_all_scales")
        page.legend(ax)
    record = study.find("loss_all_scales", "params", "power + offset", budget=20_480)[0]
    text = next(t.get_text() for t in ax.get_legend().get_texts() if t.get_text().startswith("20.5K"))
    pattern = r"\$([\d.]+) \+ ([\d.]+)\\,\(N/\\mathrm\{(\w+)\}\)\^\{(-[\d.]+)\}"
    offset, factor, unit, exponent = re.search(pattern, text).groups()
    pivot = float(unit[:-1]) * {"K": 1e3, "M": 1e6}[unit[-1]]
    x = record.rows["x"].to_numpy(float)
    told = float(offset) + float(factor) * (x / pivot) ** float(exponent)
    np.testing.assert_allclose(told, record.law.predict(x), rtol=0.01)
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("-0.36 [-0.4, .1]", "−0.36 [−0.4, .1]"), ("held-out d4-s0 1e-5", "held-out d4-s0 1e-5"), ("$N^{-1}$ -2", None)],
)
def test_a_minus_stands_before_numbers_alone(text, shown):
    assert page.minus(text) == (shown or "$N^{-1}$ −2")


def test_sizes_are_counted_in_k_m_and_b():
    assert [page.short_number(value) for value in (5.88e4, 1.08e6, 2.01e9, 3e12)] == ["58.8K", "1.08M", "2.01B", "3T"]


def test_a_style_that_is_not_there_is_named():
    with pytest.raises(BadRequest, match="screen, paper"):
        style_named("poster")


def test_fit_laws_draws_on_paper_and_refuses_other_styles(tmp_path):
    sizes = np.array([1e6, 2e6, 4e6, 8e6, 1.6e7, 3.2e7])
    pd.DataFrame({"params": sizes, "loss": 2 + (sizes / 1e5) ** -0.4}).to_csv(tmp_path / "rows.csv", index=False)
    code, text, _ = run("fit-laws", tmp_path / "rows.csv", "--style", "paper", "--json")
    files = {Path(name).relative_to(tmp_path).as_posix() for name in json.loads(text)["files"]}
    assert code == 0
    assert {"rows_laws/paper/loss_params.pdf", "rows_laws/paper/figures.tex", "rows_laws/table.tex"} <= files
    assert not list((tmp_path / "rows_laws").glob("*.png"))
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--style", "wall")
    assert code == 2 and "screen or paper" in problem


def test_every_budget_of_a_few_is_named_and_every_law_where_there_is_room(study):
    with styled(PAPER):
        ax = scaling.draw_against_size(study, "loss_all_scales")
        page.legend(ax)
        names = [text.get_text().partition(":")[0] for text in ax.get_legend().get_texts()]
        plt.close(ax.figure)
    assert names == ["20.5K", "61.4K", "184K"]
