"""Resampling: whole runs with multiplicities where runs are many, the wild cluster bootstrap where sizes are few.

Rows of one run, or of one depth, are never independent: they share the seed's luck and the law's lack of fit. With many
runs we draw whole runs with replacement, as multiplicity weights. With few sizes a drawn design would often lack the
very sizes that carry the exponent, so the design stays fixed and the residuals of a size are multiplied by one random
factor.

Two choices make that honest with five to twelve clusters, and were made by simulation (docs/laws.md). Residuals are
those of the delete-one-cluster jackknife, since a fit follows its high-leverage sizes. Factors are unbounded: the
percentiles of the usual two- or six-point factors cannot reach far enough when one noisy size carries the exponent.
For laws of two parameters they are Student-t with clusters - 1 degrees of freedom, so that the percentile interval of
a straight line is the jackknife's t interval; with three parameters or more the jackknife's residuals overshoot
already, and normal factors cover as they should.
"""

from __future__ import annotations

import numpy as np

CHANGE = 0.6  # prior standard deviation of the change of the log variance of the noise with each log unit of size


def multiplicities(codes: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row is drawn when whole runs are drawn with replacement, (resamples, n).

    Args:
        codes: (n,) integer code of the run of each row, 0..runs-1.
        resamples: how many.
        rng: generator.
    """
    runs = int(codes.max()) + 1
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples)
    return drawn[:, codes].astype(float)


def multiplicities_of(indices: np.ndarray, rows: int) -> np.ndarray:
    """Multiplicities from explicit row indices, (resamples, drawn) -> (resamples, rows)."""
    indices = np.asarray(indices)
    counts = np.zeros((len(indices), rows))
    np.add.at(counts, (np.arange(len(indices))[:, None], indices), 1)
    return counts


def wild_factors(codes: np.ndarray, parameters: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """One factor a resample and cluster, (resamples, clusters); see the module for their distribution.

    Args:
        codes: (n,) of the cluster of each row.
        parameters: of the law.
        resamples: how many.
        rng: generator.
    """
    clusters = int(codes.max()) + 1
    factors = rng.normal(size=(resamples, clusters))
    if parameters <= 2:
        freedom = max(clusters - 1, 1)
        factors *= np.sqrt(freedom / rng.chisquare(freedom, size=(resamples, 1)))
    return factors


def noise_by_size(
    place: np.ndarray,
    fitted: np.ndarray,
    residual: np.ndarray,
    weights: np.ndarray,
    codes: np.ndarray,
    parameters: int,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Residual patterns of unit size and what they are multiplied by, where the noise is modelled over all sizes.

    The variance of a cluster's luck is s^2 exp(c z), z its log size; c has a normal prior (CHANGE), and the variance is
    its mean over all c, as probable as the clusters' residuals say. A cluster's own residual, of one degree of freedom,
    no longer stands for its variance: under noise that changes fivefold 95 % intervals of a straight line covered 89 to
    93 % before. Factors are Student's of clusters - 1, since the prior of c makes small ladders wide enough.

    Args:
        place: (n,) log sizes, any origin.
        fitted: (n,) fitted response; rows of a cluster that share it are one design point.
        residual: (n,) residuals freed from leverage (power 1/2).
        weights: (n,).
        codes: (n,) of the cluster of each row.
        parameters: of the law.
        resamples: how many.
        rng: generator.

    Returns:
        (n,) the pattern of each cluster, its design points' mean residuals over their root mean square; and
        (resamples, clusters) factors.
    """
    clusters = int(codes.max()) + 1
    design = np.stack([codes.astype(float), np.round(fitted, 9)], 1)
    _, point = np.unique(design, axis=0, return_inverse=True)
    point = point.ravel()
    load = np.bincount(point, weights)
    mean = np.bincount(point, weights * residual) / np.maximum(load, 1e-300)
    own = np.zeros(len(load), int)
    own[point] = codes
    count = np.bincount(own, load > 0, clusters)
    square = np.bincount(own, np.where(load > 0, mean**2, 0.0), clusters) / np.maximum(count, 1)
    square = np.maximum(square, 1e-12 * max(float(square.max()), 1e-300))
    z = np.bincount(codes, weights * place, clusters) / np.maximum(np.bincount(codes, weights, clusters), 1e-300)
    z = z - z.mean()  # s is that of a middling cluster
    freedom, spare = max(clusters - parameters, 1), max(clusters - 1, 1)
    change = CHANGE * np.linspace(-4, 4, 81)
    total = (square * np.exp(-change[:, None] * z)).sum(1)
    chance = -0.5 * (change * z.sum() + freedom * np.log(total) + (change / CHANGE) ** 2)
    chance = np.exp(chance - chance.max())
    variance = (chance / chance.sum() * total / clusters) @ np.exp(change[:, None] * z)
    factors = np.sqrt(variance) * rng.normal(size=(resamples, clusters))
    factors *= np.sqrt(spare / rng.chisquare(spare, size=(resamples, 1)))
    return mean[point] / np.sqrt(square)[codes], factors


def linked(sizes: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Groups of rows that share a size or a run, directly or through others, (n,) codes 0..groups-1.

    Args:
        sizes: (n,) integer code of the size of each row.
        runs: (n,) of the run.
    """
    group = np.array(sizes)
    while True:
        before = group
        for codes in (runs, sizes):
            lowest = np.full(int(codes.max()) + 1, len(group))
            np.minimum.at(lowest, codes, group)
            group = lowest[codes]
        if np.array_equal(group, before):
            return np.unique(group, return_inverse=True)[1]


def corrected_residuals(
    jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray, codes: np.ndarray, power: float = 0.5
) -> np.ndarray:
    """Residuals freed from leverage, (n,): (I - H_gg)^-power r_g for each cluster g, H the hat matrix.

    A fit follows the sizes with high leverage, so their residuals are too small; power 1/2 makes their variance right
    on average (Bell and McCaffrey's CR2), power 1 gives the jackknife's.
    """
    root = np.sqrt(weights)
    scaled = jacobian * root[:, None]
    basis, strength, _ = np.linalg.svd(scaled, full_matrices=False)
    basis = basis[:, strength > 1e-10 * strength[0]]
    own, clusters = root * residual, int(codes.max()) + 1

    def summed(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(codes, column, clusters) for column in values.T], 1)

    # H_gg acts along as many directions as there are parameters, however many rows a cluster has
    ranks = range(basis.shape[1])
    inner = np.stack([summed(basis * basis[:, [rank]]) for rank in ranks], 1)  # (clusters, p, p)
    share, ways = np.linalg.eigh(inner)
    left = 1 - share
    # a direction that the fit follows exactly holds no residual: there is nothing to blow up
    factor = np.where(left > 1e-6, np.maximum(left, 1e-6) ** -power, 0.0)
    gain = np.where(share > 1e-12, (factor - 1) / np.maximum(share, 1e-12), power)
    along = np.einsum("gpk,gk,gqk,gq->gp", ways, gain, ways, summed(basis * own[:, None]), optimize=True)
    return (own + (basis * along[codes]).sum(1)) / np.maximum(root, 1e-150)
