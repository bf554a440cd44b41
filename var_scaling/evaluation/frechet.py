"""Frechet distance between feature sets, corrected for sample size, with an interval; and its relatives.

FID at n samples is biased upwards by far more than its own standard error, about as 1/n. Twice the value at n less the
value at n/2 removes that term, and the influence function gives the error; on classifier, Gaussian and
heavy-tailed features the interval covers 93 to 97 % for n >= 5 d (benchmarks/fid_coverage.py). The interval is
of the generated sample: the reference is taken as it is. What its own size adds is a number of its own
(`reference_bias`), for it is the same in every model that is compared.

Dimension key: n samples, m reference samples, D features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special
import torch
from numpy.typing import NDArray

from var_scaling.config.evaluate import SAMPLES_PER_DIMENSION

Float = NDArray[np.float64]
BLOCK = 4_000  # rows worked on at a time


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D) of a feature set, and how many features they come from."""

    mean: Float
    covariance: Float
    count: int

    @classmethod
    def of(cls, features_nD: NDArray[Any], weights_n: Float | None = None) -> Gaussian:
        """The sample's, with the unbiased covariance; in float64. Equal weights are none."""
        x_nD = np.asarray(features_nD, np.float64)
        if weights_n is None or np.ptp(weights_n) == 0:
            return cls(x_nD.mean(0), np.atleast_2d(np.cov(x_nD, rowvar=False)), len(x_nD))
        covariance = np.atleast_2d(np.cov(x_nD, rowvar=False, aweights=weights_n))
        return cls(np.average(x_nD, axis=0, weights=weights_n), covariance, len(x_nD))


class Moments:
    """Gathers a `Gaussian` batch by batch, in float64, about the first batch's mean (no cancellation)."""

    def __init__(self) -> None:
        self.count, self._origin, self._sum, self._outer = 0, np.zeros(0), np.zeros(0), np.zeros((0, 0))

    def add(self, features_BD: NDArray[Any]) -> None:
        x_BD = np.asarray(features_BD, np.float64)
        if self.count == 0:
            size = x_BD.shape[1]
            self._origin, self._sum, self._outer = x_BD.mean(0), np.zeros(size), np.zeros((size, size))
        x_BD = x_BD - self._origin
        self._sum += x_BD.sum(0)
        self._outer += x_BD.T @ x_BD
        self.count += len(x_BD)

    def gaussian(self) -> Gaussian:
        mean = self._sum / self.count
        covariance = (self._outer - self.count * np.outer(mean, mean)) / max(self.count - 1, 1)
        return Gaussian(self._origin + mean, covariance, self.count)


class Reference:
    """A reference Gaussian with the root of its covariance, which every distance to it needs.

    Raises:
        ValueError: fewer than 5 images a dimension: with 1 a dimension a perfect model's FID was 23 (64 dimensions).
    """

    def __init__(self, gaussian: Gaussian) -> None:
        _enough(gaussian.count, len(gaussian.mean), "reference images")
        self.gaussian = gaussian
        values, vectors = scipy.linalg.eigh(gaussian.covariance)
        self.root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T

    def distance(self, sample: Gaussian) -> float:
        """Frechet distance: |mean difference|^2 + tr(S + R) - 2 tr((R^1/2 S R^1/2)^1/2)."""
        values = scipy.linalg.eigh(self.root @ sample.covariance @ self.root, eigvals_only=True)
        return self._value(sample, values)

    def distance_and_transport(self, sample: Gaussian) -> tuple[float, Float]:
        """The distance, and the optimal-transport matrix T (D, D) from the sample's Gaussian to the reference."""
        values, vectors = scipy.linalg.eigh(self.root @ sample.covariance @ self.root)
        # T = R^1/2 (R^1/2 S R^1/2)^-1/2 R^1/2; directions without any spread are left where they are.
        keep = values > values[-1] * len(values) * np.finfo(float).eps
        side = self.root @ vectors[:, keep]
        return self._value(sample, values), (side / np.sqrt(values[keep])) @ side.T

    def _value(self, sample: Gaussian, values: Float) -> float:
        gap = sample.mean - self.gaussian.mean
        cross = np.sqrt(np.clip(values, 0, None)).sum()
        trace = np.trace(sample.covariance) + np.trace(self.gaussian.covariance)
        return float(gap @ gap + trace - 2 * cross)


