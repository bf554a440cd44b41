"""The law of repeated data with a part that rises: what a model loses by learning its few data by heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.engine.terms import Evaluation, RepeatedTerms, _finish


@dataclass(frozen=True)
class OverfitTerms(RepeatedTerms):
    """RepeatedTerms' parts and F (N/U)^kappa epochs^lambda; theta theirs, then (f, kappa, lambda).

    Without F it is the law of repeated data, of which no loss can rise.
    """

    @property
    def term_of(self) -> tuple[int, ...]:
        """The term that each parameter belongs to."""
        own = super().term_of
        return (*own, *[own[-1] + 1] * 3)

    def evaluate(self, theta: np.ndarray) -> Evaluation:
        """Prediction and derivatives; theta is (S, 9), or (S, 8) without an offset."""
        plain = super().evaluate(theta[:, :-3])
        last, kappa, steep = (theta[:, j, None] for j in (-3, -2, -1))
        crowd, passes = self.log_params - self.log_unique, np.log1p(self.extra_epochs)
        exponents = [plain.log_prediction + np.log(np.maximum(share, 1e-300)) for share in plain.shares]
        exponents.append(last + kappa * crowd + steep * passes)
        columns = [*plain.columns, np.ones(len(crowd)), crowd, passes]
        return _finish(exponents, columns, plain.curvature)
