"""Which figures a study gets: composes panels, writes files, names what each figure rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from analysis.figures import backtest, gallery_study, overview, page, profile, residuals, scaling, sensitivity
from analysis.figures.captions import caption, fid_words, legend_title, rows_behind
from analysis.figures.measured import interval_columns
from analysis.figures.scaling import budget_words
from analysis.figures.style import SCREEN, Style, current, styled
from analysis.laws.plane import CHINCHILLA
from analysis.laws.power import OFFSET
from analysis.rows import checks
from analysis.rows.budgets import MOST_BUDGETS
from analysis.rows.counting import amount
from analysis.rows.words import axis, target_words
from analysis.study.comparison import figure_form, target_groups
from analysis.study.reading import slope_known
from analysis.study.record import LEVEL, LawRecord, StudyLaws
from analysis.study.sensitivity import GROUPS

MOST_BACKTESTS = 26  # lines that a page holds


def figure_tasks(
    study: StudyLaws, folder: Path, published: str | None = None, style: Style = SCREEN
) -> list[Callable[[], list[Path]]]:
    """Each figure that the study may carry as a call that draws it and returns the files written, none if it cannot.

    Args:
        study: what fit_study returned.
        folder: exists; figures go there, each with the rows behind it as CSV.
        published: "var" draws the published laws beside these.
        style: of all of them.
    """
    draws: list[tuple[str, Callable[[Path], list[Path]]]] = []
    for against in (study.columns.against, "compute"):
        for kind, targets in target_groups(study, against).items():
            draws.append((f"{kind}_{against}", partial(_scaling, study, against, targets)))
        draws.append((f"row_{against}", partial(_row, study, against)))
    for draw, name in (
        (_residuals, "residuals"),
        (_profiles, "profile"),
        (_backtests, "backtest"),
        (_sensitivity, "sensitivity"),
        (gallery_study.collapse_panel, "collapse"),
        (gallery_study.isoflop_panel, "isoflop"),
        (gallery_study.given_loss_panel, "fid_given_loss"),
        (gallery_study.trajectories_panel, "trajectories"),
        (gallery_study.allocation_panel, "allocation"),
        (gallery_study.samples_panel, "samples"),
        (gallery_study.envelope_panel, "envelope"),
        (gallery_study.scales_panel, "scales"),
        (gallery_study.repeats_panel, "repeats"),
    ):
        draws.append((name, partial(draw, study)))
    if published:
        draws.append((f"published_{published}", partial(gallery_study.published_panel, study)))
    return [partial(_drawn, draw, folder / name, style) for name, draw in draws]


def _drawn(draw: Callable[[Path], list[Path]], stem: Path, style: Style) -> list[Path]:
    with styled(style):
        return draw(stem)


def _scaling(study: StudyLaws, against: str, targets: list[str], stem: Path) -> list[Path]:
    form = figure_form(study, targets, against)
    if form is None:
        return []
    lines, wide = (len(targets) + 1) // 2, len(targets) > 1
    figure, grid = plt.subplots(
        lines,
        2 if wide else 1,
        squeeze=False,
        figsize=(page.TEXT if wide else page.COLUMN, (current().panel if wide else current().panel + 0.3) * lines),
    )
    draw = scaling.draw_against_compute if against == "compute" else scaling.draw_against_size
    for ax, target in zip(grid.flat, targets, strict=False):
        draw(study, target, ax, form)
        page.legend(ax, title=legend_title(study, against, form))
    for ax in list(grid.flat)[len(targets) :]:
        ax.remove()
    page.footnote(figure, _scaling_caption(study, against, targets, form))
    return page.save(figure, stem, rows_behind(study, against, targets))


def _row(study: StudyLaws, against: str, stem: Path) -> list[Path]:
    """The paper's Figure 5 or 6: losses and errors side by side, all laws of one form."""
    targets = overview.row_targets(study, against)
    form = figure_form(study, targets, against)
    if len(targets) < 2 or form is None:
        return []
    figure = overview.draw_row(study, against, targets, form)
    page.footnote(figure, _scaling_caption(study, against, targets, form))
    return page.save(figure, stem, rows_behind(study, against, targets))


def _scaling_caption(study: StudyLaws, against: str, targets: list[str], form: str) -> str:
    records = [record for target in targets for record in study.find(target, against, form)]
    method = next((record.law.unit_sentence for record in records if record.law is not None), None)
    more = f"Every law: {form}." + (f" Bands: {LEVEL:.0%} interval of the law ({method})." if method else "")
    if any(record.backtests for record in records):
        more += (
            " Hollow: held-out sizes; crosses: as the law of the smaller ones predicts them, with the interval for new "
            "runs."
            if against != "compute"
            else " Rings: the frontier; hollow: its largest point, held out; cross: as the others predict it."
        )
    if any(record.law is not None and not slope_known(record) for record in records):
        more += " Dotted: laws whose slope is not known from zero."
    if any(interval_columns(study.rows, target) for target in targets):
        more += " Bars: 95 % intervals of the measurements."
    more += "".join(f" {words}" for target in targets if (words := fid_words(study, target)))
    words = [target_words(target) for target in targets]
    over = axis(study.columns, against).replace("$", "")
    over = over[0].lower() + over[1:] if " " in over.split("(")[0].strip() else over  # not a column's own name
    title = f"{'; '.join(words)} against {over}."
    named = words[0] != targets[0]  # in words; a column keeps its own name
    return caption(study, records, more, held_out=False, title=title[0].upper() + title[1:] if named else title)


