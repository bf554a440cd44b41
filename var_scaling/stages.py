"""What each kind of work does: tokenizer, classifier, tokens, reconstruction, trial."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from var_scaling.config import yaml
from var_scaling.config.class_names import class_names
from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ClassifierConfig, FidEvaluation
from var_scaling.config.train import ExecutionConfig, PlacementConfig
from var_scaling.errors import EnvironmentProblem
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.runs import store
from var_scaling.runs.frozen import code_hash
from var_scaling.runs.ranks import Meeting, local_rank
from var_scaling.runs.store import Attempt, Lost, Stopped
from var_scaling.tokenizers.vq.config import VQConfig
from var_scaling.training.device import choose_device, memory_advice, set_precision


def do(kind: str, runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt) -> None:
    """Do what is missing in a work folder that this attempt holds."""
    _WORK[kind](Context(runs, folder, config, attempt))


def lend(runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt, meeting: Meeting, rank: int) -> None:
    """Compute a share of the trial that rank 0's attempt runs.

    Raises:
        Lost: rank 0 is gone.
    """
    from var_scaling.data.tokens import open_tokens
    from var_scaling.training.distributed import join
    from var_scaling.training.lender import lend as lend_gradients

    context, trial = Context(runs, folder, config, attempt), read_trial(config)
    set_precision(context.device, trial.train.precision)
    ranks = join(meeting, rank, context.device)
    cache = open_tokens(context.needs["tokens"], context.tokenizer())
    try:
        lend_gradients(trial, cache, ranks, context.device)
    except torch.OutOfMemoryError as error:
        error.add_note(memory_advice(trial, context.device))
        raise


class Context:
    """What every kind of work is given; torch is set to its threads and its GPU."""

    def __init__(self, runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt) -> None:
        self.runs, self.folder, self.config, self.attempt = runs, folder, config, attempt
        self.execution = ExecutionConfig.model_validate(config["execution"])
        torch.set_num_threads(self.execution.threads)
        self.placement = PlacementConfig.model_validate(config["placement"])
        self.needs = {need.split("/")[1]: runs / need / "result" for need in store.read_json(folder / "needs.json")}
        self.device = choose_device(self.placement.device, local_rank())

    def images(self, data: DataConfig) -> Any:
        from var_scaling.data.images import load_images

        return load_images(
            data,
            image_folder=self.placement.image_folder,
            workers=max(1, self.execution.loader_workers),
            store=self.runs / "store",
        )

    def tokenizer(self) -> Any:
        """The trained tokenizer, frozen."""
        return load_tokenizer(self.needs["tokenizer"], self.device)

    def publish(self, build: Callable[[Path], Any]) -> None:
        """Let a builder fill a folder, then put it in place as `result/`."""
        out = self.attempt.scratch("result")
        report = build(out)
        if isinstance(report, dict) and not (out / "report.json").exists():
            store.write_json(out / "report.json", report)
        self.attempt.check_owner()
        store.publish(out, self.folder / "result")
        shutil.rmtree(self.attempt.folder / "checkpoints", ignore_errors=True)


def load_tokenizer(result: Path, device: torch.device) -> Any:
    """A trained tokenizer from its stage's result folder, frozen."""
    from safetensors.torch import load_file

    from var_scaling.tokenizers.vq.model import build_tokenizer

    config = yaml.load(result.parent / "config.yaml")[0]
    tokenizer = build_tokenizer(VQConfig.model_validate(config["tokenizer"]))
    tokenizer.load_state_dict(load_file(result / "weights.safetensors"))
    return tokenizer.to(device).eval().requires_grad_(False)


def load_model(runs: Path, trial: Path, budget: int) -> tuple[Any, Any, torch.device]:
    """The annealed model of a budget and its tokenizer, ready to sample, and the device they are on."""
    from safetensors.torch import load_file

    from var_scaling.families.var.model import build_var

    device = choose_device("auto")
    config = read_trial(yaml.load(trial / "config.yaml")[0])
    needs = {need.split("/")[1]: runs / need / "result" for need in store.read_json(trial / "needs.json")}
    var = build_var(config.model).to(device).eval()
    var.load_state_dict(load_file(trial / "budgets" / str(budget) / "weights.safetensors"))
    return var, load_tokenizer(needs["tokenizer"], device), device


def _tokenizer(context: Context) -> None:
    from var_scaling.training.tokenizer import train_tokenizer

    config = VQConfig.model_validate(context.config["tokenizer"])
    images = context.images(DataConfig.model_validate(context.config["data"]))
    context.publish(
        lambda out: train_tokenizer(
            config,
            images,
            attempt=context.attempt,
            out=out,
            device=context.device,
            threads=context.execution.threads,
        )
    )


def _classifier(context: Context) -> None:
    from var_scaling.evaluation.classifier import train_classifier

    data = DataConfig.model_validate(context.config["data"])
    recipe = ClassifierConfig.model_validate(context.config["classifier"])
    images = context.images(data)
    context.publish(
        lambda out: train_classifier(
            data,
            images,
            config=recipe,
            attempt=context.attempt,
            out=out,
            device=context.device,
            threads=context.execution.threads,
        )
    )


def _tokens(context: Context) -> None:
    from var_scaling.data.tokens import build_tokens

    data = DataConfig.model_validate(context.config["data"])
    images, tokenizer = context.images(data), context.tokenizer()
    context.publish(
        lambda out: build_tokens(data, images, tokenizer, attempt=context.attempt, out=out, device=context.device)
    )


