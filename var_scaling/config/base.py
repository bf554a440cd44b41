"""What every config model shares: frozen, strict, no unknown keys, and a marker for fields added later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen pydantic model that takes no unknown key and converts nothing but lists to tuples (see `yaml.load`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @property
    def unhashed(self) -> frozenset[str]:
        """Fields of this very value that are no identity, beside those that hold their neutral value."""
        return frozenset()


@dataclass(frozen=True)
class Neutral:
    """Marks an identity field added after the first release: `Annotated[int, Neutral(0)]`.

    The value is the behaviour before the field existed and is fixed for ever; a field that holds it is left out of
    the hash, so that a new field renames no finished trial (`planning.identity`).
    """

    value: Any
