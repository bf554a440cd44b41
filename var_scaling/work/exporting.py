"""Weights of ours under the published names: written, read back, and compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.planning.trial import read_trial
from var_scaling.published import FORMATS
from var_scaling.runs import layout
from var_scaling.state_dicts import Given, weights_hash
from var_scaling.tokenizers.registry import kind_of, read_tokenizer
from var_scaling.weight_files import SAFETENSORS, read_weights, write_weights
from var_scaling.work.context import load_module, load_tokenizer

USUAL = Given(norm_groups=32, phi_ratio=0.5, target="noise")  # what a reader takes where nothing is said


@dataclass(frozen=True)
class Exported:
    """What was written."""

    parameters: int
    given: Given  # what no shape tells
    needed: Given  # the part of it that must be said to read the file again


def export_model(trial: Path, budget: int, to: Path) -> Exported:
    """The annealed weights of a budget.

    Raises:
        RequestProblem: its family has no published format, or the file cannot hold what must be said.
        EnvironmentProblem: the file cannot be written.
    """
    config = read_trial(yaml.load(layout.config(trial))[0])
    weights = layout.weights(layout.budget(trial, budget))
    return _export(config.model.family, load_module(config, weights, torch.device("cpu")), to)


def export_tokenizer(result: Path, to: Path) -> Exported:
    """The tokenizer of a stage's result folder; errors as `export_model`."""
    config = read_tokenizer(yaml.load(layout.config(result.parent))[0]["tokenizer"])
    return _export(kind_of(config).name, load_tokenizer(result, torch.device("cpu")), to)


def _export(name: str, module: nn.Module, to: Path) -> Exported:
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise RequestProblem(f"{name} has no published format to be written in; these have: {known}")
    _, form = FORMATS[name]
    given = form.given_of(module)
    told = given if to.suffix.lower() in SAFETENSORS else _sayable(given, to)
    try:
        write_weights(to, form.names_of(module), given)
    except ValueError as problem:
        raise RequestProblem(f"it cannot be written under published names: {problem}") from None
    except OSError as error:
        place = f"{to} cannot be written: {error.strerror or error}"
        raise EnvironmentProblem(f"{place}; choose another place with --out") from None
    checkpoint, metadata = read_weights(to)
    back = form.read(checkpoint, metadata.under(told))
    if weights_hash(back) != weights_hash(module):
        raise RuntimeError(f"{to} does not give back the weights that were written; this is a bug")
    parameters = sum(parameter.numel() for parameter in module.parameters())
    unusual = {n: None if v == getattr(USUAL, n) else v for n, v in vars(told).items()}
    needed = Given() if to.suffix.lower() in SAFETENSORS else Given(**unusual)
    return Exported(parameters, given, needed)


def _sayable(given: Given, to: Path) -> Given:
    """What the options of `import` can say of a file without metadata.

    Raises:
        RequestProblem: latents that are scaled channel by channel, which they cannot.
    """
    if given.latent_mean is None or given.latent_std is None:
        return given
    if any(given.latent_mean) or len(set(given.latent_std)) > 1:
        raise RequestProblem(
            f"--out {to}: the latents of this tokenizer are scaled channel by channel, which a .pth has no place for; "
            "write a .safetensors"
        )
    return replace(given, latent_mean=None, latent_std=None, latent_scale=round(1 / given.latent_std[0], 9))
