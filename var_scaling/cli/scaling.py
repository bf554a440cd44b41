"""`var-scaling`: laws from rows, plans from laws, and one model at a time."""

from __future__ import annotations

import typer

from var_scaling.cli import (
    benchmark,
    compare,
    edit,
    evaluate,
    guidance,
    imports,
    laws,
    model,
    plans,
    report,
    reuse,
    samples,
    tokenizers,
)
from var_scaling.cli.options import Version
from var_scaling.cli.run import run

app = typer.Typer(
    help="Fit scaling laws, plan from them, and train, evaluate or sample one model. Start with: var-scaling fit-laws",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
laws.register(app)
report.register(app)
compare.register(app)
plans.register(app)
model.register(app)
tokenizers.register(app)
evaluate.register(app)
samples.register(app)
edit.register(app)
imports.register(app)
benchmark.register(app)
reuse.register(app)
guidance.register(app)


@app.callback()
def options(version: Version = False) -> None:
    """What stands before a command."""


def main() -> None:
    """Entry point of `var-scaling`."""
    run(app)


if __name__ == "__main__":
    main()
