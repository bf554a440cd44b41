"""Training a tokenizer: the same bits after any stop, what it writes, and that each loss can be off."""

import pytest
import torch
from safetensors.torch import load_file

from tests.support.tokenizer_runs import BATCH, EVERYTHING, attempt, images, run
from var_scaling.runs.failures import Diverged
from var_scaling.tokenizers.autoencoder_config import GanConfig
from var_scaling.tokenizers.vq import training as vq
from var_scaling.tokenizers.vq.codebook import Codebook
from var_scaling.tokenizers.vq.config import (
    CodebookConfig,
    TokenizerTrainConfig,
    VQConfig,
    resolve_tokenizer,
)
from var_scaling.tokenizers.vq.model import build_tokenizer
from var_scaling.training import tokenizer as subject
from var_scaling.training.tokenizer import ArraySource, Training, learning_rate, train_tokenizer

STEPS = 12


def config(sides=(1, 3), channels=3, **train):
    train = dict(images=BATCH * STEPS, batch_size=BATCH, warmup_images=20, learning_rate=3e-3) | train
    fields = dict(
        patch_nums=sides,
        vocab_size=17,
        latent_dim=5,
        channels=6,
        channel_multipliers=(1, 2),
        blocks=1,
        attention=True,
        stem_stride=2,
        train=TokenizerTrainConfig(**train),
    )
    return resolve_tokenizer(VQConfig(**fields), resolution=sides[-1] * 4, channels=channels, flip=False)


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch):
    monkeypatch.setattr(subject, "JOURNAL_IMAGES", 3 * BATCH)


@pytest.mark.parametrize("train", [EVERYTHING, dict(codebook=CodebookConfig(update="gradient"))])
def test_stopped_and_resumed_equals_straight_through(tmp_path, train):
    cfg = config(**train)
    straight, lines, report = run(tmp_path / "straight", cfg)
    assert len(lines) == 4
    assert ("train/gan" in lines[-1]) == (train is EVERYTHING)
    assert "train/gan" not in lines[0], "the critic sets in later"
    resumed, resumed_lines, resumed_report = run(tmp_path / "resumed", cfg, stops=(1, 4, 7))
    assert resumed_lines == lines
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert resumed_report["psnr"] == report["psnr"]


def test_another_seed_is_another_run(tmp_path):
    first, *_ = run(tmp_path / "a", config())
    other, *_ = run(tmp_path / "b", config(seed=1))
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_resume_test_bites(tmp_path, monkeypatch):
    """A state that forgets the codes' averages is noticed."""
    cfg = config(**EVERYTHING)
    straight, *_ = run(tmp_path / "straight", cfg)
    monkeypatch.setattr(Codebook, "load_state_dict", lambda self, state: None)
    resumed, *_ = run(tmp_path / "resumed", cfg, stops=(4,))
    assert not all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_killed_attempt_resumes_from_its_checkpoint(tmp_path, monkeypatch):
    cfg = config(**EVERYTHING)
    straight, lines, _ = run(tmp_path / "straight", cfg)
    monkeypatch.setattr(subject, "CHECKPOINT_SECONDS", 0.0)
    folder = tmp_path / "killed"
    taken = attempt(folder)

    def die(done, total, what):
        if done >= 8 * BATCH:
            raise KeyboardInterrupt

    taken.progress = die
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(cfg, images(), attempt=taken, out=taken.scratch("result"), make=vq.make)
    assert taken.load_checkpoint("tokenizer")["images"] in range(BATCH, 8 * BATCH)
    taken.end("killed")
    resumed, resumed_lines, _ = run(folder, cfg)
    assert resumed_lines == lines
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_what_is_written(tmp_path):
    cfg = config(**EVERYTHING)
    weights, lines, report = run(tmp_path / "t", cfg)
    build_tokenizer(cfg).load_state_dict(weights)
    assert report["images"] == BATCH * STEPS
    assert report["validation_images"] == 7
    assert report["perceptual_network"] == "random"
    assert set(report["usage_per_scale"]) == set(report["perplexity_per_scale"]) == {"1", "3"}
    assert 0 < max(report["usage_per_scale"].values()) <= report["usage"] <= 1
    assert 1 <= report["perplexity_per_scale"]["1"] <= 7, "seven images choose at most seven codes"
    assert report["psnr"] > 3
    assert report["images_per_second"] > 0
    names = {"l1", "l2", "quantiser", "perceptual", "gan", "critic", "gradient_norm", "psnr", "learning_rate"}
    assert {f"train/{name}" for name in names} <= set(lines[-1])
    assert {"codebook/usage", "codebook/usage_scale_3", "codebook/perplexity_scale_1"} <= set(lines[-1])
    assert [line["images"] for line in lines] == [15, 30, 45, 60]


