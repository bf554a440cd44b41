"""Which figures a study gets: composes panels, writes files, names what each figure rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from analysis.errors import BadRequest, CannotFit
from analysis.figures import (
    allocation,
    backtest,
    collapse,
    given_loss,
    isoflop,
    page,
    profile,
    residuals,
    scaling,
    sensitivity,
    trajectories,
)
from analysis.figures import published as panel
from analysis.figures.captions import caption, codes, fid_words, legend_title, rows_behind, target_groups
from analysis.figures.scaling import budget_words, judged
from analysis.laws.isoflop import IsoFlop
from analysis.laws.plane import CHINCHILLA
from analysis.laws.power import OFFSET
from analysis.plans.candidates import candidates_of_rows
from analysis.plans.predict import joint_record
from analysis.rows import checks
from analysis.rows.budgets import MOST_BUDGETS
from analysis.rows.counting import amount
from analysis.rows.words import axis, percent, target_axis, target_words
from analysis.study.comparison import best_form
from analysis.study.record import LEVEL, LawRecord, StudyLaws
from analysis.study.sensitivity import GROUPS

MOST_BACKTESTS = 26  # lines that a page holds


def figure_tasks(study: StudyLaws, folder: Path, published: str | None = None) -> list[Callable[[], list[Path]]]:
    """Each figure that the study may carry as a call that draws it and returns the files written, none if it cannot.

    Args:
        study: what fit_study returned.
        folder: exists; figures go beside laws.json, each with the rows behind it as CSV.
        published: "var" draws the published laws beside these.
    """
    tasks: list[Callable[[], list[Path]]] = []
    for against in (study.columns.against, "compute"):
        for kind, targets in target_groups(study, against).items():
            tasks.append(partial(_styled, partial(_scaling, study, against, targets, folder / f"{kind}_{against}")))
    for draw, name in (
        (_residuals, "residuals"),
        (_profiles, "profile"),
        (_backtests, "backtest"),
        (_sensitivity, "sensitivity"),
        (_collapse, "collapse"),
        (_isoflop, "isoflop"),
        (_given_loss, "fid_given_loss"),
        (_trajectories, "trajectories"),
        (_allocation, "allocation"),
    ):
        tasks.append(partial(_styled, partial(draw, study, folder / name)))
    if published:
        tasks.append(partial(_styled, partial(_published, study, folder / f"published_{published}")))
    return tasks


def _styled(draw: Callable[[], list[Path]]) -> list[Path]:
    with page.paper_style():
        return draw()


def _scaling(study: StudyLaws, against: str, targets: list[str], stem: Path) -> list[Path]:
    if not any(record.law is not None for target in targets for record in study.find(target, against)):
        return []
    draw = scaling.draw_against_compute if against == "compute" else scaling.draw_against_size
    lines, wide = (len(targets) + 1) // 2, len(targets) > 1
    figure, grid = plt.subplots(
        lines,
        2 if wide else 1,
        squeeze=False,
        figsize=(page.TEXT if wide else page.COLUMN, (3.0 if wide else 3.7) * lines),
    )
    for ax, target in zip(grid.flat, targets, strict=False):
        draw(study, target, ax)
        page.legend_above(ax, title=legend_title(study, against))
    for ax in list(grid.flat)[len(targets) :]:
        ax.remove()
    records = [record for target in targets for record in study.find(target, against)]
    method = next((record.law.unit_sentence for record in records if record.law is not None), None)
    more = f"Bands: {LEVEL:.0%} interval of the law ({method})." if method else ""
    if any(record.backtests for record in records):
        more += (
            " Crosses: held-out sizes as predicted from the smaller ones, with the interval for new runs."
            if against != "compute"
            else " Held out: the largest point of the frontier."
        )
    more += "".join(f" {words}" for target in targets if (words := fid_words(study, target)))
    page.footnote(figure, caption(study, records, more, held_out=False))
    return page.save(figure, stem, rows_behind(study, against, targets))


def _main_records(study: StudyLaws) -> list[LawRecord]:
    """The preferred law of the first target at each budget."""
    target = study.columns.targets[0]
    budgets = dict.fromkeys(record.budget for record in study.find(target, study.columns.against))
    best = [
        best_form([r for r in study.find(target, study.columns.against) if r.budget == budget]) for budget in budgets
    ]
    return [record for record in best if record is not None]


def _residuals(study: StudyLaws, stem: Path) -> list[Path]:
    records = _main_records(study)[-3:]
    if not records:
        return []
    figure, grid = plt.subplots(
        1, len(records), squeeze=False, figsize=(max(page.COLUMN, min(1.85 * len(records), page.TEXT)), 2.3)
    )
    tables = []
    for ax, record in zip(grid.flat, records, strict=True):
        residuals.draw_residuals(record, ax)
        ax.set_xlabel(axis(study.columns, study.columns.against))
        words = "" if record.budget is None else f"{budget_words(record.budget)}: "
        ax.set_title(f"{words}{record.form}", fontsize=7)
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
            ax.set_title(amount(study.columns.budget, budget_words(record.budget)), fontsize=7)
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


def _collapse(study: StudyLaws, stem: Path) -> list[Path]:
    if study.collapse is None or study.collapse.curves.empty:
        return []
    ax = collapse.draw_collapse(study.collapse)
    more = "".join(f" {note.code}: {note.sentence}." for note in study.collapse.notes)
    if study.collapse.residuals["ratio"].isna().all():
        more = f" {study.collapse.sentence}."
    words = f"Training curves of the largest budget over their last value; sd: of seeds.{more}"
    page.footnote(ax.figure, caption(study, [], words))
    return page.save(ax.figure, stem, study.collapse.curves)


def _isoflop(study: StudyLaws, stem: Path) -> list[Path]:
    """Valleys, where the rows hold several sizes at equal compute."""
    fit = study.isoflop
    if not isinstance(fit, IsoFlop):
        return []
    figure, grid = plt.subplots(1, 2, figsize=(page.TEXT, 2.9))
    isoflop.draw_valleys(fit, grid[0])
    isoflop.draw_optimum(fit, grid[1])
    grid[0].set_xlabel(axis(study.columns, "params"))
    grid[0].set_ylabel(target_axis(study.columns.targets[0]))
    grid[1].set_xlabel(axis(study.columns, "compute"))
    more = (
        f"{target_words(study.columns.targets[0])}; minima by interpolation (Akima) at budgets with four sizes or "
        f"more; grey: budgets without a minimum inside; band: {LEVEL:.0%} interval."
    )
    if fit.held_out is not None:
        more += f" Largest budget held out: N* {percent(fit.held_out.error)} %, {judged(fit.held_out)}."
    more += f" Notes: {codes(list(fit.notes))}." if fit.notes else ""
    page.footnote(figure, caption(study, [], more))
    return page.save(figure, stem, fit.rows)


def _given_loss(study: StudyLaws, stem: Path) -> list[Path]:
    """FID against loss, each kind of FID on its own panel, each family with its own curve."""
    records = [record for record in study.find(against="loss") if record.law is not None]
    targets = list(dict.fromkeys(record.target for record in records))
    if not targets:
        return []
    figure, grid = plt.subplots(1, len(targets), squeeze=False, figsize=(page.COLUMN * len(targets), 3.1))
    tables = []
    for ax, target in zip(grid.flat, targets, strict=True):
        own = [record for record in records if record.target == target]
        given_loss.draw_given_loss(own, ax)
        page.legend_above(ax)
        tables += [record.rows.assign(target=target, form=record.form) for record in own]
    more = f"Bands: {LEVEL:.0%} interval of the law ({records[0].law.unit_sentence}); one curve a family, never pooled."
    more += "".join(f" {words}" for target in targets if (words := fid_words(study, target)))
    page.footnote(figure, caption(study, records, more))
    return page.save(figure, stem, pd.concat(tables, ignore_index=True))


def _trajectories(study: StudyLaws, stem: Path) -> list[Path]:
    """The frontier of unfinished training curves, on a figure of its own."""
    if study.trajectories is None:
        return []
    records = study.find(against="compute, trajectories")
    best = best_form(records)
    ax = trajectories.draw_trajectories(study, records)
    page.legend_above(ax)
    more = (
        "Training loss on the trunk, smoothed, before any anneal: unfinished, so above what their compute could buy; "
        "not comparable with the frontier of finished budgets."
    )
    page.footnote(ax.figure, caption(study, records if best is None else [best], more, held_out=False))
    return page.save(ax.figure, stem, study.trajectories.curves)


def _allocation(study: StudyLaws, stem: Path) -> list[Path]:
    """Loss against size at several compute budgets by the joint law: where a budget is best spent."""
    target = study.columns.targets[0]
    try:
        record = joint_record(study, target)
        candidates = candidates_of_rows(study.rows, study.columns)
    except (CannotFit, BadRequest):
        return []
    ax, table = allocation.draw_allocation(study, record, candidates)
    page.legend_above(ax, title="training compute", ncols=2)
    more = (
        f"{target_words(target)} by {record.law.form}; band: {LEVEL:.0%} interval of the law; diamonds: best size, "
        "where it lies between the sizes trained, with its interval."
    )
    page.footnote(ax.figure, caption(study, [record], more))
    return page.save(ax.figure, stem, table)


def _published(study: StudyLaws, stem: Path) -> list[Path]:
    target = next((name for name in study.columns.targets if name.startswith("loss")), study.columns.targets[0])
    records = [record for record in study.find(target, study.columns.against, OFFSET) if record.law is not None]
    if not records:
        return []
    figure, grid = plt.subplots(1, 2, figsize=(page.TEXT, 3.1))
    panel.draw_reducible(records, grid[0])
    page.legend_above(grid[0])
    panel.draw_exponents(records, grid[1])
    more = (
        f"{target_words(target)}. N in parameters, loss in nats/token; VAR's law is printed for N in billions and a "
        "loss from which 5.0 (all scales) or 4.5 nats (last) were subtracted. Tokenizers differ, so levels do not "
        "compare; exponents do, with offsets fitted (ours, Henighan et al.) or assumed (VAR). Hollow: no interval "
        "published."
    )
    page.footnote(figure, caption(study, records, more))
    return page.save(figure, stem, panel.exponent_rows(records))
