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
from safetensors.torch import load_file
from torch import Tensor

from var_scaling.errors import RequestProblem
from var_scaling.state_dicts import StateDict, count, fit, locate, nearest
from var_scaling.tokenizers.kl.config import F8_SCALE
from var_scaling.tokenizers.kl.model import KLTokenizer

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
SIZE_GIVERS = {
    "encoder.conv_in.weight": 4,
    "encoder.down_blocks.0.resnets.0.conv1.weight": 4,
    "encoder.conv_out.weight": 4,
    "decoder.conv_in.weight": 4,
}
QUERY_KEY_VALUE = (("to_q", "to_k", "to_v"), ("query", "key", "value"))  # today's names, and those of older files


def load_kl_tokenizer(state_dict: Mapping[str, Any], resolution: int, scale: float = F8_SCALE) -> KLTokenizer:
    """A published autoencoder as a tokenizer in evaluation mode.

    Args:
        state_dict: diffusers' names and shapes, sizes are read from the shapes; where they may lie, see
            `state_dicts.locate`.
        resolution: side in pixels of the images that it will see; convolutions fit any multiple of their downsampling.
        scale: the factor on latents that the published model was used with.

    Raises:
        ValueError: names or shapes that differ, all listed; or a resolution that does not divide.
    """
    state = locate(state_dict, SIZE_GIVERS, "a KL autoencoder")
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
    downsampling = 2 ** (levels - 1)
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
        variances=state["encoder.conv_out.weight"].shape[0] == 2 * latent_channels,
        outer_convolutions="quant_conv.weight" in state,
    )
    model.set_scale(scale)
    kept = {"latent_mean": model.latent_mean, "latent_std": model.latent_std}
    return fit(model, {**our_names(state), **kept}, "KL autoencoder")


def read_kl_tokenizer(path: Path, resolution: int, scale: float = F8_SCALE) -> KLTokenizer:
    """The same from a file, `diffusion_pytorch_model.safetensors` of a published autoencoder.

    Raises:
        RequestProblem: it is no such file.
    """
    try:
        return load_kl_tokenizer(load_file(path), resolution, scale)
    except (OSError, ValueError) as problem:
        raise RequestProblem(f"{path} cannot be read as a KL autoencoder: {problem}") from None
    except Exception as problem:  # safetensors' own error has no public base
        raise RequestProblem(f"{path} is no file of safetensors: {problem}") from None


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
