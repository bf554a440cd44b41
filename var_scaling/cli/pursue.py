"""A study that pursues a loss, for `launch`, `plan` and `status`: what knows both its rounds and the Designer.

`launch.pursuit` says where a pursuit stands, `analysis.plans.pursuit` what to do next; neither knows of the other.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from var_scaling.cli import cluster
from var_scaling.cli.drive import drive
from var_scaling.cli.options import plan_of, tell
from var_scaling.cli.run import Failed, count, err, out, print_json
from var_scaling.launch.order import Order
from var_scaling.launch.pursuit import Decision, Standing, asked, read_decisions, standing, write_decision
from var_scaling.launch.slurm.profile import card_of
from var_scaling.planning.plan import Plan
from var_scaling.planning.question import Question, question_of
from var_scaling.planning.study import load_study
from var_scaling.planning.tuned import TunedRecipe, apply_recipe
from var_scaling.runs import layout

if TYPE_CHECKING:
    from analysis.plans.pursuit import Simulation, Task

SIMULATED_SECONDS = 20.0  # of this process
FIGURE = "interval"

Chosen = Mapping[str, Collection[int]]


def question_in(file: Path, overrides: Sequence[str], recipe: TunedRecipe | None, whole: Plan) -> Question:
    """What a sweep file pursues, with the plan of its whole grid."""
    _, configs = load_study(file, overrides)
    return question_of(whole, apply_recipe(configs, recipe) if recipe else configs)


def task_of(question: Question) -> Task:
    """The same as `analysis` takes it."""
    import numpy as np
    import pandas as pd

    from analysis.plans.pursuit import Task

    candidates, pursue = question.candidates, question.pursue
    table = {"params": [c.params for c in candidates], "data": [c.images for c in candidates]}
    return Task(
        pd.DataFrame(table, index=[c.label for c in candidates], dtype=float),
        lambda made: np.array(question.prices(set(made))),
        pd.DataFrame({"params": [float(question.params)], "data": [question.images]}),
        pursue.interval,
        pursue.spend.train_flops,
        pursue.at_once,
    )


def decide(now: Standing) -> Decision:
    """The next round of a pursuit whose rounds so far are trained, or its end. Writes nothing."""
    from analysis.plans.pursuit import advise, paid

    task = task_of(now.question)
    with err.status("asking what to train next"):
        advice = advise(task, now.told, now.spent)
    failed = sum(loss is None for loss in now.told.values())
    return Decision(
        len(now.decisions),
        tuple(map(str, advice.chosen)),
        paid(task, [*now.told], advice.chosen),
        now.spent,
        len(now.told) - failed,
        failed,
        advice.value,
        advice.low,
        advice.high,
        advice.expected,
        asked(now.question),
        advice.reason,
        advice.end,
    )


@dataclass(frozen=True)
class Rounds:
    """A launch of a pursuing study.

    Attributes:
        question: what is pursued.
        runs: the runs folder.
        sweep: the sweep's folder.
        order: makes the order of all budgets chosen so far.
        json: one document at the end.
    """

    question: Question
    runs: Path
    sweep: Path
    order: Callable[[Chosen], Order]
    json: bool

    def standing(self) -> Standing:
        """Now."""
        return standing(self.question, self.runs, self.sweep)

    def go_on(self, stays: bool, alone: bool = False) -> None:
        """Train the open round, decide the next, and so on: to the end where the launcher stays, else one round.

        Args:
            stays: whether the launching process stays until a round is trained.
            alone: started by the last job of a round, with nobody to see that it was cancelled or died.

        Raises:
            Failed: a round cannot be trained to its end.
        """
        now = self.standing()
        if alone and now.open:
            err.print(
                f"round {len(now.decisions) - 1} of {self.sweep.name} is not trained to its end ({len(now.open)} of "
                f"its runs, such as {now.open[0]}): cancelled or lost; `var-sweep launch` goes on with it",
                soft_wrap=True,
            )
            raise Failed
        while True:
            if not now.open:
                decision = now.over or write_decision(self.sweep, decide(now))
                self._say(decision)
                if decision.end is not None:
                    self._finish()
                    return
                now = self.standing()
            order = self.order(now.chosen)
            if not stays:
                cluster.submit(order, self.json)
                return
            before = sum(loss is not None for loss in now.told.values())
            try:
                drive(order, False, quiet=True)
            except Failed:  # a run that failed is paid for, and not asked for again; said by the launch already
                now = self.standing()
                if now.open or sum(loss is not None for loss in now.told.values()) == before:
                    raise
            now = self.standing()
            if now.open:
                raise Failed

    def _say(self, decision: Decision) -> None:
        what = f"round {decision.number}" if decision.end is None else f"over ({decision.end})"
        tell(f"{what}: {decision.reason}")

    def _finish(self) -> None:
        now = self.standing()
        drawn = draw(now, self.sweep)
        if self.json:
            print_json({"schema": 1, "sweep": self.sweep.name, "pursuit": document(now.decisions)})
            return
        out.print(table_of(now.decisions, now.question.pursue.interval))
        out.print(
            f"{end_text(now)}\n" + (f"figure {drawn}\n" if drawn else "") + f"next: var-scaling fit-laws "
            f"{self.sweep.name} | var-sweep status {self.sweep.name}",
            soft_wrap=True,
        )


def run(
    order: Order, file: Path, overrides: list[str], recipe: TunedRecipe | None, json: bool, alone: bool = False
) -> None:
    """Round after round of a study that pursues a loss.

    Args:
        order: of its whole grid.
        file: the sweep file.
        overrides: `--set`.
        recipe: a tuned one.
        json: one document at the end.
        alone: see :meth:`Rounds.go_on`.
    """
    runs, place = order.plan.runs, order.place
    question = question_in(file, overrides, recipe, order.plan)
    python = place.profile.python if place.profile else None

    def of_round(chosen: Chosen) -> Order:
        plan = plan_of(file, overrides, runs, card_of(place.profile), recipe, to_launch=True, chosen=chosen)
        return replace(order, plan=plan, then=() if place.stays else next_command(runs, order.name, python))

    for note in () if place.stays else place.notes:
        tell(note)
    Rounds(question, runs, order.sweep, of_round, json).go_on(place.stays, alone)


def next_command(runs: Path, name: str, python: str | None) -> tuple[str, ...]:
    """What the last job of a round runs: this program again, which decides the next one and submits it."""
    words = f"{python or shlex.quote(sys.executable)} -P -u -m var_scaling.cli.sweep next-round"
    return ("sh", "-c", f"exec {words} {shlex.quote(name)} --runs {shlex.quote(str(runs.resolve()))}")


# ---- what is shown --------------------------------------------------------------------------------------------------


def document(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Decisions as plain types."""
    return [{**vars(each), "asked": dict(each.asked), "half_width": each.half_width} for each in decisions]


