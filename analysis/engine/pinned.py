"""Sums of power laws some of whose coefficients are given: the same predictions on what is left to fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from analysis.engine.estimators import NewtonEstimator
from analysis.engine.subspace import Equation, Subspace, subspace
from analysis.engine.terms import Evaluation


@dataclass(frozen=True)
class PinnedTerms:
    """The terms of a form under equations; parameters are coordinates of :class:`Subspace`.

    Attributes:
        form: terms as :class:`analysis.engine.terms.PowerTerms`, with all their parameters.
        equations: in the parameters of `form`; each within one term.
        offset: whether a floor is fitted: False where it is given, where `form` has none, or where it is 0.
    """

    form: Any
    equations: tuple[Equation, ...]
    offset: bool

    @cached_property
    def floor_given(self) -> bool:
        """Whether an equation says what E is."""
        return self.form.offset and any(vector[0] for vector, _ in self.equations)

    @cached_property
    def inner(self) -> Any:
        """The form's terms as they are evaluated: without a floor where it is 0 and not given."""
        return self.form if self.offset or self.floor_given else replace(self.form, offset=False)

    @cached_property
    def space(self) -> Subspace:
        """Of the parameters of `inner`."""
        whole = subspace(self.equations, self.form.parameters)
        return whole if self.inner.parameters == self.form.parameters else whole.without_first()

    @cached_property
    def term_of(self) -> tuple[int, ...]:
        """The term that each coordinate belongs to."""
        return tuple(self.inner.term_of[int(np.argmax(np.abs(column)))] for column in self.space.basis.T)

    @property
    def parameters(self) -> int:
        """How many are left to fit."""
        return self.space.basis.shape[1]

    def evaluate(self, phi: np.ndarray) -> Evaluation:
        """Prediction and derivatives; phi is (S, q)."""
        at, basis = self.inner.evaluate(self.space.whole(phi)), self.space.basis
        columns = [sum(basis[i, k] * at.columns[i] for i in np.flatnonzero(basis[:, k])) for k in range(basis.shape[1])]
        bends: dict[tuple[int, int], np.ndarray] = {}
        for i, j, bend in at.curvature:
            for k in range(basis.shape[1]):
                for l in range(k, basis.shape[1]):
                    share = basis[i, k] * basis[j, l] + (basis[j, k] * basis[i, l] if i != j else 0.0)
                    if share:
                        bends[k, l] = bends.get((k, l), 0.0) + share * bend
        return Evaluation(at.log_prediction, at.shares, columns, [(k, l, bend) for (k, l), bend in bends.items()])


@dataclass(frozen=True, eq=False)
class PinnedEstimator(NewtonEstimator):
    """Refits of what is left; names and predictions are those of the form.

    Attributes:
        named: an estimator of the form itself, for its names.
        given: what is pinned, by name.
    """

    named: NewtonEstimator
    given: tuple[str, ...]

    def whole(self, theta: np.ndarray) -> tuple[NewtonEstimator, np.ndarray]:
        """The form's own estimator, and its parameters at (S, q) coordinates."""
        return replace(self.named, terms=self.terms.inner), self.terms.space.whole(theta)

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Of the form, the given ones among them."""
        form, at = self.whole(theta)
        return form.natural(at)

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        form, at = self.whole(theta)
        return form.predict(at, inputs)
