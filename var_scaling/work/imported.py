"""Measure a model whose weights are from elsewhere; there is nothing to train."""

from __future__ import annotations

from var_scaling.planning.trial import read_trial
from var_scaling.work.asked import read_asked
from var_scaling.work.context import Context
from var_scaling.work.evaluation import evaluate


def do(context: Context) -> None:
    while True:  # another may ask for more while this runs
        asked = read_asked(context.folder)
        evaluate(context, read_trial(context.config), asked, context.tokenizer())
        if read_asked(context.folder) == asked:
            break
