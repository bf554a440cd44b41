"""How fast samples are drawn: latency and images a second of several models at one backbone size, beside their bounds.

Weights are fresh: what a step costs does not depend on what they hold. A sampler whose steps are all alike is timed
over a few of them (`timed`), and the row says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from var_scaling.evaluation.generation import Trained
from var_scaling.evaluation.roofline import Clock, Products, Rates, matrix_rate, measure_rates
from var_scaling.families.registry import family_of, model_of
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import read_trial
from var_scaling.tokenizers.registry import module_of

MOST_SECONDS = 8.0  # of the runs of one row: a slow row has fewer, one at least after the one that warms up


@dataclass(frozen=True)
class Case:
    """A model and a way to sample it."""

    name: str
    trial: Mapping[str, Any]  # a partial trial; depth is filled in
    sampler: Mapping[str, Any]
    timed: Mapping[str, Any] = field(default_factory=dict)  # settings of the shorter run that is timed instead
    times: float = 1.0  # how many of those the whole is


IMAGENET = {"name": "imagenet", "resolution": 256}


def _dit(name: str, steps: int, timed: int, **sampler: Any) -> Case:
    trial = {
        "data": IMAGENET,
        "tokenizer": {"preset": "paper-kl"},
        "model": {"family": "dit", "head_dim": 64, "patch_size": 2},
    }
    return Case(name, trial, {"steps": steps, "guidance": 0.5, **sampler}, {"steps": timed}, steps / timed)


# The paper's sizes at 256 px: a pyramid of 680 tokens in 10 passes, 16 x 16 tokens in 256, and DiT on 32 x 32 latents
# in patches of 2. All guided, as the paper samples; no top-k, which none of our own studies use.
PAPER = (
    Case(
        "var",
        {"data": IMAGENET, "tokenizer": {"preset": "paper"}, "model": {"family": "var", "head_dim": 64}},
        {"guidance": 1.5},
    ),
    Case(
        "raster",
        {"data": IMAGENET, "tokenizer": {"preset": "paper-raster"}, "model": {"family": "raster", "head_dim": 64}},
        {"guidance": 1.5},
    ),
    _dit("dit-250", 250, 5, method="ancestral"),
    _dit("dit-20", 20, 5, method="ddim"),
)


@dataclass(frozen=True)
class Row:
    """One part of one model at one batch."""

    case: str
    part: str  # transformer (all that ends in latents) or decoder
    batch: int
    seconds: float  # of the batch: the latency of each of its images
    bound_seconds: float  # that this machine's rates allow, see `roofline`
    inside_seconds: float  # in matrix products; 0 where the device works on its own
    flops: int  # of an image
    share_timed: float  # of the sampler's passes; the rest are alike

    @property
    def images_per_second(self) -> float:
        return self.batch / self.seconds

    @property
    def share_of_bound(self) -> float:
        return self.bound_seconds / self.seconds

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "images_per_second": self.images_per_second,
            "share_of_bound": self.share_of_bound,
            "share_inside": self.inside_seconds / self.seconds,
        }


@dataclass(frozen=True)
class Speed:
    """Everything that was measured."""

    rows: tuple[Row, ...]
    rates: Mapping[str, Rates]  # by case: the read rate is that of its weights' size
    params: Mapping[str, int]
    samplers: Mapping[str, Mapping[str, Any]]

    def row(self, case: str, batch: int, part: str = "transformer") -> Row | None:
        found = (row for row in self.rows if (row.case, row.batch, row.part) == (case, batch, part))
        return next(found, None)

    def batches(self, case: str) -> list[int]:
        return [row.batch for row in self.rows if row.case == case and row.part == "transformer"]

    def crossover(self, slow_start: str, other: str) -> float | None:
        """The batch from which `slow_start` draws more images a second than `other`; None: at none of those measured.

        Between two batches measured, straight on logarithms of batch and ratio.
        """
        shared = [b for b in self.batches(slow_start) if b in self.batches(other)]
        ratios = [
            math.log(a.images_per_second / b.images_per_second)
            for batch in shared
            if (a := self.row(slow_start, batch)) and (b := self.row(other, batch))
        ]
        if not ratios or ratios[-1] <= 0:
            return None
        if all(ratio > 0 for ratio in ratios):
            return float(shared[0])
        after = next(i for i, ratio in enumerate(ratios) if ratio > 0 and all(r > 0 for r in ratios[i:]))
        before = after - 1
        share = -ratios[before] / (ratios[after] - ratios[before])
        return float(shared[before] * (shared[after] / shared[before]) ** share)


def measure_speed(
    cases: Sequence[Case],
    *,
    depth: int,
    batches: Sequence[int],
    clock: Clock,
    runs: int,
    decoders: bool = True,
    matrix_sides: tuple[int, ...] = (),
    told: Callable[[str], None] = lambda words: None,
) -> Speed:
    """Times every case at every batch, transformer and decoder apart.

    Args:
        cases: what to draw from.
        depth: of every model.
        batches: in rising order; the decoder is timed at the first.
        clock: of the device.
        runs: of which the fastest counts, after one that warms up and is counted in products.
        decoders: time them too.
        matrix_sides: of the products that the machine's rate is measured with; empty: `roofline.GEMM_SIDES`.
        told: of progress.
    """
    rows: list[Row] = []
    rates: dict[str, Rates] = {}
    params: dict[str, int] = {}
    samplers: dict[str, Mapping[str, Any]] = {}
    matrix = matrix_rate(clock, sides=matrix_sides)
    for case in cases:
        config = resolve(read_trial({**case.trial, "model": {**case.trial["model"], "depth": depth}}))
        family, maker = family_of(config.model), model_of(config.model)
        module = maker.build(config.model).to(clock.device).eval()
        tokenizer = module_of(config.tokenizer).build(config.tokenizer).to(clock.device).eval()
        model = Trained(config.model, module, tokenizer, clock.device)
        params[case.name] = sum(family.params(config.model).values())
        rates[case.name] = measure_rates(clock, 4 * params[case.name], matrix)
        whole = family.sampler.model_validate(case.sampler)
        timed = family.sampler.model_validate({**case.sampler, **case.timed})
        samplers[case.name] = whole.model_dump()
        weights = [*module.parameters(), *tokenizer.parameters()]
        for batch in batches:
            told(f"{case.name}, batch {batch}")
            labels_B = (torch.arange(batch) % model.num_classes).to(clock.device)
            noise = {k: v.to(clock.device) for k, v in model.noise(timed, batch, torch.Generator()).items()}

            def draw(labels=labels_B, noise=noise, maker=maker, model=model, timed=timed) -> dict[str, torch.Tensor]:
                return maker.draw(model.module, labels, model.tokenizer, timed, noise)

            rows.append(_row(case, "transformer", batch, draw, weights, rates[case.name], clock, runs, case.times))
            if decoders and batch == batches[0]:
                latents = draw()
                rows.append(
                    _row(
                        case,
                        "decoder",
                        batch,
                        lambda tokenizer=tokenizer, latents=latents: tokenizer.pictures(latents),
                        weights,
                        rates[case.name],
                        clock,
                        1,
                        1.0,
                    )
                )
    return Speed(tuple(rows), rates, params, samplers)


@torch.no_grad()
def _row(
    case: Case,
    part: str,
    batch: int,
    action: Callable[[], object],
    weights: Sequence[torch.Tensor],
    rates: Rates,
    clock: Clock,
    runs: int,
    times: float,
) -> Row:
    with Products(weights, rates, clock) as seen:
        action()
    inside = seen.inside
    seconds = clock.least(action, runs, MOST_SECONDS)
    return Row(
        case=case.name,
        part=part,
        batch=batch,
        seconds=seconds * times,
        bound_seconds=seen.bound * times,
        inside_seconds=min(inside, seconds) * times,
        flops=round(seen.flops * times / batch),
        share_timed=1 / times,
    )
