"""Every family by name: ours, and those that installed packages offer. Torch-free.

A package offers one by an entry point:

    [project.entry-points."var_scaling.families"]
    unigram = "my_package.unigram:FAMILY"
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from var_scaling.families.base import Family, FamilyModel, ModelConfig
from var_scaling.runs.columns import COLUMNS, described

OURS = ("var", "raster", "dit")  # a line a family: the name of its folder
GROUP = "var_scaling.families"


@lru_cache(maxsize=1)
def families() -> Mapping[str, Family]:
    """Families that can be used here, by name; the first is the default."""
    return _load()[0]


def broken() -> Mapping[str, str]:
    """Families that an installed package offers and that cannot be used, each with the reason."""
    return _load()[1]


@lru_cache(maxsize=1)
def _load() -> tuple[dict[str, Family], dict[str, str]]:
    found: dict[str, Family] = {name: importlib.import_module(f"var_scaling.families.{name}").FAMILY for name in OURS}
    failed: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist else point.value
        if point.name in found:
            failed[point.name] = f"the package {package} offers a family of that name, which is taken"
            continue
        try:
            family = point.load()
            if family.name != point.name or not issubclass(family.config, ModelConfig):
                raise TypeError(f"{point.value} is no families.base.Family of that name")
            found[point.name] = family
        except Exception as error:  # somebody else's package may raise anything: it must not take ours down
            failed[point.name] = f"the package {package} offers it, but {type(error).__name__}: {error}"
    return found, failed


def columns_of_families() -> dict[str, list[dict[str, Any]]]:
    """What a row of each family is made of (`runs/columns.json`); its first loss is its headline."""
    return {name: described((*COLUMNS, *family.own_columns, *family.losses)) for name, family in families().items()}


def family_of(model: ModelConfig) -> Family:
    """The family of a model's config."""
    return families()[model.family]


def torch_half(family: Family) -> FamilyModel:
    """The half that builds, trains and samples; imports torch."""
    module: Any = importlib.import_module(family.module)
    return module  # type: ignore[no-any-return]


def model_of(model: ModelConfig) -> FamilyModel:
    """The torch half of a model's family."""
    return torch_half(family_of(model))


def unknown_family(name: object) -> str:
    """Why a name is no family here, and what is."""
    if reason := broken().get(str(name)):
        return f"family {name!r} cannot be used: {reason}; mend or reinstall that package"
    close = difflib.get_close_matches(str(name), families(), n=1, cutoff=0.5)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    return (
        f"{name!r} is no family here{hint}; families: {', '.join(families())} "
        f"(a package offers more by the entry-point group {GROUP})"
    )