def _enough(count: int, size: int, what: str) -> None:
    if count < SAMPLES_PER_DIMENSION * size:
        raise ValueError(
            f"{count} {what} are {count / size:.1f} for each of {size} feature dimensions; below "
            f"{SAMPLES_PER_DIMENSION} a FID and its interval mean nothing: use {SAMPLES_PER_DIMENSION * size} or more"
        )


@dataclass(frozen=True)
class Fid:
    """Raw value at n samples, half-sample corrected value and its 95 % interval."""

    raw: float
    corrected: float
    low: float
    high: float
    samples: int
    samples_per_dimension: float


def frechet(features_nD: NDArray[Any], reference: Reference, strata: NDArray[Any] | None = None) -> Fid:
    """FID of a feature sample against a reference.

    Args:
        features_nD: (n, D).
        reference: what to compare with.
        strata: (n,) the class of each sample, where the classes' shares are fixed: what varies between classes is then
            no sampling error, and counting it would make the interval too wide. The halves have the same shares.
            None: independent draws, in any order.

    Raises:
        ValueError: fewer than 5 samples a dimension, where the interval is known not to cover.

    Source: bias correction and influence function, shared/frontier notes; Chong and Forsyth, arXiv:1911.07023, for the
    1/n law.
    """
    x_nD = np.asarray(features_nD, np.float64)
    count, size = x_nD.shape
    _enough(count, size, "samples")
    sample = Gaussian.of(x_nD)
    raw, transport = reference.distance_and_transport(sample)
    halves = [reference.distance(half) for half in _halves(x_nD, strata)]
    corrected = 2 * raw - sum(halves) / 2
    gap = sample.mean - reference.gaussian.mean
    influence = []
    for start in range(0, count, BLOCK):  # 50,000 Inception features in float64 fill a gigabyte, once
        centred_BD = x_nD[start : start + BLOCK] - sample.mean
        # d FID = 2 (mu - m) d mu + tr((1 - T) d S), seen by one sample.
        influence.append(2 * centred_BD @ gap + (centred_BD**2).sum(1) - ((centred_BD @ transport) * centred_BD).sum(1))
    margin = _margin(np.concatenate(influence), strata)
    return Fid(raw, corrected, corrected - margin, corrected + margin, count, count / size)


def _halves(x_nD: Float, strata: NDArray[Any] | None) -> tuple[Gaussian, Gaussian]:
    """Two halves with the same share of each class as the whole; a class's own order decides within it.

    The middle one of an odd class is in both, and its class's images weigh as much as their share asks for. Where
    classes cycle, these are the first and the second half of the rows.
    """
    count = len(x_nD)
    if strata is None:
        half = count // 2
        return Gaussian.of(x_nD[:half]), Gaussian.of(x_nD[count - half :])
    firsts, seconds, share_n = [], [], np.empty(count)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        half = (len(rows) + 1) // 2
        firsts.append(rows[:half])
        seconds.append(rows[len(rows) - half :])
        share_n[rows] = len(rows) / half
    parts = (np.sort(np.concatenate(rows)) for rows in (firsts, seconds))
    first, second = (Gaussian.of(x_nD[rows], share_n[rows]) for rows in parts)
    return first, second


