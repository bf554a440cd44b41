"""Evaluations: what is asked, what is measured, and that an interrupted one goes on."""

import numpy as np
import pytest
import torch

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import (
    ClassifierConfig,
    EvaluateConfig,
    FidConfig,
    FidEvaluation,
    fid_evaluations,
    metric_data,
    too_few_images,
)
from var_scaling.errors import EnvironmentProblem
from var_scaling.evaluation import features as features_module
from var_scaling.evaluation import fid as fid_module
from var_scaling.evaluation.features import (
    ReferenceFeatures,
    image_bytes,
    load_extractor,
    reference_features,
    to_bytes,
)
from var_scaling.evaluation.fid import evaluate_model, evaluate_tokenizer, measure
from var_scaling.evaluation.frechet import Gaussian
from var_scaling.evaluation.generation import generate, labels_by_share, sample_grid
from var_scaling.evaluation.reconstruction import sanity_report
from var_scaling.families.var.config import VARConfig, VARSampler
from var_scaling.planning import identity
from var_scaling.planning.resolve import fid_of, resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.works import works_of
from var_scaling.runs import store


def plain(report):
    return {k: v for k, v in report.items() if k not in ("seconds", "sample_seconds", "finished")}


def test_a_perfect_model_is_near_zero_and_everything_is_named(model, evaluation, images, classifier_folder, tmp_path):
    report = evaluate_model(model, evaluation, images, extractor_folder=classifier_folder, cache=tmp_path)
    assert report["label"] == identity.evaluation_label(evaluation)
    assert report["class_shares"] == "reference"
    assert abs(report["fid_reference_bias"]) < 0.1, "20,000 images of 16 features are a reference without a size"
    assert (report["features"], report["reference"], report["reference_images"]) == ("classifier", "train", 20_000)
    assert (report["samples"], report["guidance"], report["top_k"], report["top_p"]) == (400, 1.5, 0, 0.0)
    assert report["samples_per_dimension"] == 25
    assert report["fid_low"] < report["fid_corrected"] < report["fid_high"]
    assert abs(report["fid_corrected"]) < 0.1
    assert report["fid"] > report["fid_corrected"]
    assert report["kid_low"] < 0 < report["kid_high"]
    assert report["precision"] > 0.6
    assert report["recall"] > 0.6
    assert 2 < report["inception_score"] < 10
    assert all(v is not None for v in report.values())
    labels = np.concatenate([call[0] for call in model.calls])
    assert np.bincount(labels).tolist() == [40] * 10
    assert np.bincount(labels[:200]).tolist() == [20] * 10, "each half is balanced"
    assert {call[1] for call in model.calls} == {VARSampler(guidance=1.5)}


def test_an_interrupted_evaluation_goes_on_to_the_same_numbers(
    model, evaluation, images, classifier_folder, attempt, tmp_path, monkeypatch
):
    arguments = {"extractor_folder": classifier_folder, "cache": tmp_path / "cache"}
    straight = evaluate_model(model, evaluation, images, **arguments)
    running = attempt()
    calls = []
    monkeypatch.setattr(running, "stop_requested", lambda: calls.append(1) or len(calls) == 3)
    model.calls.clear()
    with pytest.raises(store.Stopped):
        evaluate_model(model, evaluation, images, attempt=running, **arguments)
    assert len(model.calls) == 3
    running = attempt()
    assert plain(evaluate_model(model, evaluation, images, attempt=running, **arguments)) == plain(straight)
    assert len(model.calls) == 4, "only the last batch was left to draw"
    assert not list(running.work.glob("attempts/*/checkpoints/*"))


def test_another_model_does_not_go_on_from_it(model, evaluation, images, classifier_folder, attempt, monkeypatch):
    monkeypatch.setattr(fid_module, "SAVE_SECONDS", -1)  # save after each batch
    running = attempt()
    monkeypatch.setattr(running, "drop_checkpoint", lambda name: None)
    evaluate_model(model, evaluation, images, extractor_folder=classifier_folder, attempt=running)
    with torch.no_grad():
        model.weight.add_(1)
    model.calls.clear()
    evaluate_model(model, evaluation, images, extractor_folder=classifier_folder, attempt=running)
    assert len(model.calls) == 4


