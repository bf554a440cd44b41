"""Libraries that the base install leaves out, by the extra of pyproject.toml that brings them."""

from __future__ import annotations

import importlib.util

from var_scaling.errors import EnvironmentProblem

EXTRAS = {
    "train": ("torch", "torchvision", "torch_fidelity", "lpips", "safetensors"),
    "mlflow": ("mlflow", "requests"),
    "slurm": ("submitit",),
    "ray": ("ray",),
}


def need(*extras: str) -> None:
    """Look for what a command will use before it starts anything; imports nothing.

    Raises:
        EnvironmentProblem: libraries of these extras are not installed.
    """
    if words := missing(*extras):
        raise EnvironmentProblem(words)


def missing(*extras: str) -> str:
    """What is not installed of these extras, and how to get it; empty where all is there."""
    absent = {extra: [name for name in EXTRAS[extra] if not _installed(name)] for extra in extras}
    wanted = [extra for extra in extras if absent[extra]]
    return _sentence([name for extra in wanted for name in absent[extra]], wanted) if wanted else ""


def of_import(error: BaseException) -> str:
    """The same about a failed import; empty where it is not for want of an extra."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    top = (module or "").partition(".")[0]
    return next((_sentence([top], [extra]) for extra, names in EXTRAS.items() if top in names), "")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _sentence(names: list[str], extras: list[str]) -> str:
    wanted = ",".join(extras)
    return (
        f"this needs {', '.join(names)}, not installed here: pip install 'var-scaling[{wanted}]' "
        f"(in a checkout: pip install --editable '.[{wanted}]')"
    )
