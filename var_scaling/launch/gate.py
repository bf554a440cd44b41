"""What stands between a launch and its start: what is refused, and what somebody has to agree to."""

from __future__ import annotations

from pathlib import Path

from var_scaling.errors import RequestProblem
from var_scaling.launch.price import Price
from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.sweep import Leaving, last_launch


def check_name(sweep: Path, file: Path, left: Leaving) -> None:
    """Refuse to let another file take a sweep's name, and its rows with it, unasked.

    Args:
        sweep: the sweep's folder.
        file: what is launched now.
        left: what the sweep loses by it.

    Raises:
        RequestProblem: with the way out.
    """
    before = last_launch(sweep).how.get("file")
    if left.rows and before and before != str(file.resolve()):
        raise RequestProblem(
            f"sweep {sweep.name} was launched from {before}, and {file} has the same name and asks for something else: "
            f"{left}; give it a `name:` of its own, or add --yes to redefine the sweep"
        )


def check_spend(cost: Price, profile: Profile | None, most: float | None, disk_free: int) -> list[str]:
    """Problems that stop a launch before anything is queued, and the questions that it must ask.

    Returns:
        Questions; each wants a yes.

    Raises:
        RequestProblem: above `--max-gpu-hours`, or more memory than the card has.
    """
    problems, questions = [], []
    hours = cost.hours[1]
    if most is not None and hours > most:
        problems.append(
            f"this launch may take {hours:,.1f} {cost.unit}, above --max-gpu-hours {most:g}; raise it, take trials out "
            "of the grid, or start with --pilot, which makes the estimate a measurement"
        )
    if cost.memory_limit and cost.memory_bytes > cost.memory_limit:
        problems.append(
            f"the largest trial needs about {cost.memory_bytes / 2**30:.0f} GiB, the card has "
            f"{cost.memory_limit / 2**30:.0f}; lower execution.micro_batch, set execution.recompute=blocks, or use a "
            "larger card"
        )
    if problems:
        raise RequestProblem(*problems)
    if profile and hours > profile.confirm_gpu_hours:
        questions.append(f"up to {hours:,.0f} {cost.unit} (the profile asks above {profile.confirm_gpu_hours:g})")
    if cost.disk_bytes > disk_free:
        questions.append(
            f"{cost.disk_bytes / 1e9:,.0f} GB of checkpoints and weights, {disk_free / 1e9:,.0f} GB are free"
        )
    return questions
