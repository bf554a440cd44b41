"""A law as plain types, for laws.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.laws.law import Law


def document_of(law: Law, intervals: bool = True, level: float = 0.95) -> dict:
    """Plain types, for laws.json."""
    names = law.estimator.natural(law.estimator.theta[None])
    result = {
        "form": law.form,
        "coefficients": dict(law.coefficients),
        "given": list(law.given),
        "objective": law.objective,
        "objective_definition": law.objective_definition,
        "rows_used": law.rows_used,
        "sizes": law.sizes,
        "freedom": law.freedom,
        "inputs": list(law.inputs),
        "ranges": [list(pair) for pair in law.ranges],
        "conventions": dict(law.conventions),
        "notes": [note.as_dict() for note in law.notes],
        "derived": {name: float(value[0]) for name, value in names.items() if name not in law.coefficients},
        "certificate": law.certificate.__dict__ | {},
        "rows_left_out": [list(pair) for pair in law.rows_left_out],
    }
    if intervals:
        result["level"] = level
        result["intervals"] = {name: list(law.interval(name, level)) for name in names}
        result["interval_method"] = law.unit_sentence
        result["pooled_noise"] = list(law.pooled) if law.borrows_noise else None
        result["resamples"] = {"asked": law.draws().asked, "failed": law.draws().failed}
        result["noise"] = law.noise
        covariance = law.covariance
        result["covariance"] = {"names": list(covariance), "values": covariance.to_numpy().tolist()}
    return result