@pytest.mark.parametrize(
    ("train", "absent"),
    [
        (dict(l1=0.0), {"l1", "perceptual", "gan", "critic"}),
        (dict(l2=0.0, perceptual=EVERYTHING["perceptual"]), {"l2", "gan", "critic"}),
        (dict(l1=0.0, l2=0.0, gan=GanConfig(start=0.0, channels=4), perceptual=EVERYTHING["perceptual"]), {"l1", "l2"}),
    ],
)
def test_each_loss_can_be_off(tmp_path, train, absent):
    _, lines, report = run(tmp_path / "t", config(**train))
    losses = {"l1", "l2", "perceptual", "gan", "critic", "quantiser"}
    assert {name for name in losses if f"train/{name}" not in lines[-1]} == absent
    assert report["perceptual_network"] == ("off" if "perceptual" in absent else "random")


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_it_learns(tmp_path, update):
    cfg = config(images=BATCH * 150, codebook=CodebookConfig(update=update), learning_rate=5e-3)
    _, lines, _ = run(tmp_path / "t", cfg)
    assert lines[-1]["train/psnr"] > lines[0]["train/psnr"] + 3


def test_bfloat16_runs(tmp_path):
    _, lines, _ = run(tmp_path / "t", config(precision="bfloat16", **EVERYTHING))
    exact = run(tmp_path / "u", config(**EVERYTHING))[1]
    assert lines[0]["train/l2"] == pytest.approx(exact[0]["train/l2"], rel=0.1)
    assert lines[0]["train/l2"] != exact[0]["train/l2"]


def test_training_leaves_the_global_generator_and_threads_alone(tmp_path, monkeypatch):
    before, threads, asked = torch.random.get_rng_state(), torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    run(tmp_path / "t", config(**EVERYTHING), threads=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert asked == [3, threads]


def test_a_loss_that_is_not_finite_is_diverged(tmp_path, monkeypatch):
    real = Training._reconstruction_losses

    def explode(self, ours, truth):
        losses = real(self, ours, truth)
        return losses | {"l2": losses["l2"] * (float("nan") if self.images == 4 * BATCH else 1)}

    monkeypatch.setattr(Training, "_reconstruction_losses", explode)
    with pytest.raises(Diverged, match="not finite|nan") as caught:
        run(tmp_path / "t", config())
    assert caught.value.step == 5


def test_learning_rate():
    train = config(images=1_000, batch_size=10, warmup_images=100, final_learning_rate=0.1).train
    assert learning_rate(train, 0, 1_000) == pytest.approx(10 / 110)
    assert learning_rate(train, 100, 1_000) == pytest.approx(1.0)
    assert learning_rate(train, 550, 1_000) == pytest.approx(0.55)
    assert learning_rate(train, 1_000, 1_000) == pytest.approx(0.1)


def test_reading_ahead_changes_nothing(tmp_path):
    cfg, arrays = config(**EVERYTHING), images()

    class Files(ArraySource):
        workers = 2

    results = []
    for kind in (ArraySource, Files):
        taken = attempt(tmp_path / kind.__name__)
        out = taken.scratch("result")
        train_tokenizer(cfg, kind(arrays.train, arrays.validation), attempt=taken, out=out, make=vq.make)
        results.append(load_file(out / "weights.safetensors"))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_array_source():
    source = ArraySource(images().train, images().validation)
    assert (source.count("train"), source.count("validation")) == (16, 7)
    batch = source.batch([3, 1])
    assert batch.shape == (2, 3, 12, 12)
    assert float(batch[1, 2, 4, 9]) == pytest.approx(images().train[1, 4, 9, 2] / 127.5 - 1)
