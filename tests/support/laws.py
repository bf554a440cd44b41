"""Commands on laws as tests call them, and tables of planted laws."""

import json

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from var_scaling.cli.scaling import app
from var_scaling.errors import RequestProblem


def run(*arguments):
    """Exit code, stdout and the problem that the real entry point would print."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, RequestProblem):
        return 2, result.stdout, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, ""


def grid(sizes=8, amounts=6, noise=0.002, seed=0):
    """Every size at every amount of data, with losses of a planted law; columns params, tokens, loss."""
    params, tokens = (
        values.ravel() for values in np.meshgrid(np.geomspace(1e7, 2e9, sizes), np.geomspace(1e9, 1e11, amounts))
    )
    luck = noise * np.random.default_rng(seed).normal(size=len(params))
    loss = (1.8 + 480 / params**0.35 + 2000 / tokens**0.37) * np.exp(luck)
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


def repeated(**changes):
    """Runs on two numbers of unique tokens, for up to 16 epochs, with R = 8."""
    sizes, unique, epochs = (
        values.ravel() for values in np.meshgrid(np.geomspace(1e7, 2e9, 6), [1e9, 8e9], [1.0, 2.0, 4.0, 16.0])
    )
    worth = unique * (1 + 8 * (1 - np.exp(-(epochs - 1) / 8)))
    luck = 0.001 * np.random.default_rng(0).normal(size=len(sizes))
    loss = (1.8 + 480 / sizes**0.35 + 2000 / worth**0.37) * np.exp(luck)
    frame = pd.DataFrame({"params": sizes, "tokens": unique * epochs, "loss": loss})
    return frame.assign(**{name: {"U": unique, "E": epochs}[value] for name, value in changes.items()})


def laws(tmp_path, frame, *arguments, figures=False):
    """laws.json of a table, and where its files are."""
    frame.to_csv(tmp_path / "rows.csv", index=False)
    more = () if figures else ("--no-figures",)
    code, text, problem = run("fit-laws", tmp_path / "rows.csv", *arguments, *more, "--json")
    assert (code, problem) == (0, "")
    return json.loads(text), tmp_path / "rows_laws"


def isoflop_rows(own=False):
    """Four computes, each spent at the same nineteen sizes or, with `own`, at sizes that no other compute has."""
    flops, params = (v.ravel() for v in np.meshgrid(np.geomspace(1e18, 1e21, 4), np.geomspace(1e7, 1e10, 19)))
    params *= (flops / 1e18) ** 0.015 if own else 1
    loss = 1.8 + 480 / params**0.35 + 2000 / (flops / 6 / params) ** 0.37
    return pd.DataFrame({"flops": flops, "params": params, "loss": loss})


def found(document, against):
    return [law for law in document["laws"] if law["against"] == against]


def valleys(budgets=(1e18, 1e19, 1e20, 1e21), shift=0.0, bend=0.05):
    rows = []
    for flops in budgets:
        best = 0.1 * flops**0.5
        for size in best * np.exp(np.linspace(-1.5, 1.5, 9) + shift):
            rows.append((flops, size, 3 * flops**-0.02 * np.exp(bend * np.log(size / best) ** 2)))
    return np.array(rows).T
