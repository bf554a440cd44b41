"""How a sweep that was launched looks: its rows, where its trials stand, what went wrong, what is held and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from var_scaling.cli.run import count, out, span
from var_scaling.cli.tables import STYLES, cell, new_table, short_name
from var_scaling.families.registry import families
from var_scaling.launch.missing import failure, missing_text
from var_scaling.launch.slurm.usage import Usage
from var_scaling.launch.status import SweepStatus, TrialStatus, read_row
from var_scaling.runs import health, layout, pilot, store
from var_scaling.runs.evaluations import read_evaluations
from var_scaling.runs.journal import read_effective
from var_scaling.runs.record import Record
from var_scaling.runs.symptoms import of_sweep

BUSY = ("running", "unknown")


def row_tables(runs: Path, trials: tuple[TrialStatus, ...]) -> list[Table]:
    """One line a row: what was trained, and how good it is. A table a family, for losses of two do not compare."""
    of_family: dict[str, list[TrialStatus]] = {}
    for trial in trials:
        of_family.setdefault(Path(trial.folder).name.partition("-")[0], []).append(trial)
    return [_rows_table(runs, name, tuple(found)) for name, found in of_family.items()]


def _rows_table(runs: Path, family: str, trials: tuple[TrialStatus, ...]) -> Table:
    losses = [column for column in families()[family].losses if column.heading] if family in families() else []
    measured = {
        (t.folder, b): read_evaluations(layout.budget(runs / t.folder, b), t.evaluations)
        for t in trials
        for b in t.budgets
    }
    labels = list(dict.fromkeys(label for found in measured.values() for label in found))
    fids = [_fid_header(label) for label in labels]
    axes = list(dict.fromkeys(name for trial in trials for name in trial.axes))
    headings = [column.heading for column in losses]
    table = new_table(f"rows of {family}", "d", "seed", *axes, "params", "images", "FLOPs", *headings, *fids, "img/s")
    for trial in sorted(trials, key=lambda t: (t.depth, t.seed)):
        for budget in trial.budgets:
            row = read_row(runs / trial.folder, budget)
            if row:
                table.add_row(
                    str(row["depth"]),
                    str(row["seed"]),
                    *(cell(trial.axes.get(name, "")) for name in axes),
                    count(row["params_total"]),
                    count(row["images_seen"]),
                    count(row["train_flops"]),
                    *(f"{row[column.name]:.4f}" if column.name in row else "" for column in losses),
                    *(_fid(measured[trial.folder, budget].get(label)) for label in labels),
                    f"{row['images_per_second']:,.0f}",
                )
    return table


def symptoms_of(runs: Path, sweep: str) -> list[str]:
    """What is wrong with finished work of a sweep, though nothing failed."""
    study = store.read_json(layout.study(layout.sweep(runs, sweep)))
    return of_sweep(runs, study) if study else []


def print_symptoms(runs: Path, sweep: str) -> None:
    """`symptoms_of`, a line each."""
    for words in symptoms_of(runs, sweep):
        out.print(f"look: {words}", soft_wrap=True)


def _fid_header(label: str) -> str:
    """The whole name of a FID in lines that leave room for other columns."""
    parts = label.split("-")
    return f"FID {'-'.join(parts[:2])}\n{'-'.join(parts[2:])}"


def _fid(value: Mapping[str, Any] | None) -> str:
    """Corrected, with its interval; with several sampling seeds their mean and how many."""
    if value is None:
        return ""
    if "fid_corrected" not in value:
        return "too few images"
    seeds = f", {value['seeds']} seeds" if "seeds" in value else ""
    return f"{value['fid_corrected']:.2f} ({value['fid_low']:.2f}-{value['fid_high']:.2f}{seeds})"


def standing(runs: Path, status: SweepStatus) -> Group:
    """Where a sweep stands: the table by depth, and of each trial that runs its part, step and loss."""
    lines = list(running_lines(runs, status))
    return Group(status_table(runs, status), *(Text(line, overflow="fold") for line in lines))


def stages_text(status: SweepStatus) -> Text:
    """How many stages of each kind are in which state."""
    kinds = Counter((layout.kind_of_stage(name), record.state) for name, record in status.stages.items())
    words = [
        Text.assemble(f"{kind} " if n == 1 else f"{n} {kind} ", (state, STYLES[state]))
        for (kind, state), n in kinds.items()
    ]
    return Text("stages: ") + Text(", ").join(words)


def status_table(runs: Path, status: SweepStatus) -> Table:
    """Trials by depth: how many in which state, budgets n of m; of what is finished loss and FID, at most data.

    A line a depth and family; loss and FID are means over the seeds that have them.
    """
    head = f"sweep {status.name}, launched {status.launched[:16].replace('T', ' ')}"
    columns = ("depth", "done", "running", "waiting", "failed", "budgets", "images", "loss", "FID")
    groups: dict[tuple[str, int], list[TrialStatus]] = {}
    for trial in status.trials:
        groups.setdefault((_family(trial), trial.depth), []).append(trial)
    families_shown = len({family for family, _ in groups}) > 1
    table = new_table(head, *(("family",) if families_shown else ()), *columns, left=("family",))
    for (family, depth), group in sorted(groups.items()):
        states = [t.state for t in group]
        trained = sum(b in t.record.rows for t in group for b in t.budgets)
        images, loss, fid = _best(runs, group)
        table.add_row(
            *((family,) if families_shown else ()),
            str(depth),
            f"{states.count('finished')} of {len(group)}",
            str(states.count("running") + states.count("unknown")),
            str(sum(s in ("new", "interrupted", "stopped") for s in states)),
            Text(str(states.count("failed")), "red" if "failed" in states else ""),
            f"{trained} of {sum(len(t.budgets) for t in group)}",
            "" if images is None else count(images),
            "" if loss is None else f"{loss:.4f}",
            "" if fid is None else f"{fid:.2f}",
        )
    return table


def _family(trial: TrialStatus) -> str:
    return Path(trial.folder).name.partition("-")[0]


def _best(runs: Path, group: Sequence[TrialStatus]) -> tuple[int | None, float | None, float | None]:
    """Of the largest budget that is trained: images, and the means of headline loss and first FID."""
    trained = [b for t in group for b in t.budgets if b in t.record.rows]
    if not trained:
        return None, None, None
    images = max(trained)
    family = families().get(_family(group[0]))
    losses, fids = [], []
    for trial in group:
        row = read_row(runs / trial.folder, images)
        shown = [c.name for c in family.losses if c.heading and c.name in row] if family else []
        losses += [float(row[name]) for name in shown[:1]]
        found = read_evaluations(layout.budget(runs / trial.folder, images), trial.evaluations)
        fids += [float(each["fid_corrected"]) for each in list(found.values())[:1] if "fid_corrected" in each]
    return images, fmean(losses) if losses else None, fmean(fids) if fids else None


def fids_text(budget: Path) -> list[str]:
    """Each FID that was measured of a budget, with its interval."""
    names = sorted(path.name for path in layout.evaluations(budget).glob("*"))
    return [f"FID {label} {_fid(value)}" for label, value in read_evaluations(budget, names).items()]


def running_lines(runs: Path, status: SweepStatus, most: int = 12) -> Iterator[str]:
    """Of each work that runs: which part, how far, the step and the training loss there."""
    busy: list[tuple[str, Record]] = [(n, r) for n, r in status.stages.items() if r.state in BUSY]
    busy += [(t.folder, t.record) for t in status.trials if t.state in BUSY]
    for folder, record in busy[:most]:
        name = short_name(folder) if layout.is_trial(folder) else layout.short_name(folder)
        words = [f"{record.done / record.total:.0%}"] if record.total else []
        words = [f"{record.what or 'starts'} {' '.join(words)}".strip()]
        last = _last_line(runs / folder)
        if last:
            batch = (store.read_json(layout.identity(runs / folder)) or {}).get("train", {}).get("batch_size")
            words += [f"step {int(last['images']) // int(batch):,}" if batch else f"{last['images']:,} images"]
            words += [f"loss {last['train/loss']:.4f}"]
        if layout.is_trial(folder):
            trial = next(t for t in status.trials if t.folder == folder)
            words.append(f"{sum(b in record.rows for b in trial.budgets)} of {len(trial.budgets)} budgets")
        yield f"{name}  {', '.join(words)}"
    if len(busy) > most:
        yield f"... {len(busy) - most} more run"


def _last_line(folder: Path) -> Mapping[str, Any] | None:
    """The newest line of a trial's journal that holds a loss."""
    lines = read_effective(folder) if layout.is_trial(folder) else []
    return next((line for line in reversed(list(lines)) if "train/loss" in line), None)


