"""What a column of a row is: its name, unit and part, said once and written beside the rows for whoever reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["identity", "size", "compute", "loss", "recipe", "provenance"]


@dataclass(frozen=True)
class Column:
    """One column.

    A `loss` column may be fitted, and compared between rows whose `comparable` columns are equal; no other two share an
    axis, a table or a fit.
    """

    name: str
    unit: str
    part: Part
    means: str
    comparable: tuple[str, ...] = ()
