"""Training the continuous tokenizer by the trainer of all tokenizers: the same bits after a stop, scale, learning."""

import numpy as np
import pytest
import torch

from tests.support.tokenizer_runs import BATCH, EVERYTHING, images, run
from var_scaling.tokenizers.kl.config import KLTokenizerConfig, KLTrainConfig, resolve_kl_tokenizer
from var_scaling.tokenizers.kl.model import build_kl_tokenizer
from var_scaling.tokenizers.kl.training import make
from var_scaling.training import tokenizer as subject

WITH_CRITIC = {name: EVERYTHING[name] for name in ("perceptual", "gan", "flip")}


def config(steps=12, latent_scale="measured", **train):
    train = dict(images=BATCH * steps, batch_size=BATCH, warmup_images=20) | train
    fields = dict(channels=6, blocks=1, stem_stride=2, latent_scale=latent_scale, train=KLTrainConfig(**train))
    return resolve_kl_tokenizer(KLTokenizerConfig(**fields), resolution=12, channels=3, flip=False)


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch):
    monkeypatch.setattr(subject, "JOURNAL_IMAGES", 3 * BATCH)


@pytest.mark.parametrize("train", [WITH_CRITIC, dict(kl="off")])
def test_stopped_and_resumed_equals_straight_through(tmp_path, train):
    cfg = config(**train)
    straight, lines, report = run(tmp_path / "straight", cfg, make=make)
    assert ("train/kl" in lines[-1]) == (train is WITH_CRITIC)
    resumed, resumed_lines, resumed_report = run(tmp_path / "resumed", cfg, stops=(3, 7), make=make)
    assert resumed_lines == lines
    assert len(lines) == 4
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert resumed_report["psnr"] == report["psnr"]


def test_the_scale_of_the_training_latents_is_kept_with_the_weights(tmp_path):
    weights, _, report = run(tmp_path / "measured", config(), make=make)
    model = build_kl_tokenizer(config())
    model.load_state_dict(weights)
    pictures = torch.from_numpy(images().train).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = model.eval().latents(pictures)["latents"].transpose(0, 1).flatten(1)
    torch.testing.assert_close(latents.mean(1), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(1, correction=0), torch.ones(4), rtol=1e-3, atol=0)
    assert report["latent_std"] == weights["latent_std"].tolist()
    assert 1 < report["largest_latent"] < 20
    weights, *_ = run(tmp_path / "fixed", config(latent_scale=0.5), make=make)
    assert weights["latent_std"].tolist() == [2.0] * 4 and not weights["latent_mean"].any()


def test_a_few_seconds_of_training_lower_the_loss(tmp_path):
    """Also with a strong pull to the unit normal, which costs pictures and brings the latents nearer to it."""
    _, weak, report = run(tmp_path / "weak", config(steps=150), make=make)
    losses = [line["train/l1"] + line["train/l2"] for line in weak if "train/l2" in line]
    assert losses[-1] < 0.5 * losses[0]
    _, strong, strong_report = run(tmp_path / "strong", config(steps=150, kl=0.1), make=make)
    divergences = [
        [line["train/kl"] / kl for line in lines if "train/kl" in line][-1]
        for lines, kl in ((weak, 1e-6), (strong, 0.1))
    ]
    assert divergences[1] < 0.5 * divergences[0]
    assert strong_report["psnr"] < report["psnr"]
    assert np.isfinite(report["psnr"]) and report["psnr"] > 10
