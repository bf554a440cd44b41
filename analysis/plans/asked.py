"""What a :class:`analysis.plans.designer.Designer` is given, checked: forms, costs, names of groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.errors import BadRequest
from analysis.plans.shapes import FORMS


def known_forms(forms: Sequence[str]) -> tuple[str, ...]:
    forms = (forms,) if isinstance(forms, str) else tuple(forms)
    strange = [form for form in forms if form not in FORMS]
    if strange or not forms or len(set(forms)) < len(forms):
        raise BadRequest(f"forms is {forms!r}; name one or more of {', '.join(FORMS)}, each once")
    return forms


def costs(candidates: pd.DataFrame, cost) -> np.ndarray:
    if isinstance(cost, str):
        if cost not in candidates:
            have = ", ".join(map(str, candidates))
            raise BadRequest(f"the candidates have no column {cost!r} of costs; they have {have}")
        cost = candidates[cost]
    elif isinstance(cost, pd.Series) and len(cost) == len(candidates) and set(cost.index) == set(candidates.index):
        cost = cost.reindex(candidates.index)
    values = np.asarray(cost, float)
    if values.shape != (len(candidates),):
        raise BadRequest(f"{values.size} costs for {len(candidates)} candidates; give one each, or a column's name")
    if not (np.isfinite(values) & (values > 0)).all():
        bad = candidates.index[~(np.isfinite(values) & (values > 0))][0]
        raise BadRequest(
            f"the cost of candidate {bad!r} is not a positive number; what costs nothing is told, not asked"
        )
    return values


def group_names(table: pd.DataFrame, groups: str | None, which: str) -> np.ndarray:
    if groups is None:
        return np.zeros(len(table), int)
    if groups not in table:
        raise BadRequest(f"the {which} have no column {groups!r} that names each row's group")
    return table[groups].to_numpy()
