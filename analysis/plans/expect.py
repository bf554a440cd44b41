"""Whether a loss is normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import BadRequest
from analysis.plans.predict import Prediction, predict_run
from analysis.study.record import StudyLaws


@dataclass(frozen=True)
class Expectation:
    """Whether a loss is normal.

    Attributes:
        prediction: the law's answer for that size and number of images.
        measured: the loss asked about, or None.
        verdict: "normal", "higher than expected", "lower than expected", or "" without a measurement.
        deviation: measured minus predicted in standard deviations of a new run, or None.
    """

    prediction: Prediction
    measured: float | None
    verdict: str
    deviation: float | None


def expect(
    study: StudyLaws, target: str, params: float, images: float | None = None, measured: float | None = None
) -> Expectation:
    """The law's expectation of a run, and a verdict on a measured value; arguments as :func:`predict_run`.

    Raises:
        CannotFit: no law can answer.
        ValueError: a measured value that is not positive.
    """
    prediction = predict_run(study, target, params, images)
    if measured is None:
        return Expectation(prediction, None, "", None)
    if not np.isfinite(measured) or measured <= 0:
        raise BadRequest(f"the measured value is {measured}; give a positive number")
    limit = prediction.high if measured > prediction.value else prediction.low  # of its own side: they may differ
    with np.errstate(divide="ignore"):
        spread = abs(np.log(limit / prediction.value)) / 1.959964
    deviation = float(np.log(measured / prediction.value) / spread) if spread > 0 else float("inf")
    verdict = "normal"
    if measured > prediction.high:
        verdict = "higher than expected"
    elif measured < prediction.low:
        verdict = "lower than expected"
    return Expectation(prediction, measured, verdict, deviation)
