"""What a study costs besides training: stages and evaluations, in seconds and on disk, each with its source.

Counts of convolutions and tokens are arithmetic; what a machine makes of them in a second is measured on earlier stages
and evaluations of the same kind where there are any, and assumed where there are none.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from var_scaling.config import yaml
from var_scaling.families.registry import family_of
from var_scaling.planning.resolve import sampler_of
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.works import Evaluation, Kind, Work
from var_scaling.runs import layout, store
from var_scaling.tokenizers.base import DERIVED_LIMIT_BYTES, TokenizerConfig
from var_scaling.tokenizers.convolutions import conv_flops
from var_scaling.tokenizers.registry import kind_of, read_tokenizer

CPU_FLOPS = 12e9  # one thread on small convolutions (measured: 8 to 20 GFLOP/s)
SAMPLING_CPU_FLOPS = 4e9  # one thread that samples from small models, many short calls (measured: 2 to 8)
GPU_FLOPS = 2e13  # small networks leave a card idle most of the time: a guess
BYTES = {"int16": 2, "int32": 4, "float32": 4}
START_SECONDS = 4.0  # imports and reading images, of every work
DISTANCE_SECONDS = 3.0  # FID, its interval, KID, precision and recall, from features (2,000 samples)
FEATURE_SIDE_FLOPS = {"classifier": 0.0, "shape": 0.0, "inception": 1.1e10, "dinov2": 1.6e11}  # forward, of one picture


@dataclass(frozen=True)
class WorkCost:
    """What one stage, or all missing evaluations of a trial, will take."""

    seconds: float
    disk_bytes: int
    source: str


class Prices:
    """Prices by what this runs folder has seen; each kind of stage is looked up once, when it is first asked for."""

    def __init__(self, runs: Path, device: str | None = None) -> None:
        self.runs = runs
        self.on_gpu = device is not None and "CPU" not in device
        self._rates = functools.cache(self._measure)

    def stage(self, work: Work) -> WorkCost:
        """The cost of building a stage from nothing."""
        operations, fixed = _stage_flops(work.kind, work.config)
        rate, source = self._rate(work.kind, work.config)
        return WorkCost(START_SECONDS + fixed + operations / rate, _stage_bytes(work.kind, work.config), source)

    def evaluations(self, config: TrialConfig, evaluations: Sequence[Evaluation], missing: int) -> WorkCost:
        """The cost of `missing` evaluations of a trial's budgets, each as dear as the mean of those it is asked."""
        if not missing or not evaluations:
            return WorkCost(0.0, 0, "")
        rate, source = self._rate("evaluation", {"placement": {"device": config.placement.device}})
        each = [evaluation_flops(config, evaluation) for evaluation in evaluations]
        seconds = statistics.mean(each) / rate + DISTANCE_SECONDS
        return WorkCost(missing * seconds, missing * 4_096, source)

    def _rate(self, kind: str, config: Mapping[str, Any]) -> tuple[float, str]:
        on_gpu = self.on_gpu or config["placement"]["device"] == "cuda"
        if not on_gpu and (measured := self._rates(kind)):
            return measured, "measured here"
        if on_gpu:
            return GPU_FLOPS, "assumed"
        return (SAMPLING_CPU_FLOPS if kind == "evaluation" else CPU_FLOPS), "assumed"

    def _measure(self, kind: str) -> float | None:
        """FLOPs a second of what was done of a kind; None where nothing was."""
        found = []
        if kind == "evaluation":
            paths = sorted(layout.evaluations_of_all(self.runs))[-100:]
            for path in paths:
                done, row = store.read_json(path), store.read_json(layout.row_in(layout.budget_of(path)))
                if done and row and done.get("seconds") and "forward_flops_per_image" in row:
                    guided = 2 if done.get("guidance") else 1
                    operations = done["samples"] * guided * row["train_flops_visible"] / row["images_seen"] / 3
                    found.append(operations / max(done["seconds"] - DISTANCE_SECONDS, 0.5))
        built = [stage for stage in layout.stages(self.runs, kind) if layout.report(layout.result(stage)).exists()]
        for stage in built[-8:]:
            report = store.read_json(layout.report(layout.result(stage)))
            config = yaml.load(layout.config(stage))[0] if report and report.get("seconds") else None
            if config and config["placement"]["device"] != "cuda":
                operations, fixed = _stage_flops(kind, config)
                found.append(operations / max(report["seconds"] - fixed, 0.5))
        return statistics.median(found) if found else None


def evaluation_flops(config: TrialConfig, evaluation: Evaluation) -> float:
    """FLOPs of sampling and looking at the samples of one evaluation, without the tokenizer's decoder."""
    fid = evaluation.config.fid
    per_sample = family_of(config.model).sample_flops(config.model, sampler_of(config.model, fid))
    return fid.samples * fid.candidates * (per_sample + FEATURE_SIDE_FLOPS.get(str(fid.features), 1e10))


def cache_bytes(data: Mapping[str, Any], tokenizer: TokenizerConfig) -> tuple[int, bool]:
    """Bytes of a latent cache's arrays, and whether it keeps all that is derived from the latents beside them."""
    images = data["unique_images"] * data["views"] + data["validation_images"]
    stored, derived = (
        [images * prod(shape) * BYTES[dtype] for dtype, shape in arrays.values()]
        for arrays in kind_of(tokenizer).arrays(tokenizer)
    )
    labels = 8 * (data["unique_images"] + data["validation_images"])
    kept = [size for size in derived if size <= DERIVED_LIMIT_BYTES]
    return sum(stored) + sum(kept) + labels, len(kept) == len(derived)


def _network_flops(data: Mapping[str, Any], channels: Sequence[int]) -> float:
    total, before, places = 0.0, data["channels"], float(data["resolution"] ** 2)
    for stage, width in enumerate(channels):
        places /= 4
        total += conv_flops(before, width, places) + (conv_flops(width, width, places) if stage else 0.0)
        before = width
    return total


def _stage_flops(kind: Kind | str, config: Mapping[str, Any]) -> tuple[float, float]:
    """FLOPs of a stage, and seconds that no FLOPs explain."""
    if kind in ("classifier", "shape"):
        data, recipe = config["data"], config[kind]
        passes = recipe["epochs"] * data["unique_images"] * (3 if kind == "shape" else 1)  # two views, one rearranged
        return 3 * passes * _network_flops(data, recipe["channels"]), 0.0
    tokenizer = read_tokenizer(config["tokenizer"])
    encoder, decoder = kind_of(tokenizer).image_flops(tokenizer)
    if kind == "tokenizer":  # of imported weights no image is seen
        return 3 * kind_of(tokenizer).training_images(tokenizer) * (encoder + decoder), 0.0
    if kind == "tokens":
        data = config["data"]
        return (data["unique_images"] * data["views"] + data["validation_images"]) * encoder, 0.0
    data = config["evaluation"]["data"]
    return data["validation_images"] * (encoder + decoder), DISTANCE_SECONDS


def _stage_bytes(kind: Kind, config: Mapping[str, Any]) -> int:
    if kind == "tokens":
        return cache_bytes(config["data"], read_tokenizer(config["tokenizer"]))[0]
    return 2 << 20  # weights of a small network, a report, a picture