def _classes(strata: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Rows of each class; classes of a single row, in which nothing can vary, are taken together."""
    classes = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    single = [rows for rows in classes if len(rows) < 2]
    classes = [rows for rows in classes if len(rows) > 1]
    if len(single) == 1 and classes:
        single.append(classes.pop(int(np.argmin([len(rows) for rows in classes]))))
    return classes + ([np.concatenate(single)] if single else [])


def reference_bias(features_nD: NDArray[Any], reference_mD: NDArray[Any], strata: NDArray[Any]) -> float:
    """What the finite size of a reference adds to a FID, about: the mean distance to its halves less that to all of it.

    As a sample's, the bias falls as one over the images, so that a half has twice as much of it.

    Args:
        features_nD: (n, D) of the sample.
        reference_mD: (m, D), half of it at least 5 a dimension.
        strata: (m,) classes of the reference.

    Raises:
        ValueError: too few images.
    """
    sample = Gaussian.of(features_nD)
    y_mD = np.asarray(reference_mD, np.float64)
    whole, first, second = (Reference(part).distance(sample) for part in (Gaussian.of(y_mD), *_halves(y_mD, strata)))
    return (first + second) / 2 - whole


def _margin(influence_n: Float, strata: NDArray[Any] | None) -> float:
    """Half a 95 % interval of a mean; within strata where their shares are fixed.

    Student's, with the degrees of freedom that the variance of these very values is known with: 2 n / (kurtosis - 1).
    Influences on a Frechet distance are squares and heavy-tailed: 160 samples of 16 features leave 30 degrees.
    """
    count = len(influence_n)
    groups = [influence_n] if strata is None else [influence_n[rows] for rows in _classes(strata)]
    away = np.concatenate([group - group.mean() for group in groups])
    variance = sum(len(group) * float(group.var(ddof=1)) for group in groups) / count
    if variance == 0:
        return 0.0
    kurtosis = float((away**4).mean() / (away**2).mean() ** 2)
    freedom = 2 * count / max(kurtosis - 1, 1e-9)  # 1 is the kurtosis of two equal clumps: their variance is no guess
    return float(scipy.special.stdtrit(freedom, 0.975)) * math.sqrt(variance / count)


@dataclass(frozen=True)
class Kid:
    """Unbiased squared kernel distance (may fall below 0) and its 95 % interval."""

    value: float
    low: float
    high: float


def kernel_distance(
    features_nD: NDArray[Any],
    reference_mD: NDArray[Any],
    strata: NDArray[Any] | None = None,
    reference_strata: NDArray[Any] | None = None,
) -> Kid:
    """KID on all pairs: the unbiased MMD^2 with the kernel (x y / D + 1)^3, which torch-fidelity averages over subsets.

    With strata (classes of fixed shares) a pair of one class is weighted as it occurs among independent draws; in such
    a sample it is rarer, and a perfect model's KID would lie below zero by more than its error.

    Args:
        features_nD: (n, D).
        reference_mD: (m, D).
        strata: (n,) the class of each sample, where the classes' shares are fixed; None: independent draws.
        reference_strata: (m,) the same of the reference.
    """
    x, y = (np.asarray(f, np.float64) for f in (features_nD, reference_mD))
    mean_x, mean_y = _means_within(x, strata), _means_within(y, reference_strata)
    x_to_y, y_to_x = _kernel_sums(x, y) / len(y), _kernel_sums(y, x) / len(x)
    value = float(mean_x.mean() + mean_y.mean() - 2 * x_to_y.mean())
    # The projection of the U-statistic on each sample.
    margin = 2 * math.hypot(_margin(mean_x - x_to_y, strata), _margin(mean_y - y_to_x, reference_strata))
    return Kid(value, value - margin, value + margin)


def _means_within(x: Float, strata: NDArray[Any] | None) -> Float:
    """For each row the mean kernel value with the other rows, as if all were independent draws from the mixture."""
    count = len(x)
    own = (np.square(x).sum(1) / x.shape[1] + 1) ** 3
    sums = _kernel_sums(x, x)
    if strata is None:
        return (sums - own) / (count - 1)
    alike, weight = np.zeros(count), np.ones(count)
    for rows in _classes(strata):
        alike[rows] = _kernel_sums(x[rows], x[rows])
        weight[rows] = len(rows) / (len(rows) - 1)
    return (sums - alike + weight * (alike - own)) / count


def _kernel_sums(a: Float, b: Float) -> Float:
    """For each row of `a`, the sum of kernel values with the rows of `b`."""
    block = max(1, 4_000_000 // len(b))  # 32 MB of the kernel matrix at a time
    sums = [(((a[i : i + block] @ b.T) / a.shape[1] + 1) ** 3).sum(1) for i in range(0, len(a), block)]
    return np.concatenate(sums)


def precision_recall(features_nD: NDArray[Any], reference_mD: NDArray[Any]) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019) with 3 neighbours, by torch-fidelity."""
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        *(torch.from_numpy(np.ascontiguousarray(f, np.float32)) for f in (features_nD, reference_mD)), verbose=False
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def inception_score(logits_nY: NDArray[Any]) -> float:
    """Mean Inception score over 10 splits, by torch-fidelity; of our classifier's logits it is that network's."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    found = isc_features_to_metric(torch.from_numpy(np.asarray(logits_nY, np.float64)), splits=10)
    return float(found[KEY_METRIC_ISC_MEAN])
