"""Records -> tables -> fits -> figures: scaling laws with honest intervals, for any table of sizes and losses.

Knows pandas, scipy and matplotlib; never torch and never var_scaling. Names load on first use, so that
``import analysis`` stays fast on a login node.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "load_runs": "rows.load",
    "newest_sweep": "rows.load",
    "CannotFit": "errors",
    "BadRequest": "errors",
    "Note": "errors",
    "CODES": "errors",
    "fit_power_law": "laws.power",
    "PowerLaw": "laws.power",
    "fit_chinchilla": "laws.parametric",
    "fit_repeated": "laws.repeated",
    "fit_tied": "laws.tied",
    "fit_coupled": "laws.coupled",
    "fit_overfit": "laws.overfit",
    "Designer": "plans.designer",
    "ParametricLaw": "laws.law",
    "fit_isoflop": "laws.isoflop",
    "IsoFlop": "laws.isoflop",
    "frontier": "study.frontier",
    "fit_saturating": "laws.saturating",
    "fit_fid_given_loss": "laws.saturating",
    "fit_study": "study.study",
    "StudyLaws": "study.record",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"analysis has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"analysis.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
