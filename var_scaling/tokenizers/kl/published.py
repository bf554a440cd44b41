"""Published KL autoencoders (the names of diffusers' AutoencoderKL) as a tokenizer of ours.

DiT stands on latent diffusion's f8 autoencoder with 4 channels, whose latents are multiplied by 0.18215. Only a file of
tensors is read (safetensors): no code of the library that wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from var_scaling.errors import RequestProblem
from var_scaling.state_dicts import Given, StateDict, count, fit, locate, nearest
from var_scaling.tokenizers.kl.config import F8_SCALE, IMPORTED, KLTokenizerConfig, KLTrainConfig
from var_scaling.tokenizers.kl.model import KLTokenizer
from var_scaling.weight_files import read_weights

# Names of theirs, and ours, where it is a matter of another word.
RENAMED = (
    (r"\.resnets\.(\d+)\.conv_shortcut\.", r".resnets.\1.nin_shortcut."),
    (r"^encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block."),
    (r"^encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.(?:to_out\.0|proj_attn)\.", ".mid.attn_1.proj_out."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
WHAT = "a KL autoencoder"
SIZE_GIVERS = {
    "encoder.conv_in.weight": 4,
    "encoder.down_blocks.0.resnets.0.conv1.weight": 4,
    "encoder.conv_out.weight": 4,
    "decoder.conv_in.weight": 4,
}
QUERY_KEY_VALUE = (("to_q", "to_k", "to_v"), ("query", "key", "value"))  # today's names, and those of older files


def load_kl_tokenizer(
    state_dict: Mapping[str, Any], resolution: int, scale: float = F8_SCALE, *, norm_groups: int = 32
) -> KLTokenizer:
    """A published autoencoder as a tokenizer in evaluation mode.

    Args:
        state_dict: diffusers' names and shapes, sizes are read from the shapes; where they may lie, see
            `state_dicts.locate`.
        resolution: side in pixels of the images that it will see; convolutions fit any multiple of their downsampling.
        scale: the factor on latents that the published model was used with.
        norm_groups: groups of every GroupNorm, at most; no shape shows them, and 32 is published.

    Raises:
        ValueError: names or shapes that differ, all listed; or a resolution that does not divide.
    """
    state = locate(state_dict, SIZE_GIVERS, WHAT)
    levels = count(state, r"encoder\.down_blocks\.(\d+)\.")
    firsts = [f"encoder.down_blocks.{level}.resnets.0.conv1.weight" for level in range(levels)]
    channels = state["encoder.conv_in.weight"].shape[0]
    odd = [name for name in firsts if name not in state or state[name].shape[0] % channels]
    if odd:
        raise ValueError(
            f"this is not the state dict of a KL autoencoder: each level must start with a multiple of the first's "
            f"{channels} channels; look at {odd[0]}{nearest(odd[0], state)}"
        )
    image_channels = state["encoder.conv_in.weight"].shape[1]
    latent_channels = state["decoder.conv_in.weight"].shape[1]
    kernel = state["encoder.conv_in.weight"].shape[2]
    if kernel not in (3, 4, 8):
        raise ValueError(f"this is not the state dict of {WHAT}: its first kernel is {kernel}, and not 3, 4 or 8")
    stem_stride = 1 if kernel == 3 else kernel // 2
    downsampling = stem_stride * 2 ** (levels - 1)
    if resolution % downsampling:
        raise ValueError(f"a resolution of {resolution} px does not divide by the autoencoder's {downsampling}")
    middle = any(".mid_block." in name for name in state)
    model = KLTokenizer(
        latent_channels=latent_channels,
        resolution=resolution,
        image_channels=image_channels,
        channels=channels,
        multipliers=tuple(state[name].shape[0] // channels for name in firsts),
        blocks=count(state, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        middle=middle,
        attention="middle" if any(".mid_block.attentions." in name for name in state) else False,
        stem_stride=stem_stride,
        norm_groups=norm_groups,
        variances=state["encoder.conv_out.weight"].shape[0] == 2 * latent_channels,
        outer_convolutions="quant_conv.weight" in state,
    )
    model.set_scale(scale)
    kept = {"latent_mean": model.latent_mean, "latent_std": model.latent_std}
    return fit(model, {**our_names(state), **kept}, "KL autoencoder")


def read_kl_tokenizer(path: Path, resolution: int, scale: float = F8_SCALE) -> KLTokenizer:
    """The same from a file, `diffusion_pytorch_model.safetensors` of a published autoencoder.

    Raises:
        RequestProblem: it is no such file; see `weight_files.read_weights`.
    """
    state, _ = read_weights(path)
    try:
        return load_kl_tokenizer(state, resolution, scale)
    except ValueError as problem:
        raise RequestProblem(f"{path} cannot be read as a KL autoencoder: {problem}") from None


def our_names(state_dict: StateDict) -> dict[str, Tensor]:
    """The same weights under this project's names; what is not known keeps its name."""
    state = dict(state_dict)
    for side in ("encoder", "decoder"):
        attention = f"{side}.mid_block.attentions.0"
        for words in QUERY_KEY_VALUE:
            for kind in ("weight", "bias"):
                parts = [f"{attention}.{word}.{kind}" for word in words]
                if all(part in state for part in parts):
                    joined = torch.cat([state.pop(part) for part in parts])
                    state[f"{side}.mid.attn_1.qkv.{kind}"] = joined
    ups = count(state, r"decoder\.up_blocks\.(\d+)\.")
    return {_our_name(name, ups): _as_convolution(name, value) for name, value in state.items()}


