"""Samples with addressed randomness, and grids of them as PNG files.

Dimension key: B batch, n samples, C channels, H height, W width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.evaluation.features import alike_order, to_bytes
from var_scaling.families.base import ModelConfig, SamplerConfig
from var_scaling.families.registry import model_of
from var_scaling.planning.flops import SAMPLES_AT_ONCE
from var_scaling.tokenizers.base import Tokenizer


def labels_by_share(count: int, classes_Y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels (count,) in which each class has its share, as near as whole samples can; so has every prefix.

    Equal shares give class 0, 1, ..., Y - 1 and again.

    Args:
        count: how many.
        classes_Y: images of each class; only their ratios count.
    """
    exact_Y = count * (classes_Y / classes_Y.sum())
    counts_Y = np.floor(exact_Y + 1e-9).astype(np.int64)
    largest_rest = np.argsort(counts_Y - exact_Y, kind="stable")
    counts_Y[largest_rest[: count - counts_Y.sum()]] += 1
    labels_n = np.repeat(np.arange(len(classes_Y)), counts_Y)
    return labels_n[alike_order(labels_n)]


@dataclass(frozen=True)
class Trained:
    """A finished model with all that drawing from it takes."""

    config: ModelConfig
    module: nn.Module
    tokenizer: Tokenizer
    device: torch.device
    precision: str = "float32"  # bfloat16: of matrix products and of keys and values; pictures are made in float32

    @property
    def num_classes(self) -> int:
        return int(self.module.num_classes)

    def noise(self, sampler: SamplerConfig, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """All the random numbers of `count` samples, a row each, on the CPU."""
        return model_of(self.config).noise(self.module, sampler, count, generator)

    @torch.no_grad()
    def draw(self, labels_B: Tensor, sampler: SamplerConfig, noise: Mapping[str, Tensor]) -> Tensor:
        """Images in [0, 1], (B, C, H, W); image i depends on row i of labels and noise alone."""
        with self._precision():
            latents = model_of(self.config).draw(self.module, labels_B, self.tokenizer, sampler, noise)
        return (self.tokenizer.pictures(latents) + 1) / 2

    @torch.no_grad()
    def draw_and_weigh(
        self,
        labels_B: Tensor,
        sampler: SamplerConfig,
        noise: Mapping[str, Tensor],
        known: Mapping[str, Tensor],
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `draw` with a part of each image kept, and (B) nats that it weighs among draws for the same image.

        `known` and `mask`: see `families.base.FamilyModel.draw`; only where `cannot_edit` has nothing to say. Where a
        family does not tell draws apart, all weigh 0.
        """
        half, nats_B = model_of(self.config), torch.zeros(len(labels_B))
        with self._precision():
            latents = half.draw(self.module, labels_B, self.tokenizer, sampler, noise, known=known, mask=mask)
            if (weigh := getattr(half, "kept_log_probability", None)) is not None:  # of some families
                nats_B = weigh(self.module, labels_B, self.tokenizer, latents, mask).cpu()
        return (self.tokenizer.pictures(latents) + 1) / 2, nats_B

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def weighs(self) -> bool:
        """Whether draws for one picture can be told apart by what they make of its kept part."""
        return hasattr(model_of(self.config), "kept_log_probability")

    def cannot_edit(self) -> str | None:
        """Why no part of a picture can be kept while the rest is drawn, as a sentence."""
        if {"known", "mask"} <= inspect.signature(model_of(self.config).draw).parameters.keys():
            return None
        return (
            f"models of the family {self.config.family} draw whole pictures only: its `draw` takes no `known` and "
            "`mask` (docs/extending.md), so that nothing can be edited with them; take a model of another family"
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode, and afterwards as it was."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


class Parts:
    """Draws rows together, or in halves once the device's memory has ended: the random numbers of a row stay its own.

    Args:
        at_once: rows that are tried first.
    """

    def __init__(self, at_once: int = SAMPLES_AT_ONCE) -> None:
        self.at_once = at_once

    def __call__(self, draw: Callable[[slice], Tensor], count: int) -> Tensor:
        """All of `count` rows; `draw` is called with some of them."""
        parts: list[Tensor] = []
        while (done := sum(map(len, parts))) < count:
            try:
                parts.append(draw(slice(done, min(done + self.at_once, count))))
            except torch.OutOfMemoryError:
                if self.at_once == 1:
                    raise
                self.at_once = -(-self.at_once // 2)
        return torch.cat(parts)


@torch.no_grad()
def generate(
    model: Trained, labels_n: NDArray[np.int64], sampler: SamplerConfig, *, seed: int = 0, first: int = 0
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Samples in batches of `SAMPLES_AT_ONCE`, each from a generator seeded by (seed, number of the batch).

    Args:
        model: draws them.
        labels_n: the class of each sample.
        sampler: of the model's family.
        seed: of the samples.
        first: start at this sample, a multiple of `SAMPLES_AT_ONCE`: sample i is the same as in a run from 0.

    Yields:
        Numbers of the samples, and their images as uint8 (B, C, H, W) on the CPU.
    """
    assert first % SAMPLES_AT_ONCE == 0
    parts = Parts()
    with evaluating(model.module):
        for start in range(first, len(labels_n), SAMPLES_AT_ONCE):
            rows = np.arange(start, min(start + SAMPLES_AT_ONCE, len(labels_n)))
            yield rows, draw_block(model, labels_n[rows], sampler, seed, start // SAMPLES_AT_ONCE, len(rows), parts)


def draw_block(
    model: Trained,
    labels_B: NDArray[np.int64],
    sampler: SamplerConfig,
    seed: int,
    block: int,
    numbers: int,
    parts: Parts,
) -> Tensor:
    """One batch of samples from a generator of its own, uint8 (B, C, H, W) on the CPU; in evaluation mode.

    Args:
        model: draws them.
        labels_B: the class of each.
        sampler: of the model's family.
        seed: of the samples.
        block: number of the batch.
        numbers: samples that random numbers are drawn for; those beyond the labels are not used. A few families'
            numbers depend on how many are drawn.
        parts: how many are drawn together.
    """
    # Drawn on the CPU, so that a seed means the same numbers on every device.
    generator = torch.Generator("cpu")
    generator.manual_seed(int(randomness.bits(seed, "sample", block)[0] >> np.uint64(1)))
    drawn = model.noise(sampler, numbers, generator)
    noise = {name: values[: len(labels_B)].to(model.device) for name, values in drawn.items()}
    labels = torch.from_numpy(labels_B).to(model.device)

    def draw(part: slice) -> Tensor:
        return to_bytes(model.draw(labels[part], sampler, {k: v[part] for k, v in noise.items()})).cpu()

    return parts(draw, len(labels_B))


def sample_grid(
    model: Trained,
    sampler: SamplerConfig,
    *,
    path: Path,
    per_class: int = 8,
    classes: Sequence[int] | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Saves `per_class` samples of some classes as one PNG: a column for a class.

    Args:
        model: draws them.
        sampler: of the model's family.
        path: of the PNG file.
        per_class: rows of the grid.
        classes: which, from left to right; None: the first 10.
        names: of all classes; they stand above the columns.
        seed: of the samples.
    """
    chosen = np.arange(min(model.num_classes, 10)) if classes is None else np.array(classes)
    labels = np.tile(chosen.astype(np.int64), per_class)
    drawn = generate(model, labels, sampler, seed=seed)
    save_grid(
        torch.cat([images for _, images in drawn]),
        path,
        columns=len(chosen),
        names=[names[c] for c in chosen] if names else (),
    )


def save_grid(images_BCHW: Tensor, path: Path, *, columns: int, gap: int = 2, names: Sequence[str] = ()) -> None:
    """Saves uint8 images row by row as one PNG on a white ground; small images are enlarged to 64 pixels a side.

    Names stand above the columns, cut to their width.
    """
    count, channels, height, width = images_BCHW.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, image in enumerate(images_BCHW.permute(0, 2, 3, 1).numpy()):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)
    factor = max(1, 64 // height)
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if names:
        picture = _named(picture, names, (width + gap) * factor)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    picture.save(partial, "PNG")
    partial.replace(path)


def _named(picture: Image.Image, names: Sequence[str], pitch: int, line: int = 14) -> Image.Image:
    """The picture below a line of names, one at every `pitch` pixels."""
    font = ImageFont.load_default(size=line - 4)
    white = 255 if picture.mode == "L" else (255, 255, 255)
    taller = Image.new(picture.mode, (picture.width, picture.height + line), white)
    taller.paste(picture, (0, line))
    draw = ImageDraw.Draw(taller)
    for column, name in enumerate(names):
        text = next(name[:end] for end in range(len(name), -1, -1) if font.getlength(name[:end]) < pitch - 2)
        draw.text((column * pitch, 0), text, fill=0 if picture.mode == "L" else (0, 0, 0), font=font)
    return taller
