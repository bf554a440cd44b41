"""Sets of samples: the same however they are drawn, and what the standard evaluator reads."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import pytest
from PIL import Image

from var_scaling.evaluation import sets
from var_scaling.evaluation.sets import draw_set
from var_scaling.families.var.config import VARSampler

COUNT = 330  # four blocks, the last one short; 33 of each class
SAMPLER = VARSampler(guidance=1.0, top_k=5)


def drawn(model, out, count=COUNT, **how):
    return draw_set(model, SAMPLER, out, count=count, classes=range(10), seed=3, **how)


@pytest.fixture(scope="module")
def whole(painter, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "samples.npz"
    found = drawn(painter, out)
    assert found.complete and found.samples == COUNT
    return out


def test_it_is_what_the_evaluator_reads(whole):
    with np.load(whole) as content:
        images, labels = content["arr_0"], content["arr_1"]
    assert images.shape == (COUNT, 32, 32, 3) and images.dtype == np.uint8
    assert (images == images[..., :1]).all(), "grey, as three channels"
    assert np.bincount(labels).tolist() == [33] * 10
    about = json.loads(whole.with_suffix(".json").read_text())
    assert about["images_hash"] == hashlib.sha256(images.tobytes()).hexdigest()
    assert len({image.tobytes() for image in images}) > COUNT / 2, "the premise: samples differ"
    assert not whole.with_name("samples.npz.parts").exists()


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_make_the_same_file(painter, whole, tmp_path, parts):
    out = tmp_path / "samples.npz"
    for number in reversed(range(1, parts + 1)):
        found = drawn(painter, out, part=(number, parts))
        assert found.complete == (number == 1) == out.exists()
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("at_once", [23, 64])
def test_the_batch_makes_no_difference(painter, whole, tmp_path, at_once):
    drawn(painter, tmp_path / "samples.npz", at_once=at_once)
    assert (tmp_path / "samples.npz").read_bytes() == whole.read_bytes()


def test_a_longer_set_begins_with_the_shorter_one(painter, whole, tmp_path):
    drawn(painter, tmp_path / "samples.npz", count=105)
    with np.load(whole) as all_, np.load(tmp_path / "samples.npz") as some:
        assert np.array_equal(some["arr_0"], all_["arr_0"][:105])


def test_interrupted_at_random_it_ends_the_same(painter, whole, tmp_path):
    out, chance, stops = tmp_path / "samples.npz", random.Random(5), 0
    while not out.exists():
        left = chance.randint(0, 3)

        def beat(done, total, left=[left]):  # noqa: B006
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        part = chance.choice([(1, 1), (1, 2), (2, 2)])
        try:
            drawn(painter, out, part=part, beat=beat)
        except KeyboardInterrupt:
            stops += 1
    assert stops > 2, "the premise: it was stopped"
    assert out.read_bytes() == whole.read_bytes()


def test_a_stop_before_it_is_put_together_loses_nothing(painter, whole, tmp_path, monkeypatch):
    out = tmp_path / "samples.npz"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sets._Npz, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            drawn(painter, out)
    assert not out.exists()

    def never(*_):
        raise AssertionError("everything was drawn")

    monkeypatch.setattr(sets, "draw_block", never)
    drawn(painter, out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_folder_holds_the_same_pictures(painter, whole, tmp_path):
    for number in (2, 1):
        found = drawn(painter, tmp_path / "set", part=(number, 2))
    assert found.complete
    with np.load(whole) as content:
        for i in (0, 99, 100, COUNT - 1):
            with Image.open(tmp_path / "set" / f"{i:06d}.png") as image:
                assert np.array_equal(np.asarray(image.convert("RGB")), content["arr_0"][i])
    assert len(list((tmp_path / "set").glob("*.png"))) == COUNT
    assert found.about["images_hash"] == json.loads(whole.with_suffix(".json").read_text())["images_hash"]
    assert drawn(painter, tmp_path / "set").complete


def test_a_torn_picture_is_drawn_again(painter, tmp_path):
    out = tmp_path / "set"
    drawn(painter, out, count=130, part=(1, 2))
    (out / "000003.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match="left torn"):
        drawn(painter, out, count=130, part=(2, 2))
    found = drawn(painter, out, count=130)
    assert found.complete and (out / "000003.png").stat().st_size > 4


def test_another_set_is_not_written_over(painter, whole, tmp_path):
    before = whole.read_bytes()
    with pytest.raises(ValueError, match="seed is 3 and 4 was asked for"):
        draw_set(painter, SAMPLER, whole, count=COUNT, classes=range(10), seed=4)
    assert whole.read_bytes() == before
    drawn(painter, tmp_path / "a.npz", part=(1, 2))
    with pytest.raises(ValueError, match="count is 330 and 100 was asked for"):
        drawn(painter, tmp_path / "a.npz", count=100)
    (tmp_path / "mine.npz").write_bytes(b"theirs")
    with pytest.raises(ValueError, match="no set of samples of ours"):
        drawn(painter, tmp_path / "mine.npz")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"")
    with pytest.raises(ValueError, match="no set of samples of ours"):
        drawn(painter, tmp_path / "photos")