def compared_table(
    sweep: str, trials: Sequence[TrialStatus], losses: Mapping[str, Mapping[str, float] | None], at: int
) -> Table:
    """Trials at equal progress, the best first; those that are not that far come last."""
    table = new_table(f"sweep {sweep}, training loss at {at:,} images", "trial", "images", "loss", left=("trial",))
    last = float("inf")
    for trial in sorted(trials, key=lambda t: (found["train_loss"] if (found := losses[t.folder]) else last, t.folder)):
        found = losses[trial.folder]
        cells = (f"{found['images']:,.0f}", f"{found['train_loss']:.4f}") if found else ("not that far", "")
        table.add_row(short_name(trial.folder), *cells)
    return table


def usage_table(sweep: str, used: Sequence[Usage]) -> Table:
    """What was asked of SLURM and what was used, a line for each class of resources."""
    table = new_table(
        f"sweep {sweep}, asked and used", "asked", "ran", "longest", "of its time", "peak", "of its memory"
    )
    for each in used:
        table.add_row(
            str(each.resources),
            str(each.tasks),
            span(each.seconds),
            f"{each.seconds / (60 * each.resources.minutes):.0%}",
            f"{count(each.memory_bytes)}B" if each.memory_bytes else "?",
            f"{each.memory_bytes / each.asked_bytes:.0%}" if each.memory_bytes else "?",
        )
    return table


