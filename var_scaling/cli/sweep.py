"""`var-sweep`: plan a study, launch it, watch it, and deal with what went wrong."""

from __future__ import annotations

import typer

from var_scaling.cli import act, cluster, look, new, rounds, tune
from var_scaling.cli.options import Version
from var_scaling.cli.run import run

app = typer.Typer(
    help="Plan, launch and watch scaling-law studies. Start with: var-sweep plan sweeps/depth.yaml, or, of your own "
    "pictures: var-sweep new FOLDER",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (look, new, act, rounds, cluster, tune):
    part.register(app)


@app.callback()
def options(version: Version = False) -> None:
    """What stands before a command."""


def main() -> None:
    """Entry point of `var-sweep`."""
    run(app)


if __name__ == "__main__":
    main()
