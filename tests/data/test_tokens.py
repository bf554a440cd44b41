"""The token cache: what is in it, that it resumes, and that damage is seen."""

import json

import numpy as np
import pytest
import torch

from var_scaling.data import tokens as tokens_module
from var_scaling.data.tokens import build_tokens, open_tokens, split_scales
from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import store


@pytest.fixture
def built(small_images, tokenizer, attempt, monkeypatch, tmp_path):
    monkeypatch.setattr(tokens_module, "CHUNK", 48)
    monkeypatch.setattr(tokens_module, "ENCODE_BATCH", 29)
    running = attempt()
    out = running.scratch("result")
    build_tokens(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
    final = tmp_path / "tokens"
    assert store.publish(out, final)
    assert not list(running.folder.glob("checkpoints/*")), "the pieces are dropped once the whole is written"
    return final


def test_each_row_and_view_holds_the_tokens_of_that_image(built, small_images, tokenizer):
    cache = open_tokens(built, tokenizer)
    assert cache.train_tokens.shape == (130, 3, 21)
    assert cache.train_tokens.dtype == np.int16
    assert cache.validation_tokens.shape == (70, 21)
    rows, views = np.array([127, 3, 3, 90]), np.array([0, 2, 1, 1])
    labels_B, tokens_BL, features_BLZ = cache.batch(rows, views)
    maps = tokenizer.encode(small_images.batch(rows, views))
    assert torch.equal(tokens_BL, torch.cat(maps, 1))
    assert not torch.equal(tokens_BL[1], tokens_BL[2]), "two views differ"
    assert labels_B.tolist() == small_images.train_labels[rows].tolist()
    expected = tokenizer.teacher_forcing_input(maps)
    assert features_BLZ.shape == (4, 20, 5)
    torch.testing.assert_close(features_BLZ, expected, rtol=0, atol=1e-6)
    labels_M, tokens_ML, features_MLZ = cache.validation_batch(61, 70)
    assert labels_M.tolist() == small_images.validation_labels[61:].tolist()
    assert torch.equal(tokens_ML, torch.cat(tokenizer.encode(small_images.batch(range(61, 70), 0, "validation")), 1))
    assert features_MLZ.shape == (9, 20, 5)


def test_features_that_are_too_large_are_computed(built, small_images, tokenizer, attempt, monkeypatch, tmp_path):
    monkeypatch.setattr(tokens_module, "FEATURES_LIMIT_BYTES", 1000)
    running = attempt()
    out = running.scratch("lean")
    meta = build_tokens(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
    assert not meta["features"]
    assert not list(out.glob("*features*"))
    lean, full = open_tokens(out, tokenizer), open_tokens(built)
    rows = np.array([5, 11, 7])
    for a, b in zip(lean.batch(rows, 2), full.batch(rows, 2), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    for a, b in zip(lean.validation_batch(3, 8), full.validation_batch(3, 8), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_stopped_build_goes_on_where_it_was_and_gives_the_same_bytes(
    built, small_images, tokenizer, attempt, monkeypatch
):
    seen = []
    original = tokens_module._encode
    monkeypatch.setattr(tokens_module, "_encode", lambda *a: seen.append(a[2:4]) or original(*a))
    for limit in (2, 1):  # stop after two pieces, then after one more
        running = attempt()
        calls = len(seen)
        monkeypatch.setattr(running, "stop_requested", lambda n=calls + limit: len(seen) >= n)
        out = running.scratch("result")
        with pytest.raises(store.Stopped):
            build_tokens(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
        assert not (out / "meta.json").exists(), "unfinished, and recognisably so"
        with pytest.raises(EnvironmentProblem, match="holds no finished token cache"):
            open_tokens(out)
    running = attempt()
    out = running.scratch("result")
    build_tokens(small_images.config, small_images, tokenizer, attempt=running, out=out, device="cpu")
    assert len(seen) == len(set(seen)) == 5, "3 pieces of training and 2 of validation, each encoded once"
    assert (out / "meta.json").read_text() == (built / "meta.json").read_text()


def test_pieces_of_another_tokenizer_are_not_used(small_images, tokenizer, attempt, monkeypatch):
    monkeypatch.setattr(tokens_module, "CHUNK", 48)
    first = attempt()
    monkeypatch.setattr(first, "stop_requested", lambda: True)
    with pytest.raises(store.Stopped):
        build_tokens(small_images.config, small_images, tokenizer, attempt=first, out=first.scratch("r"), device="cpu")
    with torch.no_grad():
        tokenizer.quant_conv.weight.mul_(-1)
    second = attempt()
    out = second.scratch("r")
    build_tokens(small_images.config, small_images, tokenizer, attempt=second, out=out, device="cpu")
    cache = open_tokens(out)
    assert torch.equal(cache.batch(np.arange(9), 0)[1], torch.cat(tokenizer.encode(small_images.batch(range(9))), 1))


def test_damage_is_seen_and_a_good_cache_is_verified_once(built, tokenizer, monkeypatch):
    digests = []
    original = store.digest
    monkeypatch.setattr(store, "digest", lambda path: digests.append(path.name) or original(path))
    open_tokens(built)
    assert len(digests) == 6
    open_tokens(built)
    assert len(digests) == 6, "a second opening reads no file"
    path = built / "train_tokens.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(EnvironmentProblem, match="train_tokens.npy differs from its checksum"):
        open_tokens(built)
    path.write_bytes(content[:-1])
    with pytest.raises(EnvironmentProblem, match="train_tokens.npy has"):
        open_tokens(built)


def test_another_tokenizer_and_another_format_are_refused(built, tokenizer):
    with torch.no_grad():
        tokenizer.quant_conv.bias.add_(1e-3)
    with pytest.raises(EnvironmentProblem, match="other tokenizer weights"):
        open_tokens(built, tokenizer)
    meta = json.loads((built / "meta.json").read_text())
    (built / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(EnvironmentProblem, match="format 99"):
        open_tokens(built)


def test_scales_are_split_in_order():
    maps = split_scales(torch.arange(14)[None], (1, 2, 3))
    assert [m.tolist() for m in maps] == [[[0]], [[1, 2, 3, 4]], [[5, 6, 7, 8, 9, 10, 11, 12, 13]]]
