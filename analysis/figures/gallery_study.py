"""Figures of a study beside its laws in size and compute: curves, valleys, allocation, samples, the literature."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from analysis.errors import BadRequest, CannotFit
from analysis.figures import (
    allocation,
    collapse,
    envelope,
    given_loss,
    isoflop,
    page,
    repeats,
    samples,
    scales,
    trajectories,
)
from analysis.figures import published as panel
from analysis.figures.captions import caption, codes, fid_words
from analysis.figures.scaling import judged
from analysis.laws.isoflop import IsoFlop
from analysis.laws.power import OFFSET
from analysis.plans.candidates import candidates_of_rows
from analysis.plans.predict import joint_record
from analysis.rows.counting import amount
from analysis.rows.words import axis, percent, target_axis, target_words
from analysis.study.comparison import best_form
from analysis.study.record import LEVEL, StudyLaws


def collapse_panel(study: StudyLaws, stem: Path) -> list[Path]:
    if study.collapse is None or study.collapse.curves.empty:
        return []
    ax = collapse.draw_collapse(study.collapse)
    more = "".join(f" {note.code}: {note.sentence}." for note in study.collapse.notes)
    if study.collapse.residuals["ratio"].isna().all():
        more = f" {study.collapse.sentence}."
    words = f"Training curves of the largest budget over their last value; sd: of seeds.{more}"
    page.footnote(ax.figure, caption(study, [], words))
    return page.save(ax.figure, stem, study.collapse.curves)


def isoflop_panel(study: StudyLaws, stem: Path) -> list[Path]:
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


def given_loss_panel(study: StudyLaws, stem: Path) -> list[Path]:
    """FID against loss, each kind of FID on its own panel, each family with its own curve."""
    records = [record for record in study.find(against="loss") if record.law is not None]
    targets = list(dict.fromkeys(record.target for record in records))
    if not targets:
        return []
    figure, grid = plt.subplots(
        1, len(targets), squeeze=False, figsize=((page.COLUMN, page.TEXT, page.WIDE)[min(len(targets), 3) - 1], 3.1)
    )
    tables = []
    for ax, target in zip(grid.flat, targets, strict=True):
        own = [record for record in records if record.target == target]
        given_loss.draw_given_loss(own, study.rows, ax)
        page.legend_above(ax)
        tables += [record.rows.assign(target=target, form=record.form) for record in own]
    more = f"Bands: {LEVEL:.0%} interval of the law ({records[0].law.unit_sentence}); one curve a family, never pooled."
    more += "".join(f" {words}" for target in targets if (words := fid_words(study, target)))
    page.footnote(figure, caption(study, records, more))
    return page.save(figure, stem, pd.concat(tables, ignore_index=True))


def trajectories_panel(study: StudyLaws, stem: Path) -> list[Path]:
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


def allocation_panel(study: StudyLaws, stem: Path) -> list[Path]:
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


def published_panel(study: StudyLaws, stem: Path) -> list[Path]:
    target = next((name for name in study.columns.targets if name.startswith("loss")), study.columns.targets[0])
    records = [record for record in study.find(target, study.columns.against, OFFSET) if record.law is not None]
    if not records:
        return []
    figure, grid = plt.subplots(1, 2, figsize=(page.WIDE, 3.1), width_ratios=(1.5, 1))
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


def samples_panel(study: StudyLaws, stem: Path) -> list[Path]:
    """The paper's Figure 7: what each size draws after each budget."""
    table = samples.sample_cells(study)
    if table.empty:
        return []
    figure = samples.draw_samples(table, study)
    fid = next((words for target in study.columns.targets if (words := fid_words(study, target))), "")
    more = f"The same seeds and classes in every cell. {fid}"
    page.footnote(figure, caption(study, [], more, title="Samples over size and budget."))
    return page.save(figure, stem, table)


def envelope_panel(study: StudyLaws, stem: Path) -> list[Path]:
    """Finished budgets on their trunks."""
    if study.trajectories is None or not envelope.of_one_kind(study):
        return []
    ax, table = envelope.draw_envelope(study)
    page.legend_above(ax)
    more = (
        "Two losses: that of training on the trunk, smoothed, before any anneal and with its label drop, and that of "
        "validation after the anneal; a curve may come below the envelope where data repeat."
    )
    title = f"{target_words(study.columns.loss)} of finished budgets, and their trunks, against compute."
    page.footnote(ax.figure, caption(study, [], more, title=title[0].upper() + title[1:]))
    return page.save(ax.figure, stem, table)


def scales_panel(study: StudyLaws, stem: Path) -> list[Path]:
    """Loss of each scale against size."""
    table = scales.scale_table(study)
    if table.empty:
        return []
    ax = scales.draw_scales(table, study)
    budget = table["budget"].iloc[0]
    at = "" if pd.isna(budget) else f" at {amount(study.columns.budget, f'{budget:,.0f}')}"
    more = "Means over seeds, joined; no law is fitted to a single scale."
    page.footnote(ax.figure, caption(study, [], more, title=f"Loss of each scale against size{at}."))
    return page.save(ax.figure, stem, table)


def repeats_panel(study: StudyLaws, stem: Path) -> list[Path]:
    """Data seen again, where a law says what they are worth."""
    records = [record for record in study.find(against="params, data, epochs") if record.law is not None]
    if not records:
        return []
    record = records[0]
    sizes = repeats.repeated_sizes(record)
    width = (page.COLUMN, page.TEXT, page.WIDE)[len(sizes) - 1]
    figure, grid = plt.subplots(1, len(sizes), squeeze=False, figsize=(width, 2.7))
    tables = []
    for ax, size in zip(grid.flat, sizes, strict=True):
        tables.append(repeats.draw_repeats(study, record, size, ax)[1])
        page.legend_above(ax, title=f"N {page.short_number(size)}; unique data", ncols=3)
        if ax is not grid.flat[0]:
            ax.set_ylabel("")
    more = (
        f"Law: {record.law.form}; bands: {LEVEL:.0%} interval. Dotted: the same law if nothing were seen twice; where "
        "a curve leaves it, repeats wear out."
    )
    page.footnote(figure, caption(study, [record], more, title=f"{target_words(record.target)} against data seen."))
    return page.save(figure, stem, pd.concat(tables, ignore_index=True))
