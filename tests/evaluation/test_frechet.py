"""FID, KID, precision and recall equal torch-fidelity's; the correction and the error are what they claim."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from var_scaling.evaluation.frechet import (
    Gaussian,
    Moments,
    Reference,
    frechet,
    inception_score,
    kernel_distance,
    precision_recall,
)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(307, 13)) @ rng.normal(size=(13, 13))
    b = rng.normal(size=(401, 13)) @ rng.normal(size=(13, 13)) + 0.3
    return a, b


def test_raw_fid_is_torch_fidelitys(pair):
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(torch.from_numpy(f)) for f in pair), verbose=False)
    ours = frechet(pair[0], Reference(Gaussian.of(pair[1])))
    assert ours.raw == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)
    assert ours.raw > 1
    assert (ours.samples, ours.samples_per_dimension) == (307, 307 / 13)


def test_a_set_against_itself_is_zero_and_one_dimension_is_the_textbook_formula(pair):
    assert Reference(Gaussian.of(pair[0])).distance(Gaussian.of(pair[0])) == pytest.approx(0, abs=1e-9)
    a, b = Gaussian(np.array([1.0]), np.array([[4.0]]), 9), Gaussian(np.array([3.0]), np.array([[25.0]]), 9)
    assert Reference(b).distance(a) == pytest.approx((1 - 3) ** 2 + (2 - 5) ** 2)


def test_the_transport_matrix_maps_one_covariance_onto_the_other(pair):
    sample, reference = (Gaussian.of(f) for f in pair)
    distance, transport = Reference(reference).distance_and_transport(sample)
    np.testing.assert_allclose(transport @ sample.covariance @ transport, reference.covariance, rtol=1e-8, atol=1e-8)
    assert distance == pytest.approx(Reference(reference).distance(sample))


def test_the_influence_is_the_derivative(pair):
    """Moving one sample's weight moves the distance by its influence: checked by a small reweighting."""
    x, reference = pair[0], Reference(Gaussian.of(pair[1]))
    n, small = len(x), 1e-5
    sample = Gaussian(x.mean(0), np.cov(x, rowvar=False, ddof=0), n)
    distance, transport = reference.distance_and_transport(sample)
    centred = x - sample.mean
    influence = 2 * centred @ (sample.mean - reference.gaussian.mean) + (centred**2).sum(1)
    influence -= ((centred @ transport) * centred).sum(1)
    for i in (0, 111):
        weights = np.full(n, (1 - small) / n)
        weights[i] += small
        mean = weights @ x
        moved = Gaussian(mean, ((x - mean).T * weights) @ (x - mean), n)
        slope = (reference.distance(moved) - distance) / small
        assert slope == pytest.approx(influence[i] - influence.mean(), rel=1e-3, abs=1e-3 * influence.std())


def test_too_few_samples_are_refused(pair):
    with pytest.raises(ValueError, match=r"64 samples are 4.9 for each of 13 feature dimensions.*use 65 or more"):
        frechet(pair[0][:64], Reference(Gaussian.of(pair[1])))
    frechet(pair[0][:65], Reference(Gaussian.of(pair[1])))
    with pytest.raises(ValueError, match=r"64 reference images are 4.9 for each of 13 feature dimensions"):
        Reference(Gaussian.of(pair[1][:64]))


def test_dead_features_do_no_harm(pair):
    a, b = (np.concatenate([f, np.zeros((len(f), 2))], axis=1) for f in pair)
    padded, plain = frechet(a, Reference(Gaussian.of(b))), frechet(pair[0], Reference(Gaussian.of(pair[1])))
    assert padded.corrected == pytest.approx(plain.corrected, rel=1e-9)
    assert padded.low == pytest.approx(plain.low, rel=1e-9)


def test_strata_narrow_the_interval_where_classes_differ():
    rng = np.random.default_rng(2)
    labels = np.arange(700) % 7
    x = rng.normal(size=(700, 3)) + 5 * labels[:, None]
    reference = Reference(Gaussian.of(rng.normal(size=(900, 3)) * 3))
    wide, narrow = frechet(x, reference), frechet(x, reference, labels)
    assert (wide.raw, wide.corrected) == (narrow.raw, narrow.corrected), "labels that cycle: the halves are the same"
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


def test_moments_gathered_in_batches_are_the_samples(pair):
    moments = Moments()
    for start in range(0, 307, 53):
        moments.add((pair[0][start : start + 53] + 1e4).astype(np.float64))
    whole = Gaussian.of(pair[0] + 1e4)
    gathered = moments.gaussian()
    np.testing.assert_allclose(gathered.covariance, whole.covariance, rtol=1e-9)
    np.testing.assert_allclose(gathered.mean, whole.mean, rtol=1e-12)
    assert gathered.count == 307


def test_kid_is_torch_fidelitys_on_one_whole_subset(pair):
    a, b = pair[0][:300], pair[1][:300]
    theirs = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=1, kid_subset_size=300, verbose=False
    )
    ours = kernel_distance(a, b)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.low < ours.value < ours.high


def test_kids_interval_covers_and_its_mean_is_unbiased():
    """Two Gaussians whose kernel distance is known from a very large sample."""
    rng = np.random.default_rng(3)

    def draw(count, shift):
        return rng.normal(size=(count, 5)) + shift

    truth = kernel_distance(draw(6_000, 0.3), draw(6_000, 0.0)).value
    found = [kernel_distance(draw(150, 0.3), draw(170, 0.0)) for _ in range(200)]
    held = np.mean([k.low <= truth <= k.high for k in found])
    assert 0.90 <= held <= 0.99
    assert np.mean([k.value for k in found]) == pytest.approx(truth, rel=0.08)


def test_precision_and_recall_are_the_right_way_round():
    rng = np.random.default_rng(4)
    real = rng.normal(size=(500, 2))
    narrow = real[np.linalg.norm(real, axis=1) < 0.5]  # all of it real, little of the real
    precision, recall = precision_recall(np.resize(narrow, (500, 2)) + 1e-3 * rng.normal(size=(500, 2)), real)
    assert precision > 0.95
    assert recall < 0.5


def test_inception_score_of_certain_and_of_clueless_logits():
    certain = 50 * np.eye(7)[np.arange(700) % 7]
    assert inception_score(certain) == pytest.approx(7, rel=0.07)  # a split holds 70, not ten of each class
    assert inception_score(np.zeros((700, 7))) == pytest.approx(1)


def test_the_references_root_is_a_root(pair):
    reference = Reference(Gaussian.of(pair[1]))
    np.testing.assert_allclose(reference.root @ reference.root, reference.gaussian.covariance, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(reference.root, scipy.linalg.sqrtm(reference.gaussian.covariance).real, atol=1e-6)