def _our_name(name: str, ups: int) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    match = re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers\.0)\.", name)
    if match:  # theirs are counted from the deepest level, ours from full resolution
        part = "block" if match[2] == "resnets" else "upsample"
        name = f"decoder.up.{ups - 1 - int(match[1])}.{part}.{name[match.end() :]}"
    return name


def _as_convolution(name: str, value: Tensor) -> Tensor:
    """Weights of linear maps over channels as those of 1x1 convolutions."""
    linear = value.ndim == 2 and (".attn_1.qkv." in name or ".attentions." in name)
    return value[:, :, None, None] if linear else value


# What `var_scaling.published.Format` asks.


def read(checkpoint: Mapping[str, Any], given: Given) -> KLTokenizer:
    """`load_kl_tokenizer` with what was given; at 256 px and the f8 scale, unless told."""
    scale, groups = given.latent_scale or F8_SCALE, given.norm_groups or 32
    model = load_kl_tokenizer(checkpoint, given.resolution or 256, scale, norm_groups=groups)
    if given.latent_mean is not None and given.latent_std is not None:
        if not len(given.latent_mean) == len(given.latent_std) == model.latent_channels:
            raise ValueError(f"the scale of the latents is said for other than {model.latent_channels} channels")
        model.latent_mean.copy_(torch.tensor(given.latent_mean))
        model.latent_std.copy_(torch.tensor(given.latent_std))
    return model


def config_of(module: KLTokenizer) -> KLTokenizerConfig:
    """The resolved config that builds such a module, but for the hash of its weights."""
    encoder = module.encoder
    channels = encoder.conv_in.out_channels
    one = not module.latent_mean.any() and bool((module.latent_std == module.latent_std[0]).all())
    middle = not isinstance(encoder.mid, torch.nn.Identity)
    attended = middle and not isinstance(encoder.mid.attn_1, torch.nn.Identity)
    return KLTokenizerConfig(
        preset=IMPORTED,
        latent_channels=module.latent_channels,
        channels=channels,
        channel_multipliers=tuple(level.block[0].conv1.out_channels // channels for level in encoder.down),
        blocks=len(encoder.down[0].block),
        middle=middle,
        attention=True if len(encoder.down[-1].attn) else "middle" if attended else False,
        stem_stride=encoder.conv_in.stride[0],
        norm_groups=module.norm_groups,
        latent_scale=round(1 / float(module.latent_std[0]), 9) if one else "measured",  # both stand in the weights
        outer_convolutions=not isinstance(module.quant_conv, torch.nn.Identity),
        resolution=module.image_size,
        image_channels=module.image_channels,
        train=KLTrainConfig(kl=None if module.variances else "off"),
    )


def names_of(module: KLTokenizer) -> dict[str, Tensor]:
    """The published state dict; what scales the latents is no part of it (`given_of`).

    Raises:
        ValueError: attention outside the middle, which the format has under other names.
    """
    if any(len(level.attn) for level in module.encoder.down):
        raise ValueError("this autoencoder has attention outside its middle, which published names here have not")
    levels = len(module.decoder.up)
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if name not in ("latent_mean", "latent_std"):
            state.update(_their_names(name, value, levels))
    return state


THEIRS = (  # ours, and theirs: the way back of `RENAMED`
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
)


def _their_names(name: str, value: Tensor, levels: int) -> dict[str, Tensor]:
    if match := re.match(r"decoder\.up\.(\d+)\.(block|upsample)\.", name):
        part = "resnets" if match[2] == "block" else "upsamplers.0"
        name = f"decoder.up_blocks.{levels - 1 - int(match[1])}.{part}.{name[match.end() :]}"
    if match := re.match(r"(encoder|decoder)\.mid\.attn_1\.qkv\.(weight|bias)", name):
        below, parts = f"{match[1]}.mid_block.attentions.0", zip(QUERY_KEY_VALUE[0], value.chunk(3), strict=True)
        return {f"{below}.{word}.{match[2]}": part.flatten(1) if part.ndim > 1 else part for word, part in parts}
    for pattern, replacement in THEIRS:
        name = re.sub(pattern, replacement, name)
    return {name: value.flatten(1) if name.endswith(".to_out.0.weight") else value}


def given_of(module: KLTokenizer) -> Given:
    """What no shape tells of it."""
    return Given(
        norm_groups=module.norm_groups,
        resolution=module.image_size,
        latent_mean=tuple(module.latent_mean.tolist()),
        latent_std=tuple(module.latent_std.tolist()),
    )
