"""What is done on the hollow device, in a process of its own: `python -m tests.hollow.scenes NAME ...` prints JSON."""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.attention import SDPBackend

from tests.support.configs import published_var
from var_scaling.families.registry import model_of
from var_scaling.planning import estimate
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.training import state as states
from var_scaling.training.device import choose_device
from var_scaling.training.state import State, fresh_state
from var_scaling.training.step import draw_batch, train_step

DEVICE = choose_device("cuda")
RATES = (1e-4, 0.05)


def trial(depth: int, precision: str = "float32", images: int = 32, recompute: str = "off") -> TrialConfig:
    """A model of the paper's sizes in a resolved config."""
    config = resolve(TrialConfig())
    train = config.train.model_copy(update={"precision": precision, "batch_size": images})
    execution = config.execution.model_copy(update={"micro_batch": images, "recompute": recompute})
    return config.model_copy(update={"model": published_var(depth), "train": train, "execution": execution})


class Cache:
    """A latent cache whose content is nobody's business."""

    def __init__(self, config: TrialConfig) -> None:
        self.model = config.model

    def batch(self, items: Any, views: Any, names: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        tokens, first = self.model.tokens_per_image, self.model.patch_nums[0] ** 2
        labels, tokens_BL = torch.zeros(len(items), dtype=torch.long), torch.zeros(len(items), tokens, dtype=torch.long)
        features = torch.zeros(len(items), tokens - first, self.model.latent_dim)
        return labels, {"tokens": tokens_BL, "features": features}


def stepped(config: TrialConfig, steps: int = 2) -> State:
    """A state after some steps; from the second on the moments are there while activations are."""
    state, cache = fresh_state(config, DEVICE), Cache(config)
    for _ in range(steps):
        train_step(state, draw_batch(config, cache, state.images, DEVICE), config, RATES)
    return state


def kernels() -> dict[str, int]:
    """Launches by the kernel's name, since the process began."""
    library = ctypes.CDLL("libcuda.so.1")
    at, name, launches = ctypes.c_int(), ctypes.c_char_p(), ctypes.c_long()
    found = {}
    while library.hollow_kernels(ctypes.byref(at), ctypes.byref(name), ctypes.byref(launches)):
        found[(name.value or b"").decode()] = launches.value
    return found


def counter(name: str) -> int:
    return int(ctypes.CDLL("libcuda.so.1").hollow_counter(name.encode()))


def memory(depth: str, precision: str, images: str, recompute: str = "off") -> dict[str, Any]:
    """Peak of a step, beside the plan's."""
    config = trial(int(depth), precision, int(images), recompute)

    def empty(config: TrialConfig) -> torch.nn.Module:
        """Built where no tensor has values: two thousand million random numbers take half a minute."""
        with torch.device("meta"):
            return model_of(config.model).build(config.model).to_empty(device=DEVICE)

    with patch.object(states, "fresh_model", empty):
        state = stepped(config)
    peak = torch.cuda.max_memory_allocated()
    torch._C._cuda_clearCublasWorkspaces()  # tens of megabytes whatever the model: as much as a small one
    return {
        "peak": peak,
        "planned": estimate.state_bytes(config) + estimate.activation_bytes(config, int(images)),
        "between": torch.cuda.memory_allocated() if state else 0,
        "state": estimate.state_bytes(config),
    }


def step(precision: str) -> dict[str, Any]:
    """What a step waits for, launches and holds."""
    config = trial(2, precision, 4)
    state, cache = stepped(config, 1), Cache(config)
    before = counter("n_h2d_pageable")
    torch.cuda.set_sync_debug_mode("error")
    batch = draw_batch(config, cache, state.images, DEVICE)
    loss, norm = train_step(state, batch, config, RATES)
    torch.cuda.set_sync_debug_mode("default")
    pageable = counter("n_h2d_pageable") - before
    del batch
    held = torch.cuda.memory_allocated()
    moments = {name: str(value.dtype) for m in state.optimizer.state.values() for name, value in m.items()}
    saved, images = state.dump(), state.images
    state.restart(config)
    restarted = state.images, len(state.optimizer.state)
    state.load(saved)
    del saved
    return {
        "pageable": pageable,
        "loss": [str(loss.device), str(loss.dtype)],
        "norm": str(norm.device),
        "moments": moments,
        "attention": sorted({w for name in kernels() for w in ("flash_fwd", "flash_bwd", "fmha_cutlass") if w in name}),
        "restarted": restarted,
        "again": state.images == images,
        "grown": torch.cuda.memory_allocated() - held,
    }


def attention() -> dict[str, list[str]]:
    """Which kernel torch takes for each scale of the paper's pyramid, as the project has set it and as torch would."""
    sides = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    torch.backends.cudnn.enabled = True  # asked about, not run
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        for who in ("ours", "torch"):
            torch.backends.cuda.enable_cudnn_sdp(who == "torch")
            chosen, end = [], 0
            for side in sides:
                end += side * side
                q = torch.empty(2, side * side, 16, 64, device=DEVICE, dtype=dtype, requires_grad=True).transpose(1, 2)
                k = torch.empty(2, end, 16, 64, device=DEVICE, dtype=dtype, requires_grad=True).transpose(1, 2)
                chosen.append(SDPBackend(torch._fused_sdp_choice(q, k, k)).name.partition("_")[0])
            found[f"{dtype} {who}"] = chosen
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
