"""Every family by name: ours, and those that installed packages offer (`runs.offered`). Torch-free."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint
from typing import Any

from var_scaling.families.base import Family, FamilyModel, ModelConfig, SamplerConfig
from var_scaling.runs import offered
from var_scaling.runs.columns import COLUMNS, described

OURS = ("var", "raster", "dit")  # a line a family: the name of its folder


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
    points = offered.points()
    times = Counter(point.name for point in points)
    for point in points:
        package = point.dist.name if point.dist else point.value
        if times[point.name] > 1:
            named = sorted({other.dist.name for other in points if other.name == point.name and other.dist})
            failed[point.name] = f"several packages offer one of that name ({', '.join(named)})"
            continue
        try:
            if point.name in OURS:
                raise TypeError("that name is taken by one of ours")
            family = point.load()
            _check(family, point)
            found[point.name] = family
        except (Exception, SystemExit) as error:  # somebody else's package may do anything: it must not take ours down
            failed[point.name] = f"the package {package} offers it, but {type(error).__name__}: {error}"
    return found, failed


def columns_of_families() -> dict[str, list[dict[str, Any]]]:
    """What a row of each family is made of (`runs/columns.json`); its first loss is its headline."""
    return {name: described((*COLUMNS, *family.own_columns, *family.losses)) for name, family in families().items()}


def _check(family: Any, point: EntryPoint) -> None:
    """What can be known of another's family before anything is trained with it.

    Raises:
        TypeError: it is none, or not all of it would be frozen with a launch.
        ImportError: its torch half is not there.
    """
    wanted = (name for name in vars(Family) if not name.startswith("_"))
    if absent := sorted(name for name in wanted if not hasattr(family, name)):
        raise TypeError(f"{point.value} is no `families.base.Family`: it has no {', '.join(absent)}")
    if family.name != point.name:
        raise TypeError(f"{point.value} is named {family.name!r}, and its entry point {point.name!r}")
    for value, base in ((family.config, ModelConfig), (family.sampler, SamplerConfig)):
        if not (isinstance(value, type) and issubclass(value, base)):
            raise TypeError(f"{value!r} of {point.value} is no `families.base.{base.__name__}`")
    if family.config.model_validate({}).family != family.name:  # every field has a default: `None` is derived
        raise TypeError(f"`family` of {family.config!r} is not {family.name!r} by default")
    if importlib.util.find_spec(family.module) is None:
        raise ImportError(f"its torch half {family.module} is not there")
    homes = {place and place[0] for place in map(offered.root, (point.module, "var_scaling"))}
    if (place := offered.root(family.module)) is None or place[0] not in homes:
        raise TypeError(f"its torch half {family.module} is in another package, which a launch would not freeze")


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
        f"(a package offers more by the entry-point group {offered.GROUP})"
    )