def _reconstruction(context: Context) -> None:
    from var_scaling.evaluation.fid import evaluate_tokenizer

    evaluation = FidEvaluation.model_validate(context.config["evaluation"])
    images = context.images(evaluation.data)
    context.publish(
        lambda out: evaluate_tokenizer(
            context.tokenizer(),
            evaluation,
            images,
            extractor_folder=context.needs.get("classifier"),
            cache=context.runs / "store" / "features",
            out=out,
            attempt=context.attempt,
            device=context.device,
            weights=context.placement.feature_weights,
        )
    )


def _trial(context: Context) -> None:
    from var_scaling.data.tokens import open_tokens
    from var_scaling.training.distributed import ALONE, gather
    from var_scaling.training.trial import train_budgets

    config = read_trial(context.config)
    set_precision(context.device, config.train.precision)
    processes = context.placement.gpus
    ranks = gather(context.attempt, processes, context.device) if processes > 1 else ALONE
    tokenizer = context.tokenizer()
    cache = open_tokens(context.needs["tokens"], tokenizer)
    provenance = {
        "device": _device_name(context.device),
        "host": context.attempt.holder.host,
        "threads": context.execution.threads,
        "processes": processes,
        "code": code_hash(),
        "data": cache.meta["data_hash"],
        "tokenizer": cache.meta["tokenizer_hash"],
    }
    try:
        while True:  # a launch may ask for more while this runs
            asked = read_asked(context.folder)
            train_budgets(config, asked.budgets, cache, tokenizer, context.attempt, context.device, provenance, ranks)
            _evaluate(context, config, asked, tokenizer)
            if read_asked(context.folder) == asked:
                break
    except (Stopped, Lost):  # between two steps; after a fault the others may stand in a collective, which never ends
        ranks.dismiss()
        raise
    except torch.OutOfMemoryError as error:
        error.add_note(memory_advice(config, context.device))
        raise
    ranks.dismiss()


class Asked:
    """The union of what all studies ask of a trial."""

    def __init__(self, requests: list[Mapping[str, Any]]) -> None:
        self.budgets = tuple(sorted({b for r in requests for b in r["budgets"]}))
        self.evaluations: dict[int, dict[str, Mapping[str, Any]]] = {b: {} for b in self.budgets}
        self.grids: dict[int, int] = {}
        for request in requests:
            for budget in request["budgets"]:
                self.evaluations[budget].update({e["name"]: e for e in request["evaluations"]})
                if request["samples_grid"] != "off":
                    self.grids[budget] = max(self.grids.get(budget, 0), request["samples_grid"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asked) and vars(self) == vars(other)


def read_asked(folder: Path) -> Asked:
    """What the files in asked/ say now."""
    values = [store.read_json(path) for path in sorted((folder / "asked").glob("*.json"))]
    return Asked([value for value in values if value])


def _evaluate(context: Context, config: TrialConfig, asked: Asked, tokenizer: Any) -> None:
    """Sample grids and metrics that are asked for and missing, from the annealed weights; trains nothing.

    What one of them lacks here (a feature network's weights, which another study asked for) keeps none of the others.
    """
    from safetensors.torch import load_file

    from var_scaling.evaluation.fid import evaluate_model
    from var_scaling.evaluation.generation import sample_grid
    from var_scaling.families.registry import family_of
    from var_scaling.families.var.model import build_var

    var, lacking = None, list[EnvironmentProblem]()
    todo = [(budget, evaluation) for budget in asked.budgets for evaluation in asked.evaluations[budget].values()]
    for done, budget in enumerate(asked.budgets):
        folder = context.folder / "budgets" / str(budget)
        missing = [e for e in asked.evaluations[budget].values() if not (folder / "evaluations" / e["name"]).exists()]
        grid = folder / "samples.png" if budget in asked.grids and not (folder / "samples.png").exists() else None
        if not missing and not grid:
            continue
        if context.attempt.stop_requested():
            raise context.attempt.stopped()
        context.attempt.progress(done, len(todo), f"evaluating {budget:,} images")
        var = var or build_var(config.model).to(context.device).eval()
        var.load_state_dict(load_file(folder / "weights.safetensors"))
        if grid:
            picture = context.attempt.folder / "samples.png"
            names = class_names(config.data, context.placement.image_folder)
            sample_grid(var, tokenizer, per_class=asked.grids[budget], path=picture, names=names, device=context.device)
            os.replace(picture, grid)
        for request in missing:
            evaluation = FidEvaluation.model_validate(yaml.tuples(request["config"]))
            try:
                result = evaluate_model(
                    var,
                    tokenizer,
                    evaluation,
                    context.images(evaluation.data),
                    extractor_folder=context.runs / request["classifier"] / "result" if request["classifier"] else None,
                    cache=context.runs / "store" / "features",
                    attempt=context.attempt,
                    device=context.device,
                    weights=context.placement.feature_weights,
                )
            except EnvironmentProblem as problem:
                lacking.append(problem)
                continue
            floor = store.read_json(context.runs / request["reconstruction"] / "result" / "report.json")
            rfid = f"rfid_{evaluation.fid.reference}"
            if floor and rfid in floor:
                result["tokenizer_rfid"] = floor[rfid]
            guidance = evaluation.fid.guidance
            result["guidance_mean"] = family_of(config.model).mean_guidance(config.model, guidance)
            context.attempt.check_owner()
            store.write_json(folder / "evaluations" / request["name"], result)
    if lacking:
        raise lacking[0]


_WORK: dict[str, Callable[[Context], None]] = {
    "tokenizer": _tokenizer,
    "classifier": _classifier,
    "tokens": _tokens,
    "reconstruction": _reconstruction,
    "trial": _trial,
}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")) + " (CPU)"
    except (OSError, StopIteration):
        return "CPU"
