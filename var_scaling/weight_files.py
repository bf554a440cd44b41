"""Files of weights: read without running anything in them, whatever they are; written under the names asked for.

What no shape tells (scale list, heads, groups of norms) stands in the metadata of files that this project writes.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.state_dicts import Given, given_of

PICKLED, SAFETENSORS, ARRAYS = (".pth", ".pt", ".ckpt", ".bin"), (".safetensors",), (".npz",)
SUFFIXES = (*PICKLED, *SAFETENSORS, *ARRAYS)
KEY = "var_scaling"  # of what stands in a file's metadata


def read_weights(path: Path) -> tuple[Mapping[str, Any], Given]:
    """What lies in a file, on the CPU, and what its metadata say.

    Args:
        path: .pth (.pt, .ckpt, .bin), .safetensors or .npz.

    Returns:
        The mapping in it: tensors or arrays by name, perhaps below other keys (`state_dicts.locate`).

    Raises:
        RequestProblem: no file of weights, cut short, or one that would have to run code to be read.
        EnvironmentProblem: it is not there, or cannot be opened.
    """
    if path.suffix.lower() not in SUFFIXES:
        suffix = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise RequestProblem(f"{path} has {suffix}; weights are read from {', '.join(SUFFIXES)}")
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise RequestProblem(f"{path} is a folder; name the file of weights in it")
        if path.suffix.lower() in SAFETENSORS:
            return _safetensors(path)
        if path.suffix.lower() in ARRAYS:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}, Given()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write; they are refused
            return torch.load(path, map_location="cpu", weights_only=True), Given()
    except FileNotFoundError:
        raise EnvironmentProblem(f"{path} is not there; give the path of a file of weights") from None
    except PermissionError:
        raise EnvironmentProblem(f"{path} cannot be read: permission denied; mend that, or copy it") from None
    except pickle.UnpicklingError as problem:
        raise RequestProblem(_refused(path, str(problem), size)) from None
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, zipfile.BadZipFile, SafetensorError) as problem:
        if "allow_pickle" in str(problem):
            raise RequestProblem(
                f"{path} holds pickled objects, which are not read, for they could run code; save plain arrays"
            ) from None
        raise RequestProblem(_damaged(path, str(problem), size)) from None


def _safetensors(path: Path) -> tuple[Mapping[str, Any], Given]:
    with safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get(KEY, "{}")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return weights, given_of(json.loads(said))


def _refused(path: Path, problem: str, size: int) -> str:
    """Why torch would not load a pickle: what it asks for, or that it is none."""
    if found := re.search(r"GLOBAL (\S+)", problem) or re.search(r"Unsupported (?:class|global)[:\s]+(\S+)", problem):
        return (
            f"{path} asks for {found[1].rstrip('.')}, which is no tensor: to read it would run code from the file, so "
            "it was not read. Where you trust it, save its tensors alone: "
            "torch.save({name: value for name, value in model.state_dict().items()}, ...), or as .safetensors"
        )
    return _damaged(path, problem, size)


def _damaged(path: Path, problem: str, size: int) -> str:
    first = next(iter(problem.strip().splitlines()), "nothing in it")
    return (
        f"{path} ({size:,} bytes) is cut short or no file of weights ({first[:120].rstrip('. ')}); compare its size "
        "with the original's, and copy it again"
    )


def write_weights(path: Path, state: Mapping[str, Tensor], given: Given) -> None:
    """Write tensors as .safetensors, with what no shape tells in its metadata, or as .pth, which has no such place.

    Raises:
        RequestProblem: another suffix.
        OSError: it cannot be written.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    partial = path.with_name(f".{path.name}.partial")
    if path.suffix.lower() in SAFETENSORS:
        from safetensors.torch import save_file

        partial.touch()
        mode = partial.stat().st_mode & 0o777
        metadata = {"format": "pt", KEY: json.dumps(given.as_dict())}
        save_file({name: value.clone() for name, value in plain.items()}, partial, metadata)
        partial.chmod(mode)
    elif path.suffix.lower() in PICKLED:
        torch.save(plain, partial)
    else:
        raise RequestProblem(f"--out {path}: weights are written as .safetensors or .pth; end its name in one of them")
    partial.replace(path)
