"""What a tokenizer is and how it is trained. All of it is identity; none of it depends on a machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.tokenizers.autoencoder_config import (
    PAPER_TRAINING,
    SMALL_TRAINING,
    AutoencoderConfig,
    AutoencoderTrainConfig,
    downsampling,
    filled,
    problems,
)
from var_scaling.tokenizers.base import Arrays


class CodebookConfig(Strict):
    """How the codes learn."""

    update: Literal["gradient", "ema"]
    ema_decay: float = Field(default=0.99, gt=0, lt=1)
    data_init: bool = True  # start at vectors of the first batches
    restart_below: float = Field(
        default=0.02, ge=0, lt=1
    )  # a code with less than this share of mean use is dead; 0: off
    restart_every: int = Field(default=6_400, ge=1)  # images


class TokenizerTrainConfig(AutoencoderTrainConfig):
    """The tokenizer's recipe. `None` is filled from the preset."""

    quantiser: float | None = Field(default=None, gt=0)  # weight of the quantiser's own loss
    codebook: CodebookConfig | None = None


class VQConfig(AutoencoderConfig):
    """A multi-scale VQ tokenizer. `None` is filled from the preset, or from the data."""

    preset: Literal["tiny", "small", "paper", "tiny-raster", "small-raster", "paper-raster", "imported"] = "tiny"
    # Side of each token map, coarse to fine; the last is the latent's. None: the preset's, or `ladder` of that side.
    patch_nums: tuple[int, ...] | None = None
    vocab_size: int | None = Field(default=None, ge=2)
    latent_dim: int | None = Field(default=None, ge=1)
    attention: bool | None = None  # in the deepest level and the middle
    phi_count: int | None = Field(default=None, ge=1)
    phi_ratio: float = Field(default=0.5, ge=0, le=1)
    commitment: float = Field(default=0.25, ge=0)
    train: TokenizerTrainConfig = TokenizerTrainConfig()

    @property
    def tokens_per_image(self) -> int:
        assert self.patch_nums is not None, "resolve the config first"
        return sum(side * side for side in self.patch_nums)


IMPORTED = "imported"  # no preset to be asked for: that of configs whose weights are from elsewhere
_SMALL_VQ_TRAINING: dict[str, Any] = dict(
    SMALL_TRAINING, images=38_400, quantiser=1.0, codebook=CodebookConfig(update="ema")
)

# Sizes that train in CPU minutes were found by measurement (docs/log.md); the paper's are of its released weights.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        patch_nums=(1, 2, 3, 4),
        vocab_size=512,
        latent_dim=16,
        channels=32,
        channel_multipliers=(1, 2),
        blocks=1,
        middle=False,
        attention=False,
        stem_stride=4,
        norm_groups=8,
        phi_count=4,
        train=_SMALL_VQ_TRAINING,
    ),
    "small": dict(
        patch_nums=(1, 2, 3, 4, 6, 8),
        vocab_size=512,
        latent_dim=16,
        channels=64,
        channel_multipliers=(1,),
        blocks=1,
        middle=False,
        attention=False,
        stem_stride=4,
        norm_groups=8,
        phi_count=4,
        train=dict(_SMALL_VQ_TRAINING, images=28_800, batch_size=16, learning_rate=4e-3),
    ),
    "paper": dict(
        patch_nums=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
        vocab_size=4096,
        latent_dim=32,
        channels=160,
        channel_multipliers=(1, 1, 2, 2, 4),
        blocks=2,
        middle=True,
        attention=True,
        stem_stride=1,
        norm_groups=32,
        phi_count=4,
        train=dict(PAPER_TRAINING, quantiser=1.0, codebook=CodebookConfig(update="gradient")),
    ),
}


# One map of tokens, the raster case: the same architecture and training. At equal bits it is not equally good, for one
# scale carries half of what its multi-scale twin does (19.7 dB and rFID 3.6 for tiny's 21.1 and 2.1; docs/raster.md).
PRESETS |= {
    f"{name}-raster": dict(PRESETS[name], patch_nums=PRESETS[name]["patch_nums"][-1:], phi_count=1)
    for name in ("tiny", "small", "paper")
}


def arrays(patch_nums: tuple[int, ...], vocab_size: int, latent_dim: int) -> tuple[Arrays, Arrays]:
    """What an image becomes: codes of all scales, coarse to fine; and what a next-scale transformer reads of them.

    The second, the teacher-forcing input, takes an interpolation a scale and so is worth keeping.
    """
    sizes = [side * side for side in patch_nums]
    tokens = ("int16" if vocab_size <= 2**15 else "int32", (sum(sizes),))
    return {"tokens": tokens}, {"features": ("float32", (sum(sizes[1:]), latent_dim))}


def ladder(side: int) -> tuple[int, ...]:
    """Sides of token maps up to one of `side`, each three quarters of the next, rounded down.

    That is the published list of 512 px images (side 32), and those of the presets for sides 4 and 8.
    """
    return (*ladder(side * 3 // 4), side) if side > 1 else (1,)


def resolve_tokenizer(config: VQConfig, *, resolution: int, channels: int, flip: bool) -> VQConfig:
    """Fills what was left to the preset and the data; checks that the sizes fit one another.

    Args:
        config: as written.
        resolution: image side of the data in pixels.
        channels: image channels of the data.
        flip: whether mirroring the data's images gives images of the same kind.

    Returns:
        A config without any None.

    Raises:
        ValueError: sizes that cannot be; all problems in one message, a sentence each.
    """
    data = {"resolution": resolution, "image_channels": channels}
    if config.preset == IMPORTED:
        found = [*_problems_of_scales(config), *problems(config, config.train, data)]
        if found:
            raise ValueError("; ".join(found))
        return config
    fields, train = filled(config, PRESETS[config.preset], resolution=resolution, channels=channels, flip=flip)
    if config.patch_nums is None and not (resolution % downsampling(fields)):
        latent = resolution // downsampling(fields)
        if fields["patch_nums"][-1] != latent:
            fields["patch_nums"] = ladder(latent) if len(fields["patch_nums"]) > 1 else (latent,)
    resolved = VQConfig(**fields, train=TokenizerTrainConfig(**train))
    found = list(_problems_of_scales(resolved)) if resolved.channel_multipliers else []
    found += problems(resolved, resolved.train, data)
    if found:
        raise ValueError("; ".join(found))
    return resolved


def _problems_of_scales(config: VQConfig) -> Iterator[str]:
    assert config.patch_nums is not None and config.resolution is not None
    sides, size = config.patch_nums, config.downsampling
    if not sides or sides[0] < 1 or any(a >= b for a, b in pairwise(sides)):
        yield f"tokenizer.patch_nums {list(sides)} must be positive and increase strictly, like {_example(sides)}"
    elif not config.resolution % size and sides[-1] != config.resolution // size:
        latent = config.resolution // size
        yield (
            f"tokenizer.patch_nums {list(sides)} ends at {sides[-1]} but the latent of {config.resolution} px images "
            f"is {latent}x{latent} (1/{size} of the side); leave it out, end it at "
            f"{latent}, or change data.resolution, stem_stride or the number of channel_multipliers"
        )


def _example(sides: tuple[int, ...]) -> list[int]:
    return sorted({side for side in sides if side > 0}) or [1, 2, 3, 4]
