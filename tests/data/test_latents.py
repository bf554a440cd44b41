"""The latent cache: what is in it, that it resumes, and that damage is seen."""

import json

import numpy as np
import pytest
import torch

from var_scaling.data import latents as subject
from var_scaling.data.latents import build_latents, open_latents
from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import store

BOTH = ("tokens", "features")


@pytest.fixture
def built(small_images, tokenizer, attempt, monkeypatch, tmp_path):
    monkeypatch.setattr(subject, "CHUNK", 48)
    monkeypatch.setattr(subject, "ENCODE_BATCH", 29)
    running = attempt()
    out = running.scratch("result")
    build_latents(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
    final = tmp_path / "tokens"
    assert store.publish(out, final)
    assert not list(running.folder.glob("checkpoints/*")), "the pieces are dropped once the whole is written"
    return final


def test_each_row_and_view_holds_the_tokens_of_that_image(built, small_images, tokenizer):
    cache = open_latents(built, tokenizer)
    stored = {name: np.load(built / f"{name}_tokens.npy", mmap_mode="r") for name in ("train", "validation")}
    assert stored["train"].shape == (130, 3, 21) and stored["train"].dtype == np.int16
    assert stored["validation"].shape == (70, 1, 21)
    rows, views = np.array([127, 3, 3, 90]), np.array([0, 2, 1, 1])
    labels_B, latents = cache.batch(rows, views, BOTH)
    tokens_BL, features_BLZ = latents["tokens"], latents["features"]
    maps = tokenizer.encode(small_images.batch(rows, views))
    assert torch.equal(tokens_BL, torch.cat(maps, 1))
    assert not torch.equal(tokens_BL[1], tokens_BL[2]), "two views differ"
    assert labels_B.tolist() == small_images.train_labels[rows].tolist()
    expected = tokenizer.teacher_forcing_input(maps)
    assert features_BLZ.shape == (4, 20, 5)
    torch.testing.assert_close(features_BLZ, expected, rtol=0, atol=1e-6)
    labels_M, latents = cache.validation_batch(61, 70, BOTH)
    tokens_ML, features_MLZ = latents["tokens"], latents["features"]
    assert labels_M.tolist() == small_images.validation_labels[61:].tolist()
    assert torch.equal(tokens_ML, torch.cat(tokenizer.encode(small_images.batch(range(61, 70), 0, "validation")), 1))
    assert features_MLZ.shape == (9, 20, 5)


def test_features_that_are_too_large_are_computed(built, small_images, tokenizer, attempt, monkeypatch, tmp_path):
    monkeypatch.setattr(subject, "DERIVED_LIMIT_BYTES", 1000)
    running = attempt()
    out = running.scratch("lean")
    meta = build_latents(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
    assert meta["arrays"] == ["tokens"]
    assert not list(out.glob("*features*"))
    lean, full = open_latents(out, tokenizer), open_latents(built)
    rows = np.array([5, 11, 7])
    for a, b in (
        (lean.batch(rows, 2, BOTH), full.batch(rows, 2, BOTH)),
        (lean.validation_batch(3, 8, BOTH), full.validation_batch(3, 8, BOTH)),
    ):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1]["tokens"], b[1]["tokens"])
        torch.testing.assert_close(a[1]["features"], b[1]["features"], rtol=0, atol=1e-6)


def test_a_stopped_build_goes_on_where_it_was_and_gives_the_same_bytes(
    built, small_images, tokenizer, attempt, monkeypatch
):
    seen = []
    original = subject._encode
    monkeypatch.setattr(subject, "_encode", lambda *a: seen.append(a[2:4]) or original(*a))
    for limit in (2, 1):  # stop after two pieces, then after one more
        running = attempt()
        calls = len(seen)
        monkeypatch.setattr(running, "stop_requested", lambda n=calls + limit: len(seen) >= n)
        out = running.scratch("result")
        with pytest.raises(store.Stopped):
            build_latents(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
        assert not (out / "meta.json").exists(), "unfinished, and recognisably so"
        with pytest.raises(EnvironmentProblem, match="holds no finished latent cache"):
            open_latents(out)
    running = attempt()
    out = running.scratch("result")
    build_latents(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
    assert len(seen) == len(set(seen)) == 5, "3 pieces of training and 2 of validation, each encoded once"
    assert (out / "meta.json").read_text() == (built / "meta.json").read_text()


def test_pieces_of_another_tokenizer_are_not_used(small_images, tokenizer, attempt, monkeypatch):
    monkeypatch.setattr(subject, "CHUNK", 48)
    first = attempt()
    monkeypatch.setattr(first, "stop_requested", lambda: True)
    with pytest.raises(store.Stopped):
        build_latents(small_images.config, small_images, tokenizer, attempt=first, out=first.scratch("r"), device="cpu")
    with torch.no_grad():
        tokenizer.quant_conv.weight.mul_(-1)
    second = attempt()
    out = second.scratch("r")
    build_latents(small_images.config, small_images, tokenizer, attempt=second, out=out, device="cpu")
    cache = open_latents(out)
    assert torch.equal(
        cache.batch(np.arange(9), 0, ["tokens"])[1]["tokens"],
        torch.cat(tokenizer.encode(small_images.batch(range(9))), 1),
    )


def test_damage_is_seen_and_a_good_cache_is_verified_once(built, tokenizer, monkeypatch):
    digests = []
    original = store.digest
    monkeypatch.setattr(store, "digest", lambda path: digests.append(path.name) or original(path))
    open_latents(built)
    assert len(digests) == 6
    open_latents(built)
    assert len(digests) == 6, "a second opening reads no file"
    path = built / "train_tokens.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(EnvironmentProblem, match="train_tokens.npy differs from its checksum"):
        open_latents(built)
    path.write_bytes(content[:-1])
    with pytest.raises(EnvironmentProblem, match="train_tokens.npy has"):
        open_latents(built)


def test_another_tokenizer_and_another_format_are_refused(built, tokenizer):
    with torch.no_grad():
        tokenizer.quant_conv.bias.add_(1e-3)
    with pytest.raises(EnvironmentProblem, match="other tokenizer weights"):
        open_latents(built, tokenizer)
    meta = json.loads((built / "meta.json").read_text())
    (built / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(EnvironmentProblem, match="format 99"):
        open_latents(built)


def test_an_array_that_is_never_kept_follows_from_the_tokens(built, tokenizer):
    rows = np.arange(5)
    latents = open_latents(built, tokenizer).batch(rows, 1, ["codes", "tokens"])[1]
    assert torch.equal(latents["codes"], tokenizer.quantize.embedding.weight[latents["tokens"]])


def test_scales_are_split_in_order(tokenizer):
    maps = tokenizer.maps(torch.arange(21)[None])
    assert [m.tolist() for m in maps] == [[[0]], [[1, 2, 3, 4]], [list(range(5, 21))]]
