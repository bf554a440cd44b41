"""The sbatch script of one array, written and submitted by submitit; what runs in it is our own worker.

submitit checks every option, writes the script and reads the id. Its pickles stay unused, for three reasons that were
measured or read in its source: a launcher killed between sbatch and the renaming of the pickles leaves an array whose
tasks all fail; its signal handlers swallow TERM; and DESIGN lets nothing but a folder's path travel to a worker. So the
command of the script is the worker itself, on the line of a list that belongs to its array index.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from var_scaling.errors import RequestProblem
from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.slurm.resources import Resources
from var_scaling.runs.slurm_task import TASK, cleared


class ArrayExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit's executor with our own command in the script."""

    @classmethod
    def affinity(cls) -> int:
        """Usable anywhere: scripts are written on a laptop too, and a launch has looked for sbatch itself."""
        return 1

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        away = [word for name in cleared() for word in ("-u", name)]
        return ["env", *away, "sbatch", str(submission_file_path)]

    def text(self, command: str) -> str:
        """The script."""
        return str(self._make_submission_file_text(command, "dry-run"))

    def send(self, command: str) -> str:
        """Submit; returns the array's id.

        Raises:
            submitit.core.utils.FailedJobError, FailedSubmissionError: sbatch refused, or nobody knows.
        """
        return str(self._submit_command(command).job_id)


def check_path(runs: Path) -> None:
    """Refuse a runs folder that SLURM could not keep logs in.

    Raises:
        RequestProblem: it has a percent sign. sbatch would take two for one; srun and submitit would not.
    """
    if "%" in str(runs.resolve()):
        raise RequestProblem(
            f"the runs folder {runs.resolve()} has a `%` in its path, which SLURM fills in where it names logs (%j is "
            "the job); choose another with --runs"
        )


def array_script(
    profile: Profile,
    resources: Resources,
    *,
    count: int,
    folder: Path,
    name: str,
    comment: str,
    after: Sequence[str],
    worker: Sequence[str],
    runs: Path,
    listing: Path,
    env: Mapping[str, str],
    held: bool = False,
    ends: Sequence[str] = (),
) -> tuple[ArrayExecutor, str]:
    """The executor and the command of one array.

    Args:
        profile: the cluster's answers.
        resources: what each task asks for.
        count: tasks in the array.
        folder: where the script and SLURM's logs go; it must exist (a missing one is a failure without a log).
        name: of the job, with the token by which it is found again.
        comment: sweep, launch and token.
        after: tasks (`52_3`) that must have succeeded; a hint, for the worker looks itself.
        worker: the command that is given a work's folder; empty: our worker by the profile's python.
        runs: the runs folder, absolute.
        listing: file with one work folder a line, in the order of the array's indices.
        env: variables for the worker.
        held: queue it on hold; somebody releases it.
        ends: arrays that must have ended, in whatever way.
    """
    nodes = math.ceil(resources.gpus / profile.gpu.per_node) if profile.gpu and resources.gpus else 1
    tasks = resources.tasks // nodes  # a node
    options: dict[str, Any] = {"requeue": True, "kill-on-invalid-dep": "yes", **profile.sbatch}
    if held:
        options["hold"] = True
    setup = [*profile.setup]
    # One word of the submitter's, for no variable of SLURM's says whose work a job is.
    setup.append(f'export {TASK}={shlex.quote(name)}:"$SLURM_ARRAY_JOB_ID"_"$SLURM_ARRAY_TASK_ID"')
    setup += [f"export {key}={shlex.quote(value)}" for key, value in env.items()]
    # Since SLURM 22.05 srun no longer inherits --cpus-per-task, and every rank would sit on one core.
    setup.append("export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}")
    if profile.scratch:
        # Double quotes: $USER and the like are the node's to fill in.
        setup.append(f'export TMPDIR="{_double_quoted(profile.scratch)}"; mkdir -p "$TMPDIR"')
    setup.append(f'work=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(listing))})')
    parameters: dict[str, Any] = {
        "job_name": name,
        "comment": comment,
        "time": resources.minutes,
        "nodes": nodes,
        "ntasks_per_node": tasks,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.memory_gb * tasks * 1024}M",
        "array_parallelism": profile.limits.parallel,
        "map_count": count,
        "signal_delay_s": profile.signal_seconds,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own default is refused where wckeys are enforced; `sbatch: {wckey: ...}` sets one
        "setup": setup,
    }
    if resources.tasks > 1:  # one that ends badly takes the others along; they would wait for its gradients
        parameters["srun_args"] = ["--kill-on-bad-exit=1"]
    if resources.gpus and profile.gpu:
        if profile.gpu.request == "gres":
            parameters["gres"] = f"gpu:{tasks}"
        else:
            parameters["gpus_per_node"] = tasks
    if ends:
        parameters["dependency"] = "afterany:" + ":".join(ends)
    if after:
        parameters["dependency"] = "afterok:" + ":".join(after)
    for key in ("partition", "account", "qos", "constraint", "exclude"):
        if value := getattr(profile, key):
            parameters[key] = value
    executor = ArrayExecutor(folder)
    parameters["additional_parameters"] = options
    executor.parameters = parameters
    command = (
        shlex.join(worker) if worker else f"{profile.python or shlex.quote(sys.executable)} -P -u -m var_scaling.worker"
    )
    return executor, f'{command} {shlex.quote(str(runs))}/"$work"'


def _double_quoted(text: str) -> str:
    """Text for between double quotes of a shell, in which variables and a first `~` are filled in and nothing else."""
    text = f"$HOME{text[1:]}" if text == "~" or text.startswith("~/") else text
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")


def unread() -> str:
    """The user's defaults for sbatch, which a launch does not take from the shell; for the end of a refusal."""
    names = [name for name in cleared() if name.startswith("SBATCH_")]
    return f" ({', '.join(names)} of your shell is not read: write it into the profile)" if names else ""
