"""What a launch costs, in words, and the question that goes with it."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from var_scaling.cli.run import count, err, span
from var_scaling.errors import RequestProblem
from var_scaling.launch.order import Order
from var_scaling.launch.price import Price, price
from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.sweep import free_bytes
from var_scaling.planning.plan import Plan


def agree(order: Order, cost: Price, questions: list[str]) -> None:
    """Ask whoever sits there.

    Raises:
        RequestProblem: nobody sits there.
        typer.Abort: they say no.
    """
    if not sys.stdin.isatty():
        raise RequestProblem(f"this launch takes {' and '.join(questions)}: add --yes to allow it")
    err.print(price_text(cost, order.plan.runs), soft_wrap=True)
    typer.confirm(f"It takes {' and '.join(questions)}. Launch?", abort=True, err=True)


def price_text(cost: Price, runs: Path) -> str:
    """The price in one paragraph."""
    if not cost.trials:
        return "nothing is left to train"
    card = f" of the card's {count(cost.memory_limit)}B" if cost.memory_limit else ""
    longest = f"longest trial {span(cost.longest[1])} ({Path(cost.longest[0]).name})" if cost.longest else ""
    return (
        f"price: {cost.hours[0]:.3g} to {cost.hours[1]:.3g} {cost.unit} for {cost.trials} trials "
        f"({'; '.join(cost.sources)}); peak memory {count(cost.memory_bytes)}B{card}; disk "
        f"{count(cost.disk_bytes)}B of {count(free_bytes(runs))}B free; {cost.requeues} requeues expected at the time "
        f"limit; {longest}; all of it in about {span(cost.makespan)} with {cost.parallel} at once"
    )


def profile_price(planned: Plan, profile: Profile) -> str:
    """The price of a plan on a profile."""
    return price_text(price(planned.trials, profile, stages=list(planned.stage_costs.values())), planned.runs)
