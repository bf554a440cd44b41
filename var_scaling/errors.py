"""The two kinds of problem that are the user's to solve; everything else is a bug and keeps its traceback."""

from __future__ import annotations


class RequestProblem(Exception):
    """What was asked for is wrong (exit code 2). One sentence a problem: the value, the rule, the way out."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EnvironmentProblem(Exception):
    """What was asked for is right, but this machine cannot do it (exit code 3): no data, no SLURM, no disk."""


class NodeProblem(EnvironmentProblem):
    """This machine cannot do what it is asked to, though another may."""