def table_of(decisions: Sequence[Decision], wanted: float) -> Table:
    """Interval against cost so far, a line a round."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=f"pursued to ±{100 * wanted:.2g} %")
    for name in ("round", "rows", "FLOPs so far", "value", "interval", "trains", "for FLOPs"):
        table.add_column(name, justify="right")
    for decision in decisions:
        half = decision.half_width
        known = decision.value is not None and half is not None
        table.add_row(
            f"{decision.number}",
            f"{decision.rows}",
            count(decision.spent) if decision.spent else "0",
            f"{decision.value:.4g}" if known else "-",
            f"±{100 * half:.2g} %" if known and half is not None else "-",
            f"{len(decision.chosen)} runs" if decision.chosen else decision.end or "-",
            count(decision.cost) if decision.chosen else "-",
        )
    return table


def end_text(now: Standing) -> str:
    """Whether it is over, and why."""
    if now.over is not None:
        return f"over, {now.over.end}: {now.over.reason}"
    if now.open:
        return f"round {len(now.decisions) - 1} is open: {len(now.open)} of its runs are not trained yet"
    return "the next launch decides what comes next"


def status_text(sweep: Path) -> str:
    """One line on a pursuit for `status`, without reading its file: from its decisions alone."""
    decisions = read_decisions(sweep)
    if not decisions:
        return ""
    last = decisions[-1]
    return f"over, {last.end}: {last.reason}" if last.end else f"round {last.number}: {last.reason}"


def _simulate(task: Task, now: Standing, simulate: Callable[..., Simulation]) -> Simulation:
    end = time.process_time() + SIMULATED_SECONDS
    with err.status("simulating the pursuit"):
        return simulate(task, now.told, now.spent, stop=lambda: time.process_time() > end)


def plan_pursuit(question: Question, runs: Path, sweep: Path) -> tuple[str, dict[str, Any]]:
    """Expected rounds and cost with their range, in words and as plain types."""
    from analysis.plans.pursuit import simulate

    now = standing(question, runs, sweep)
    pursue = question.pursue
    grid = sum(_in_order(question))
    point = f"{pursue.quantity} of {count(question.params)} parameters at {question.images:,.0f} images"
    words = (
        f"pursues {point} to ±{100 * pursue.interval:.2g} %, for at most {count(pursue.spend.train_flops)} FLOPs, "
        f"{pursue.at_once} runs at once, among {len(question.candidates)} candidates (all of them: {count(grid)} "
        f"FLOPs; that run itself: {count(question.flops)})"
    )
    plain: dict[str, Any] = {
        "quantity": pursue.quantity,
        "params": question.params,
        "images": question.images,
        "interval": pursue.interval,
        "spend": pursue.spend.train_flops,
        "candidates": len(question.candidates),
        "grid_flops": grid,
        "spent": now.spent,
        "rounds_so_far": len(now.decisions),
    }
    if now.over is not None:
        return f"{words}\n{end_text(now)}", {**plain, "end": now.over.end, "reason": now.over.reason}
    found = _simulate(task_of(question), now, simulate)
    plain["simulated"] = vars(found) | {}
    if not found.rounds:
        return f"{words}\nno simulated pursuit ended within {SIMULATED_SECONDS:.0f} s of CPU", plain
    ends = {end: found.ends.count(end) for end in dict.fromkeys(found.ends)}
    told = ", ".join(f"{end} {number}" for end, number in ends.items())
    middle = sorted(found.rounds)[len(found.rounds) // 2], sorted(found.costs)[len(found.costs) // 2]
    widths = sorted(found.widths)
    basis = f"{sum(loss is not None for loss in now.told.values())} rows" if now.told else "the prior alone: no row yet"
    words += (
        f"\nexpected, from {len(found.rounds)} simulated pursuits of laws as probable as {basis}: {middle[0]} rounds "
        f"({min(found.rounds)} to {max(found.rounds)}), {count(middle[1])} FLOPs ({count(min(found.costs))} to "
        f"{count(max(found.costs))}), ending at ±{100 * widths[0]:.2g} to ±{100 * widths[-1]:.2g} % ({told})"
    )
    return words, plain


def _in_order(question: Question) -> list[float]:
    made: list[str] = []
    total = []
    for place, candidate in enumerate(question.candidates):
        total.append(question.prices(made)[place])
        made.append(candidate.label)
    return total


def draw(now: Standing, sweep: Path) -> Path | None:
    """Interval against compute for the pursued study and for its whole grid; None where nothing can be drawn."""
    known = [decision for decision in now.decisions if decision.half_width is not None]
    if len(known) < 2:
        return None
    import pandas as pd

    from analysis.figures import page
    from analysis.figures.pursuit import draw_pursuit
    from analysis.figures.style import styled
    from analysis.plans.pursuit import grid_course

    pursued = pd.DataFrame(
        [(decision.rows, decision.spent, decision.half_width) for decision in known],
        columns=["rows", "cost", "half_width"],
    )
    with err.status("the whole grid, for comparison"):
        grid = grid_course(task_of(now.question), now.told)
    with styled():
        axes = draw_pursuit(pursued, grid, now.question.pursue.interval)
        rows = pd.concat([pursued.assign(study="pursued"), grid.assign(study="whole grid")])
        return page.save(axes.figure, layout.pursuit(sweep) / FIGURE, rows)[0]