def test_samples_are_addressed(model):
    labels = labels_by_share(230, np.ones(10))
    whole = torch.cat([i for _, i in generate(model, labels, VARSampler(guidance=1.5), seed=3)])
    tail = torch.cat([i for _, i in generate(model, labels, VARSampler(guidance=1.5), seed=3, first=100)])
    other = torch.cat([i for _, i in generate(model, labels, VARSampler(guidance=1.5), seed=4)])
    assert torch.equal(whole[100:], tail)
    assert not torch.equal(whole, other)
    assert whole.dtype == torch.uint8


def test_the_mode_of_the_model_is_left_as_it_was(model):
    model.train()
    list(generate(model, labels_by_share(10, np.ones(10)), VARSampler(guidance=0.0)))
    assert model.training


def test_a_grid_has_a_column_a_class(model, tmp_path):
    from PIL import Image

    sample_grid(model, VARSampler(), path=tmp_path / "a" / "samples.png", per_class=3)
    with Image.open(tmp_path / "a" / "samples.png") as picture:
        assert picture.size == (2 * (10 * 34 - 2), 2 * (3 * 34 - 2))
        assert picture.mode == "L"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["samples.png"]


def test_chosen_classes_stand_under_their_names(model, tmp_path):
    from PIL import Image

    names = [f"{c} is a class of garments" for c in range(10)]
    arguments = {"per_class": 3, "classes": [7, 2, 7]}
    for path, shown in (("plain.png", ()), ("named.png", names)):
        sample_grid(model, VARSampler(), path=tmp_path / path, names=shown, **arguments)
    assert {tuple(call[0]) for call in model.calls} == {(7, 2, 7) * 3}
    plain, named = (np.asarray(Image.open(tmp_path / name)) for name in ("plain.png", "named.png"))
    line = len(named) - len(plain)
    np.testing.assert_array_equal(named[line:], plain)
    words = named[:line]
    assert all((words[:, 68 * c : 68 * c + 60] < 128).any() for c in range(3))
    assert (words[:, 66:68] == 255).all(), "a long name is cut to its column"
    assert (words[:, :60] == words[:, 136:196]).all()
    assert (words[:, :60] != words[:, 68:128]).any()


def works(data=DataConfig(), **evaluate):  # noqa: B008
    config = resolve(TrialConfig(data=data, model=VARConfig(head_dim=16, depth=2)))
    return works_of(config, EvaluateConfig.model_validate(evaluate))


def test_a_tokenizers_own_figures_do_not_depend_on_sampling():
    def stages(**fid):
        return {stage.id for stage in works(fid=FidConfig(**fid)).stages if stage.kind == "reconstruction"}

    assert stages() == stages(samples=1_000, seed=3, guidance=3.0, reference="validation", labels="balanced")
    assert stages() != stages(features="clip", samples=2_560)


@pytest.mark.parametrize("samples", [321, 2_000, 2_005])
def test_samples_need_not_divide_over_the_classes_unless_they_are_to_be_balanced(samples):
    (found,) = works(fid=FidConfig(samples=samples)).evaluations
    assert found.config.fid.samples == samples
    labels = labels_by_share(samples, np.full(7, 30))
    assert np.ptp(np.bincount(labels)) == bool(samples % 7)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((180, 60), {"train": "rFID and FID, which need 320 train images", "validation": "rFID, which need 320"}),
        ((500, 60), {"validation": "evaluate.classifier.features 12 or fewer"}),
        ((500, 320), {}),
    ],
)
def test_a_plan_knows_what_images_are_too_few_for(counts, told):
    update = {"unique_images": counts[0], "validation_images": counts[1]}
    data = resolve_data(DataConfig()).model_copy(update=update)
    evaluation = FidEvaluation(fid=FidConfig(), data=data, extractor=ClassifierConfig())
    found = too_few_images(evaluation)
    assert found.keys() == told.keys()
    assert all(part in found[split] for split, part in told.items()), found