def failures_text(status: SweepStatus) -> str:
    """Failures of stages and trials grouped by cause and place, each with an example and the command that fixes it."""
    records = {n: r for n, r in status.stages.items() if r.state == "failed"}
    records |= {t.folder: t.record for group in status.failures.values() for t in group}
    return missing_text([failure(status.name, work, record) for work, record in records.items()])


def beside_text(status: SweepStatus) -> str:
    """What the table cannot show: holders that nobody can ask, and trials that have left the study."""
    unknown = [t for t in status.trials if t.state == "unknown"]
    lines = []
    if unknown:
        name = Path(unknown[0].folder).name
        lines.append(
            f"{len(unknown)} may run or not: nobody here can ask their holders (e.g. {name}, "
            f"{unknown[0].record.holder}); `var-sweep retry {status.name} {name} --take-over` starts one anew, where "
            "you know that it does not run"
        )
    if status.left:
        some = ", ".join(f"{Path(t.folder).name} ({t.queued or t.state})" for t in status.left[:3])
        lines.append(
            f"{len(status.left)} no longer in the study, but running or queued: {some}"
            f"{', ...' if len(status.left) > 3 else ''}; `var-sweep cancel {status.name} --yes` stops them as well"
        )
    return "\n".join(lines)


def held_text(runs: Path, sweep: Path) -> str:
    """What the newest launch of a sweep keeps back and why: its pilots, a bug common to all, bad nodes."""
    lines = []
    for launch in layout.launches(sweep)[-1:]:
        notes = health.read_notes(launch)
        if bug := health.common_bug(notes):
            lines.append(
                f"the rest is held: {health.EQUAL_FAILURES} works failed in the same way before any progress "
                f"({bug.cause}: {bug.message}); mend it and launch again"
            )
        for node, dead in health.bad_nodes(notes).items():
            lines.append(f"node {node} is excluded: {len(dead)} works died there at once ({dead[0].message})")
    gates = [gate for launch in layout.launches(sweep) if (gate := pilot.read_gate(launch))]
    for gate in gates[-1:]:
        lines += gate.lines(runs)
        if not gate.open(runs):
            lines.append("the rest is held until the pilots have passed; `launch` without --pilot lets it go at once")
    return "\n".join(lines)
