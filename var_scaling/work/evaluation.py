"""Sample grids and metrics of a trial's budgets, from their annealed weights."""

from __future__ import annotations

import os
from typing import Any

from var_scaling.config import yaml
from var_scaling.config.class_names import class_names
from var_scaling.config.evaluate import FidEvaluation
from var_scaling.errors import EnvironmentProblem
from var_scaling.evaluation.copies import TrainingImages, can_be_told
from var_scaling.evaluation.fid import evaluate_model
from var_scaling.evaluation.generation import Trained, sample_grid
from var_scaling.families.registry import family_of
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import layout, store
from var_scaling.work.asked import Asked
from var_scaling.work.context import Context, load_module


def evaluate(context: Context, config: TrialConfig, asked: Asked, tokenizer: Any) -> None:
    """Sample grids and metrics that are asked for and missing, from the annealed weights; trains nothing.

    What one of them lacks here (a feature network's weights, which another study asked for) keeps none of the others.
    """
    lacking: list[EnvironmentProblem] = []
    learnt: TrainingImages | None = None
    learns_here = "tokens" in context.needs  # weights from elsewhere have learnt from we know not what
    small = learns_here and can_be_told(config.data)
    todo = [(budget, evaluation) for budget in asked.budgets for evaluation in asked.evaluations[budget].values()]
    for done, budget in enumerate(asked.budgets):
        folder = layout.budget(context.folder, budget)
        missing = [e for e in asked.evaluations[budget].values() if not layout.evaluation(folder, e["name"]).exists()]
        grid = layout.samples(folder) if budget in asked.grids and not layout.samples(folder).exists() else None
        if not missing and not grid:
            continue
        if context.attempt.stop_requested():
            raise context.attempt.stopped()
        context.attempt.progress(done, len(todo), f"evaluating {budget:,} images")
        module = load_module(config, layout.weights(folder), context.device)
        model = Trained(config.model, module, tokenizer, context.device)
        if grid:
            picture = layout.samples(context.attempt.folder)
            names = class_names(config.data, context.placement.image_folder)
            sampler = family_of(config.model).sampler()
            sample_grid(model, sampler, per_class=asked.grids[budget], path=picture, names=names)
            os.replace(picture, grid)
        for request in missing:
            evaluation = FidEvaluation.model_validate(yaml.tuples(request["config"]))
            if small and learnt is None:
                learnt = TrainingImages(context.images(config.data), tokenizer, context.device)
            try:
                result = evaluate_model(
                    model,
                    evaluation,
                    context.images(evaluation.data),
                    extractor_folder=layout.result(context.runs / request["network"]) if request["network"] else None,
                    judge_folder=layout.result(context.runs / request["judge"]) if request.get("judge") else None,
                    cache=layout.features(context.runs),
                    attempt=context.attempt,
                    weights=context.placement.feature_weights,
                    learnt=learnt,
                )
            except EnvironmentProblem as problem:
                lacking.append(problem)
                continue
            floor = store.read_json(layout.report(layout.result(context.runs / request["reconstruction"])))
            rfid = f"rfid_{evaluation.fid.reference}"
            if floor and rfid in floor:
                result["tokenizer_rfid"] = floor[rfid]
                ends = {part: floor.get(f"{rfid}_{part}") for part in ("corrected", "low", "high")}
                result |= {f"tokenizer_rfid_{part}": value for part, value in ends.items() if value is not None}
            context.attempt.check_owner()
            store.write_json(layout.evaluation(folder, request["name"]), result)
    if lacking:
        raise lacking[0]