def test_reference_features_are_kept_by_content(images, extractor, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(features_module, "KEPT_FEATURES", 230)
    found = reference_features(images, "validation", extractor, cache=tmp_path, beat=lambda *a: calls.append(a))
    assert calls[-1] == (5_000, 5_000)
    assert found.features.shape == (230, 16)
    assert found.gaussian.count == 5_000
    calls.clear()
    again = reference_features(images, "validation", extractor, cache=tmp_path, beat=lambda *a: calls.append(a))
    assert not calls
    np.testing.assert_array_equal(again.gaussian.covariance, found.gaussian.covariance)
    reference_features(images, "train", extractor, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert reference_features(images, "validation", extractor, cache=tmp_path).gaussian.count == 5_000


def test_reconstructions_are_measured(tokenizer, evaluation, images, classifier_folder, tmp_path):
    report = evaluate_tokenizer(
        tokenizer, evaluation, images, extractor_folder=classifier_folder, cache=tmp_path / "c", out=tmp_path
    )
    truth = images.batch(range(5_000), 0, "validation")
    with torch.no_grad():
        maps = tokenizer.encode(truth)
        error = (tokenizer.decode(maps) - truth).square().flatten(1).mean(1)
    assert report["psnr"] == pytest.approx(float((10 * torch.log10(4 / error)).mean()), abs=1e-3)
    assert report["usage_scale_3"] == pytest.approx(len(maps[2].unique()) / 31)
    assert 1 <= report["perplexity_scale_3"] <= 31
    assert report["rfid_train"] > 1
    assert report["rfid_validation"] > 1
    assert report["rfid_train_low"] < report["rfid_train_corrected"] < report["rfid_train_high"]
    assert store.read_json(tmp_path / "report.json") == report
    assert (tmp_path / "reconstructions.png").exists()


def test_the_metric_orders_images_of_known_quality(images, extractor, tmp_path):
    rows = sanity_report(images, extractor, count=2_000, cache=tmp_path)
    real, blurred, shrunk, exchanged, noise = (row["fid_corrected"] for row in rows)
    assert [row["images"].split()[0] for row in rows] == ["real", "blurred", "shrunk", "4x4", "uniform"]
    assert abs(real) < 0.05
    assert 5 * abs(real) < blurred < min(shrunk, exchanged) < max(shrunk, exchanged) < noise


def test_pixels_survive_the_way_to_bytes(images):
    rows = np.arange(7)
    pixels = image_bytes(images, "train", rows)
    np.testing.assert_array_equal(pixels.permute(0, 2, 3, 1).numpy(), images.train[:7])
    assert torch.equal(to_bytes((images.batch(rows) + 1) / 2), pixels)


@pytest.mark.parametrize("features", ["inception", "dinov2", "clip"])
def test_missing_weights_are_the_environments_fault(features, images, tmp_path):
    with pytest.raises(EnvironmentProblem, match=f"{features} features need the weights .* and they are not there"):
        load_extractor(features, data=images.config, weights_folder=tmp_path)
    with pytest.raises(EnvironmentProblem, match="need a trained classifier"):
        load_extractor("classifier", data=images.config)


@pytest.mark.parametrize(
    ("fid", "says"),
    [
        (FidConfig(samples=300), "4.7 for each of the 64 dimensions of classifier features.*use 320 or more"),
        (FidConfig(features="inception"), "1.0 for each of the 2048 dimensions.*use 10240 or more"),
        (FidConfig(samples=2_005, labels="balanced"), "two halves balanced over 10 classes; use 2000"),
    ],
)
def test_a_fid_that_means_nothing_is_refused_while_planning(fid, says):
    with pytest.raises(ValueError, match=says):
        fid_evaluations(EvaluateConfig(fid=(FidConfig(), fid)), resolve_data(DataConfig()))


def test_the_metric_is_the_same_for_every_subset_and_view():
    whole = metric_data(resolve_data(DataConfig(name="cifar10")))
    part = metric_data(resolve_data(DataConfig(name="cifar10", unique_images=500, views=3, flip=False)))
    assert whole == part
    assert (whole.unique_images, whole.views, whole.flip) == (50_000, 1, False)


def label(data=DataConfig(), classifier=ClassifierConfig(), **fid):  # noqa: B008
    config = EvaluateConfig(fid=fid_of(VARConfig(), FidConfig(**fid)), classifier=classifier)
    (found,) = fid_evaluations(config, resolve_data(data))
    return identity.evaluation_label(found)


def test_labels_tell_kinds_of_fid_apart():
    labels = [
        label(),
        label(samples=4_000),
        label(guidance=0.0),
        label(top_k=900),
        label(top_p=0.96),
        label(reference="validation"),
        label(features="clip", samples=2_560),
        label(labels="balanced"),
        label(classifier=ClassifierConfig(epochs=40)),
        label(classifier=ClassifierConfig(seed=1)),
        label(DataConfig(name="cifar10")),
        label(DataConfig(resolution=28)),
    ]
    assert len(set(labels)) == len(labels), labels
    assert all(name.startswith(("classifier-", "clip-")) for name in labels)


def test_sampling_seeds_and_subsets_of_a_set_share_a_label():
    assert label(seed=5) == label(seed=6)
    assert label(DataConfig(unique_images=500)) == label()


def test_labels_follow_the_shares_in_every_prefix():
    shares = np.array([400, 20, 20, 7])
    labels = labels_by_share(1_000, shares)
    exact = shares / shares.sum()
    for end in (1, 100, 333, 500, 1_000):
        assert np.abs(np.bincount(labels[:end], minlength=4) - end * exact).max() < 1.6, end
    assert np.abs(np.bincount(labels) - 1_000 * exact).max() < 1
    assert labels_by_share(25, np.full(5, 3)).tolist() == list(range(5)) * 5
    assert np.bincount(labels_by_share(3, np.ones(1_000))).sum() == 3
    assert np.bincount(labels_by_share(7, np.array([1_000_000, 1])), minlength=2).tolist() == [7, 0]


def test_the_kept_features_of_a_reference_have_its_class_shares(images, extractor, monkeypatch):
    uneven = np.concatenate(
        [np.flatnonzero(images.validation_labels == c)[:n] for c, n in ((0, 400), (1, 20), (2, 20))]
    )
    order = uneven[np.lexsort((images.validation_labels[uneven], uneven))]

    class Uneven:
        content_hash = "uneven"
        config = images.config

        def count(self, split):
            return len(order)

        def labels(self, split):
            return images.validation_labels[order]

        def batch(self, rows, views=0, split="validation"):
            return images.batch(order[np.asarray(rows)], views, split)

    monkeypatch.setattr(features_module, "KEPT_FEATURES", 110)
    found = reference_features(Uneven(), "validation", extractor)
    assert found.gaussian.count == 440
    assert np.bincount(found.labels).tolist() == [100, 5, 5]
    again = extractor(image_bytes(images, "validation", order))[0]
    for row in range(0, 110, 13):
        assert (again == found.features[row]).all(1).any()


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_a_small_reference_leaves_out_what_it_cannot_carry(count, populations):
    features = populations["real (validation)"]
    gaussian = Gaussian.of(features[:count]) if count > 1 else Gaussian(features[0], np.zeros((16, 16)), 1)
    reference = ReferenceFeatures(gaussian, features[:count], np.zeros(count, np.int64))
    found = measure(features[:800], reference, None, np.arange(800) % 10)
    assert "fid" not in found
    assert f"{count} reference images are {count / 16:.1f} for each of 16" in found["note"]
    assert ("kid" in found) == (count > 1)
    assert ("recall" in found) == (count > 3)
    assert all(np.isfinite(value) for value in found.values() if not isinstance(value, str))


def test_what_a_reference_adds_is_told(populations):
    """Real images against 320 others of 16 features: the truth is 0, and the excess is the reference's."""
    real = populations["real (validation)"]
    labels = np.zeros(320, np.int64)
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(40):
        rows = rng.permutation(len(real))
        small = real[rows[:320]]
        found = measure(real[rows[320:2_920]], ReferenceFeatures(Gaussian.of(small), small, labels))
        pairs.append((found["fid_corrected"], found["fid_reference_bias"]))
    corrected, bias = np.mean(pairs, axis=0)
    assert corrected > 0.05, "the premise: the reference shows"
    assert bias == pytest.approx(corrected, rel=0.25)
