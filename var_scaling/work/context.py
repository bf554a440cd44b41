"""What every kind of work is given, and how what earlier work left is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from var_scaling.config import yaml
from var_scaling.config.data import DataConfig
from var_scaling.config.train import ExecutionConfig, PlacementConfig
from var_scaling.data.images import load_images
from var_scaling.errors import RequestProblem
from var_scaling.evaluation.generation import Trained
from var_scaling.families.registry import model_of
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.runs import layout, store
from var_scaling.runs.ranks import local_rank
from var_scaling.runs.store import Attempt
from var_scaling.tokenizers.registry import module_of, read_tokenizer
from var_scaling.training.device import choose_device


class Context:
    """What every kind of work is given; torch is set to its threads and its GPU."""

    def __init__(self, runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt) -> None:
        self.runs, self.folder, self.config, self.attempt = runs, folder, config, attempt
        self.execution = ExecutionConfig.model_validate(config["execution"])
        torch.set_num_threads(self.execution.threads)
        self.placement = PlacementConfig.model_validate(config["placement"])
        self.needs = needs_of(runs, folder)
        self.device = choose_device(self.placement.device, local_rank())

    def images(self, data: DataConfig) -> Any:
        return load_images(
            data,
            image_folder=self.placement.image_folder,
            workers=max(1, self.execution.loader_workers),
            store=layout.store(self.runs),
        )

    def tokenizer(self) -> Any:
        """The trained tokenizer, frozen."""
        return load_tokenizer(self.needs["tokenizer"], self.device)

    def publish(self, build: Callable[[Path], Any]) -> None:
        """Let a builder fill a folder, then put it in place as `result/`."""
        out = self.attempt.scratch(layout.UNPUBLISHED_RESULT)
        report = build(out)
        if isinstance(report, dict) and not layout.report(out).exists():
            store.write_json(layout.report(out), report)
        self.attempt.check_owner()
        store.publish(out, layout.result(self.folder))
        shutil.rmtree(layout.checkpoints(self.attempt.folder), ignore_errors=True)


def needs_of(runs: Path, folder: Path) -> dict[str, Path]:
    """The results that a work stands on, by kind of stage."""
    return {layout.kind_of_stage(need): layout.result(runs / need) for need in store.read_json(layout.needs(folder))}


def load_tokenizer(result: Path, device: torch.device) -> Any:
    """A trained tokenizer from its stage's result folder, frozen."""
    config = read_tokenizer(yaml.load(layout.config(result.parent))[0]["tokenizer"])
    tokenizer = module_of(config).build(config)
    tokenizer.load_state_dict(load_file(layout.weights(result)))
    return tokenizer.to(device).eval().requires_grad_(False)


def load_module(config: TrialConfig, weights: Path, device: torch.device) -> torch.nn.Module:
    """The model of a trial with the annealed weights of a budget."""
    module = model_of(config.model).build(config.model).to(device).eval()
    module.load_state_dict(load_file(weights))
    return module


def load_model(runs: Path, trial: Path, budget: int) -> Trained:
    """The annealed model of a budget, ready to draw, on the device that is best here."""
    device = choose_device("auto")
    config = read_trial(yaml.load(layout.config(trial))[0])
    module = load_module(config, layout.weights(layout.budget(trial, budget)), device)
    needs = needs_of(runs, trial)
    if "tokenizer" not in needs:
        raise RequestProblem(
            f"{trial.name} was imported without its tokenizer, which turns what it draws into images; import it again "
            "with --tokenizer NAME, or together with the tokenizer's file"
        )
    return Trained(config.model, module, load_tokenizer(needs["tokenizer"], device), device)
