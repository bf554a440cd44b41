"""What a tokenizer is and how it is trained. All of it is identity; none of it depends on a machine."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.tokenizers.base import Arrays, TokenizerConfig

Off = Literal["off"]


class PerceptualConfig(Strict):
    """Distance between features of a network that computes no metric of ours."""

    network: Literal["random", "lpips"]  # random convolutions, or LPIPS where its backbone's weights are at hand
    weight: float = Field(gt=0)


class GanConfig(Strict):
    """Hinge loss with an adaptive weight: the generator's share keeps pace with the other losses' gradients."""

    weight: float = Field(default=0.4, gt=0)
    start: float = Field(default=0.3, ge=0, lt=1)  # share of training before it sets in
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.5, 0.9)
    channels: int = Field(default=32, ge=1)
    layers: int = Field(default=2, ge=1)


class CodebookConfig(Strict):
    """How the codes learn."""

    update: Literal["gradient", "ema"]
    ema_decay: float = Field(default=0.99, gt=0, lt=1)
    data_init: bool = True  # start at vectors of the first batches
    restart_below: float = Field(
        default=0.02, ge=0, lt=1
    )  # a code with less than this share of mean use is dead; 0: off
    restart_every: int = Field(default=6_400, ge=1)  # images


class TokenizerTrainConfig(Strict):
    """The tokenizer's recipe. `None` is filled from the preset."""

    images: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    final_learning_rate: float | None = Field(default=None, ge=0, le=1)  # of the cosine, as a share of the peak
    warmup_images: int | None = Field(default=None, ge=0)
    betas: tuple[float, float] | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    gradient_clip: float | Off | None = None
    l1: float | None = Field(default=None, ge=0)
    l2: float | None = Field(default=None, ge=0)
    quantiser: float | None = Field(default=None, gt=0)  # weight of the quantiser's own loss
    perceptual: PerceptualConfig | Off | None = None
    gan: GanConfig | Off | None = None
    codebook: CodebookConfig | None = None
    flip: bool | None = None  # from the data: off where left and right differ
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(default=0, ge=0)
    numerics: int = Field(default=1, ge=1)  # raised by hand when a change of code changes what training gives


class VQConfig(TokenizerConfig):
    """A multi-scale VQ tokenizer. `None` is filled from the preset, or from the data."""

    preset: Literal["tiny", "small", "paper", "tiny-raster", "small-raster", "paper-raster"] = "tiny"
    # Side of each token map, coarse to fine; the last is the latent's. None: the preset's, or `ladder` of that side.
    patch_nums: tuple[int, ...] | None = None
    vocab_size: int | None = Field(default=None, ge=2)
    latent_dim: int | None = Field(default=None, ge=1)
    resolution: int | None = Field(default=None, ge=1)  # image side in pixels; from the data
    image_channels: int | None = Field(default=None, ge=1)  # from the data
    channels: int | None = Field(default=None, ge=1)  # width of the finest level
    channel_multipliers: tuple[int, ...] | None = None  # one a level, finest first; each level halves the side
    blocks: int | None = Field(default=None, ge=1)  # residual blocks a level; the decoder has one more
    middle: bool | None = None  # two more blocks in the deepest level of encoder and decoder
    attention: bool | None = None  # in the deepest level and the middle
    stem_stride: Literal[1, 2, 4] | None = None
    norm_groups: int | None = Field(default=None, ge=1)  # of every GroupNorm, at most: the largest divisor of its width
    phi_count: int | None = Field(default=None, ge=1)
    phi_ratio: float = Field(default=0.5, ge=0, le=1)
    commitment: float = Field(default=0.25, ge=0)
    train: TokenizerTrainConfig = TokenizerTrainConfig()

    @property
    def downsampling(self) -> int:
        """Image pixels along the side of one latent position (resolved configs)."""
        return _downsampling(vars(self))

    @property
    def tokens_per_image(self) -> int:
        assert self.patch_nums is not None, "resolve the config first"
        return sum(side * side for side in self.patch_nums)


_SMALL_TRAINING: dict[str, Any] = dict(
    images=38_400,
    batch_size=32,  # steps count for more than images: 0.8 dB above batch 64 at 20,480 images
    learning_rate=3e-3,
    final_learning_rate=0.01,
    warmup_images=1_280,
    betas=(0.9, 0.95),
    weight_decay=0.01,
    gradient_clip=1.0,
    l1=0.5,
    l2=1.0,
    quantiser=1.0,
    perceptual="off",
    gan="off",
    codebook=CodebookConfig(update="ema"),
)

