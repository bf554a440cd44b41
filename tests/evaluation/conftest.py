"""A quickly trained feature network on the real images, attempts, and a toy model."""

import numpy as np
import pytest
import torch

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import ClassifierConfig, EvaluateConfig, FidConfig, fid_evaluations
from var_scaling.data.images import load_images
from var_scaling.evaluation.classifier import train_classifier
from var_scaling.evaluation.features import batches, evaluation_extractor, image_bytes
from var_scaling.evaluation.generation import Trained
from var_scaling.evaluation.reconstruction import known_images
from var_scaling.families.var.config import VARConfig
from var_scaling.families.var.model import build_var
from var_scaling.planning.resolve import fid_of
from var_scaling.runs import store
from var_scaling.runs.journal import Journal

QUICK = ClassifierConfig(features=16, channels=(8, 16, 32), epochs=1)


@pytest.fixture(scope="session")
def evaluation():
    """80 samples a dimension's fifth: FID of 400 samples in 16 features."""
    fid = fid_of(VARConfig(), FidConfig(samples=400))
    config = EvaluateConfig(fid=fid, classifier=QUICK)
    return fid_evaluations(config, resolve_data(DataConfig(unique_images=130)))[0]


@pytest.fixture(scope="session")
def images(evaluation):
    found = load_images(evaluation.data)
    assert found.count("train") == 20_000, "the premise: a metric uses the whole set, whatever a study's subset"
    return found


@pytest.fixture(scope="session")
def classifier_folder(images, evaluation, tmp_path_factory):
    work = tmp_path_factory.mktemp("classifier")
    attempt = store.take(work)
    attempt.journal = Journal(attempt.folder / "journal.jsonl")
    out = attempt.scratch("result")
    report = train_classifier(evaluation.data, images, evaluation.extractor, attempt=attempt, out=out)
    assert report["accuracy"] > 0.7, "features that tell garments apart"
    return out


@pytest.fixture(scope="session")
def extractor(evaluation, classifier_folder):
    return evaluation_extractor(evaluation, classifier_folder, None)


@pytest.fixture(scope="session")
def populations(images, extractor):
    """Features (6,000, 16) of training images after a known damage, by its name."""
    return {
        name: np.concatenate([extractor(make(image_bytes(images, "train", r), r))[0] for r in batches(6_000)])
        for name, make in known_images(None, "cpu").items()
    }


COMPLETE = VARConfig(depth=2, patch_nums=(1, 2), vocab_size=7, latent_dim=4, num_classes=10)


class ToyModel(torch.nn.Linear):
    """Draws real images of the class that is asked for: the best model there is (a `generation.Trained`)."""

    num_classes, device, config = 10, torch.device("cpu"), COMPLETE

    def __init__(self, images):
        super().__init__(2, 3)
        self.of_class = [np.flatnonzero(images.train_labels == c) for c in range(10)]
        self.images, self.calls = images, []

    @property
    def module(self):
        return self  # not an attribute: torch would take it for a part of itself, without end

    def noise(self, sampler, count, generator):
        return {"uniform": torch.rand(count, 1, generator=generator)}

    def draw(self, labels_B, sampler, noise):
        assert not self.training
        self.calls.append((labels_B.tolist(), sampler))
        picks = (noise["uniform"][:, 0] * 2_000).long().tolist()
        rows = [self.of_class[label][pick] for label, pick in zip(labels_B.tolist(), picks, strict=True)]
        return (self.images.batch(rows) + 1) / 2


@pytest.fixture
def model(images):
    return ToyModel(images)


@pytest.fixture(scope="session")
def painter(tokenizer):
    """A VAR of two blocks that has learnt nothing, and draws: 32 px, grey, 10 classes."""
    config = VARConfig(
        depth=2,
        head_dim=4,
        patch_nums=(1, 2, 4),
        vocab_size=31,
        latent_dim=5,
        num_classes=10,
        adaln="per-block",
        attention="l2-norm",
        drop_path=0.0,
        gamma_init=1e-5,
    )
    module = build_var(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a fresh head says the same of every class
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Trained(config, module, tokenizer, torch.device("cpu"))
