"""Refusals and notes: what the data cannot carry, and what they barely carry.

Both have a stable ``code``, the ``number`` that triggered them and a sentence for people. A refusal is raised
(:class:`CannotFit`), a note travels with the law (:class:`Note`) and is repeated on tables and figures. One code may be
either, by degree: four sizes for three parameters are a note, three are a refusal. A request that no data could meet is
a :class:`BadRequest`.
"""

from __future__ import annotations

from dataclasses import dataclass

CODES: dict[str, str] = {
    "too_few_sizes": "fewer distinct sizes than parameters + 1 (a note at exactly one degree of freedom)",
    "not_positive": "a value that has to be above zero is not",
    "not_finite": "a value is missing, infinite or not a number",
    "loss_rises": "the loss rises where the law says that it falls",
    "offset_too_high": "the fixed offset is at or above the smallest loss",
    "edge_minimum": "an isoFLOP minimum lies at the edge of the sampled sizes",
    "opens_down": "an isoFLOP parabola opens downwards: its stationary point is a maximum",
    "one_ray": "all runs lie on one curve in (N, D), so their effects cannot be told apart",
    "flat_profile": "the profile likelihood does not close within the bounds: the interval is one-sided",
    "at_bound": "a coefficient sits on its bound, or ran towards infinity",
    "not_converged": "the optimizer could not certify a minimum",
    "outliers": "rows whose residual is far beyond the others'",
    "extrapolation": "a prediction beyond a stated factor of the fitted range",
    "mixed_conventions": "rows that count parameters, compute, data or features in different ways",
    "recipe_moves": "hyper-parameters that move with the size of the model",
    "rows_left_out": "diverged, failed or unfinished trials that the fit does not contain",
    "pinned": "coefficients that were given and not fitted: intervals are conditional on them",
    "no_collapse": "normalised training curves that do not fall on one another",
}


class BadRequest(ValueError):
    """What was asked for cannot be: a column, a depth, an amount, a file. Any other ValueError is a fault of ours."""


class NotThere(BadRequest, FileNotFoundError):
    """A path or a sweep that was named, or is taken where none is, does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Note:
    """Something the reader of a law has to know.

    Attributes:
        code: stable name, one of :data:`CODES`.
        sentence: for people; holds the value, the rule and the way out.
        number: the number that triggered it.
        rows: positions of the rows concerned, where rows are concerned.
        quiet: said once, in tables and laws.json, and not repeated on every figure: what is by design.
    """

    code: str
    sentence: str
    number: float | None = None
    rows: tuple[int, ...] = ()
    quiet: bool = False

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return {"code": self.code, "number": self.number, "sentence": self.sentence, "rows": list(self.rows)}


class CannotFit(ValueError):
    """The data cannot carry the fit.

    Attributes:
        code: stable name, one of :data:`CODES`.
        number: the number that triggered the refusal.
        rows: positions of the offending rows, where single rows are to blame.
    """

    def __init__(self, code: str, sentence: str, number: float | None = None, rows: tuple[int, ...] = ()):
        assert code in CODES, code
        super().__init__(sentence)
        self.code = code
        self.number = None if number is None else float(number)
        self.rows = tuple(int(row) for row in rows)

    def __reduce__(self) -> tuple:
        return CannotFit, (self.code, self.sentence, self.number, self.rows)

    @property
    def sentence(self) -> str:
        """The sentence alone."""
        return str(self.args[0])

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return {"code": self.code, "number": self.number, "sentence": self.sentence, "rows": list(self.rows)}
