"""What is done on the hollow device, in a process of its own: `python -m tests.hollow.scenes NAME ...` prints JSON."""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import torch

from tests.families.test_var_sizes import published
from var_scaling.planning import estimate
from var_scaling.planning.trial import TrialConfig
from var_scaling.training.device import choose_device
from var_scaling.training.state import State, fresh_state
from var_scaling.training.step import Batch, train_step

DEVICE = choose_device("cuda")


def trial(depth: int, precision: str = "float32", images: int = 32, **train: Any) -> TrialConfig:
    """A model of the paper's sizes, as its resolved config would have it."""
    config = TrialConfig().model_copy(update={"model": published(depth)})
    changed = {"precision": precision, "batch_size": images, "learning_rate": 1e-4, "weight_decay": 0.05, **train}
    execution = config.execution.model_copy(update={"micro_batch": images})
    return config.model_copy(update={"train": config.train.model_copy(update=changed), "execution": execution})


def batch_of(config: TrialConfig) -> Batch:
    """A batch whose content is nobody's business."""
    model, count = config.model, config.train.batch_size
    tokens = model.tokens_per_image
    return Batch(
        torch.zeros(count, dtype=torch.long, device=DEVICE),
        torch.zeros(count, tokens, dtype=torch.long, device=DEVICE),
        torch.zeros(count, tokens - model.patch_nums[0] ** 2, model.latent_dim, device=DEVICE),
        torch.ones(2 * model.depth, count, device=DEVICE),
    )


def stepped(config: TrialConfig) -> State:
    state = fresh_state(config, DEVICE)
    train_step(state, batch_of(config), config, (1e-4, 0.05))
    return state


def kernels() -> dict[str, int]:
    """Launches by the kernel's name, since the process began."""
    library = ctypes.CDLL("libcuda.so.1")
    at, name, launches = ctypes.c_int(), ctypes.c_char_p(), ctypes.c_long()
    found = {}
    while library.hollow_kernels(ctypes.byref(at), ctypes.byref(name), ctypes.byref(launches)):
        found[(name.value or b"").decode()] = launches.value
    return found


def memory(depth: str, precision: str, images: str) -> dict[str, Any]:
    """Peak of one step, beside the plan's."""
    config = trial(int(depth), precision, int(images))
    state = stepped(config)
    return {
        "peak": torch.cuda.max_memory_allocated(),
        "planned": estimate.state_bytes(config) + estimate.activation_bytes(config, int(images)),
        "between": torch.cuda.memory_allocated() if state else 0,
        "state": estimate.state_bytes(config),
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
