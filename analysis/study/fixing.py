"""Which of a study's laws take a given coefficient: `alpha` of the laws it can mean, `FORM.alpha` of one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.errors import BadRequest
from analysis.laws.coupled import COUPLED
from analysis.laws.form import Form
from analysis.laws.plane import CHINCHILLA, REPEATED
from analysis.laws.power import OFFSET, PLAIN
from analysis.laws.saturating import GIVEN_LOSS, SATURATING
from analysis.laws.tied import TIED

PLANE = ("E", "A", "B", "alpha", "beta")
COEFFICIENTS: dict[str, tuple[Form, tuple[str, ...]]] = {
    "power": (PLAIN, ("alpha", "beta")),
    "offset": (OFFSET, ("E", "alpha", "beta")),
    "saturating": (SATURATING, ("floor", "alpha", "beta")),
    "chinchilla": (CHINCHILLA, PLANE),
    "tied": (TIED, ("E", "a", "b", "eta")),
    "coupled": (COUPLED, (*PLANE, "p", "q")),
    "repeated": (REPEATED, (*PLANE, "R")),
    "fid": (GIVEN_LOSS, ("floor", "scale", "rate")),
}
JOINT = ("chinchilla", "tied", "coupled", "repeated")


@dataclass(frozen=True)
class Fixed:
    """What is given, by name or by FORM.name.

    A name alone means the laws in size and data where the rows have both, since E and the exponents of a law at one
    budget are others; and every law that has it where they have not. Of a law in one variable `beta` is a scale, and
    its form has to be named.

    Attributes:
        given: name -> value.
        joint: whether the rows carry laws in size and data.
    """

    given: Mapping[str, float] = field(default_factory=dict)
    joint: bool = False

    def of(self, form: Form) -> dict[str, float]:
        """What this form takes."""
        word = next((word for word, (own, _) in COEFFICIENTS.items() if own == form), None)
        return {} if word is None else self._of(word)

    def _of(self, word: str) -> dict[str, float]:
        names = COEFFICIENTS[word][1]
        plain = {} if self.joint != (word in JOINT) else {k: v for k, v in self.given.items() if k in names}
        if word not in JOINT:
            plain.pop("beta", None)
        own = {name: self.given[f"{word}.{name}"] for name in names if f"{word}.{name}" in self.given}
        return plain | own

    def check(self) -> None:
        """Raise BadRequest for a name that no law here takes."""
        taken: set[str] = set()
        for word, (_, names) in COEFFICIENTS.items():
            taken |= {f"{word}.{name}" for name in names} | set(self._of(word))
        strange = [name for name in self.given if name not in taken]
        if not strange:
            return
        here = JOINT if self.joint else tuple(word for word in COEFFICIENTS if word not in JOINT)
        told = "; ".join(f"{word}: {', '.join(COEFFICIENTS[word][1])}" for word in here)
        raise BadRequest(
            f"no law of these rows has a coefficient {strange[0]!r} to fix; there are {told}; write FORM.NAME to mean "
            "one form's alone"
        )


def read_fixes(texts: list[str]) -> dict[str, float]:
    """`alpha=0.34` and `chinchilla.E=1.69` as they are written on a command line.

    Raises:
        BadRequest: no name, no number, or one name twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, sign, number = text.partition("=")
        name = name.strip()
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not (name and sign and value == value):
            raise BadRequest(f"--fix {text!r}; write NAME=NUMBER, such as alpha=0.34 or chinchilla.E=1.69")
        if name in found:
            raise BadRequest(f"--fix names {name} twice: {found[name]:g} and {value:g}")
        found[name] = value
    return found