def _main_records(study: StudyLaws) -> list[LawRecord]:
    """The laws of the first target at each budget, of the form that its figure draws."""
    against, target = study.columns.against, study.columns.targets[0]
    targets = next((group for group in target_groups(study, against).values() if target in group), [target])
    form = figure_form(study, targets, against)
    return [] if form is None else [r for r in study.find(target, against, form) if r.law is not None]


def _residuals(study: StudyLaws, stem: Path) -> list[Path]:
    records = _main_records(study)[-3:]
    if not records:
        return []
    figure, grid = plt.subplots(
        1, len(records), squeeze=False, figsize=(page.TEXT if records[1:] else page.COLUMN, 2.3)
    )
    tables = []
    for ax, record in zip(grid.flat, records, strict=True):
        residuals.draw_residuals(record, ax)
        ax.set_xlabel(axis(study.columns, study.columns.against))
        words = "" if record.budget is None else f"{budget_words(record.budget)}: "
        ax.set_title(f"{words}{record.form}", fontsize=plt.rcParams["xtick.labelsize"])
        if ax is not grid.flat[0]:
            ax.set_ylabel("")
        tables.append(record.rows.assign(budget=record.budget, form=record.form, residual=record.law.residuals))
    more = f"{target_words(records[0].target)}; grey: two standard deviations of a run about the law."
    page.footnote(figure, caption(study, records, more))
    return page.save(figure, stem, pd.concat(tables, ignore_index=True))


def _profiles(study: StudyLaws, stem: Path) -> list[Path]:
    target = study.columns.targets[0]
    records = [
        record
        for record in study.find(target, study.columns.against, OFFSET)
        if record.law is not None and record.law.coefficients["E"] > 0 and record.law.freedom > 0
    ][-2:]
    if not records:
        return []
    figure, grid = plt.subplots(
        1, len(records), squeeze=False, figsize=(page.TEXT if records[1:] else page.COLUMN, 2.3)
    )
    tables = []
    for ax, record in zip(grid.flat, records, strict=True):
        profile.draw_profile(record.law, ax)
        if record.budget is not None:
            ax.set_title(
                amount(study.columns.budget, budget_words(record.budget)), fontsize=plt.rcParams["xtick.labelsize"]
            )
        tables.append(profile.profile_rows(record.law).assign(budget=record.budget))
    more = (
        f"{target_words(target)}. Dashed: the fitted offset; grey: its 95 % profile interval. An offset at one budget "
        "falls as the budget grows: it is not irreducible."
    )
    page.footnote(figure, caption(study, records, more))
    return page.save(figure, stem, pd.concat(tables, ignore_index=True))


def _backtests(study: StudyLaws, stem: Path) -> list[Path]:
    target = study.columns.targets[0]
    every = [record for record in study.records if record.backtests]
    found = [record for record in every if record.target == target]
    records = [_fewer_points(record) for record in found]
    if not records:
        return []
    while sum(len(record.backtests) for record in records) > MOST_BACKTESTS:
        records = records[1:]
    ax = backtest.draw_backtests(records)
    more = (
        f"{target_words(target)}: the largest sizes, hidden and predicted. Bars: 95 % interval for new runs. Round: "
        "the measurement lies inside; square: outside; wide bars are cut at the frame."
    )
    if any(len(record.backtests) > MOST_BUDGETS for record in found[-len(records) :]):
        more += f" Of more than {MOST_BUDGETS} points of a law an even choice is drawn."
    page.footnote(ax.figure, caption(study, records, more))
    return page.save(ax.figure, stem, backtest.backtest_rows(every))


def _fewer_points(record: LawRecord) -> LawRecord:
    chosen = checks.spread(len(record.backtests), MOST_BUDGETS)
    return replace(record, backtests=tuple(record.backtests[place] for place in chosen))


def _sensitivity(study: StudyLaws, stem: Path) -> list[Path]:
    names = [name for name, table in study.sensitivity.items() if len(table) > 1]
    if not names:
        return []
    figure, grid = plt.subplots(
        (len(names) + 1) // 2, 2, squeeze=False, figsize=(page.TEXT, 1.85 * ((len(names) + 1) // 2) + 0.3)
    )
    for ax, name in zip(grid.flat, names, strict=False):
        table = study.sensitivity[name]
        quantity = "a_opt" if "a_opt" in table else "alpha"
        record = _record_of_sensitivity(study, name)
        interval = record.law.interval(quantity, LEVEL) if record is not None else None
        sensitivity.draw_sensitivity(name, table, quantity, interval, ax)
    for ax in list(grid.flat)[len(names) :]:
        ax.remove()
    more = f"Repeated: {study.sensitivity_of}. Grey: the {LEVEL:.0%} interval of the fit to all rows."
    if "compute_convention" in names:
        more += " Count of C: the law of the frontier."
    if len(study.sensitivity["drop_each_size"]) == GROUPS:
        more += " Of many sizes a twelfth is dropped at a time."
    record = _record_of_sensitivity(study, names[0])
    page.footnote(figure, caption(study, [record] if record else [], more))
    tables = [table.assign(what=name) for name, table in study.sensitivity.items()]
    return page.save(figure, stem, pd.concat(tables, ignore_index=True))


def _record_of_sensitivity(study: StudyLaws, name: str) -> LawRecord | None:
    """The law that a panel repeats: the main one, or that of the frontier, whose compute is counted otherwise."""
    target = study.columns.targets[0]
    if name == "compute_convention":
        records = study.find(target, "compute", OFFSET)
    elif "a_opt" in next(iter(study.sensitivity.values())):
        records = study.find(target, "params, data", CHINCHILLA)
    else:
        records = study.find(target, study.columns.against, OFFSET)
    records = [record for record in records if record.law is not None]
    return records[-1] if records else None