# Sizes that train in CPU minutes were found by measurement (docs/log.md). The paper's are those of its released
# weights; its recipe was never published, so this one follows the single-scale trainer that its authors released.
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
        train=_SMALL_TRAINING,
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
        train=dict(_SMALL_TRAINING, images=28_800, batch_size=16, learning_rate=4e-3),
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
        train=dict(
            images=250 * 1_281_167,
            batch_size=768,
            learning_rate=3e-4,
            final_learning_rate=0.3,
            warmup_images=1_281_167,
            betas=(0.5, 0.9),
            weight_decay=0.005,
            gradient_clip=2.0,
            l1=0.2,
            l2=1.0,
            quantiser=1.0,
            perceptual=PerceptualConfig(network="lpips", weight=1.0),
            gan=GanConfig(weight=0.4, start=0.22, learning_rate=3e-4, betas=(0.5, 0.9), channels=64, layers=3),
            codebook=CodebookConfig(update="gradient"),
        ),
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


def _downsampling(fields: Mapping[str, Any]) -> int:
    """Image pixels along the side of one latent position; 1 more level halves it."""
    assert fields["stem_stride"] and fields["channel_multipliers"] is not None
    stride: int = fields["stem_stride"]
    return stride << max(len(fields["channel_multipliers"]) - 1, 0)


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
    preset = PRESETS[config.preset]
    data = dict(resolution=resolution, image_channels=channels)
    fields = {name: getattr(config, name) for name in type(config).model_fields if name != "train"}
    for name, value in fields.items():
        if value is None:
            fields[name] = preset[name] if name in preset else data[name]
    if config.patch_nums is None and not (resolution % _downsampling(fields)):
        latent = resolution // _downsampling(fields)
        if fields["patch_nums"][-1] != latent:
            fields["patch_nums"] = ladder(latent) if len(fields["patch_nums"]) > 1 else (latent,)
    train = {name: getattr(config.train, name) for name in type(config.train).model_fields}
    for name, value in train.items():
        if value is None:
            train[name] = flip if name == "flip" else preset["train"][name]
    resolved = VQConfig(**fields, train=TokenizerTrainConfig(**train))
    problems = list(_problems(resolved, data))
    if problems:
        raise ValueError("; ".join(problems))
    return resolved


def _problems(config: VQConfig, data: dict[str, int]) -> list[str]:
    assert config.patch_nums is not None
    assert config.resolution is not None
    assert config.channel_multipliers is not None
    assert config.train.images is not None
    assert config.train.batch_size is not None
    problems, sides = [], config.patch_nums
    for name, actual in data.items():
        if getattr(config, name) != actual:
            problems.append(f"tokenizer.{name} is {getattr(config, name)} but the data have {actual}; leave it out")
    if not config.channel_multipliers or min(config.channel_multipliers) < 1:
        problems.append(
            f"tokenizer.channel_multipliers {list(config.channel_multipliers)} must be one positive number a level"
        )
        return problems
    if config.resolution % config.downsampling:
        problems.append(
            f"a resolution of {config.resolution} px does not divide by {config.downsampling} "
            f"(stem_stride {config.stem_stride}, {len(config.channel_multipliers)} levels); "
            f"use data.resolution {max(round(config.resolution / config.downsampling), 1) * config.downsampling}, or "
            "fewer levels"
        )
    if not sides or sides[0] < 1 or any(a >= b for a, b in pairwise(sides)):
        problems.append(
            f"tokenizer.patch_nums {list(sides)} must be positive and increase strictly, like {_example(sides)}"
        )
    elif not config.resolution % config.downsampling and sides[-1] != config.resolution // config.downsampling:
        latent = config.resolution // config.downsampling
        problems.append(
            f"tokenizer.patch_nums {list(sides)} ends at {sides[-1]} but the latent of {config.resolution} px images "
            f"is {latent}x{latent} (1/{config.downsampling} of the side); leave it out, end it at "
            f"{latent}, or change data.resolution, stem_stride or the number of channel_multipliers"
        )
    if config.train.images < config.train.batch_size:
        problems.append(
            f"tokenizer.train.images {config.train.images} is below one batch of {config.train.batch_size}; raise it"
        )
    return problems


def _example(sides: tuple[int, ...]) -> list[int]:
    return sorted({side for side in sides if side > 0}) or [1, 2, 3, 4]
