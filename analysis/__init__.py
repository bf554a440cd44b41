"""Records -> tables -> fits -> figures: scaling laws with honest intervals, for any table of sizes and losses.

Knows pandas, scipy and matplotlib; never torch and never var_scaling. Names load on first use, so that
``import analysis`` stays fast on a login node.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "load_runs": "load",
    "newest_sweep": "load",
    "CannotFit": "errors",
    "Note": "errors",
    "CODES": "errors",
    "fit_power_law": "power",
    "PowerLaw": "power",
    "fit_chinchilla": "parametric",
    "fit_repeated": "parametric",
    "fit_tied": "tied",
    "ParametricLaw": "law",
    "fit_isoflop": "isoflop",
    "IsoFlop": "isoflop",
    "frontier": "compute_frontier",
    "fit_saturating": "saturating",
    "fit_fid_given_loss": "saturating",
    "fit_study": "study",
    "StudyLaws": "record",
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
