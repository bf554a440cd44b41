"""Edits: what is kept stays, what lay under the mask plays no part, each candidate is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from var_scaling.evaluation.canvas import Box, Margins, Mask, canvas
from var_scaling.evaluation.editing import _chosen, edit, filled, laid_in, membrane
from var_scaling.families.var.config import VARSampler
from var_scaling.pictures import Unreadable

SAMPLER = VARSampler(guidance=1.0)


@pytest.fixture(scope="module")
def pictures():
    """(5, 1, 32, 32) uint8, smooth and all different."""
    y, x = np.mgrid[:32, :32] / 32
    return np.stack([np.uint8(255 * (0.5 + 0.5 * np.sin(3 * x + k * y)))[None] for k in range(5)])


@pytest.fixture(scope="module")
def mask():
    found = np.zeros((32, 32), bool)
    found[9:23, 9:23] = True
    return found


@pytest.mark.parametrize("seam", ["membrane", "paste"])
def test_kept_pixels_stay_to_the_bit(painter, pictures, mask, seam):
    found = edit(painter, pictures, mask, np.arange(5), SAMPLER, candidates=3, seam=seam)
    assert found.shape == (5, 3, 1, 32, 32) and found.dtype == np.uint8
    assert (found[..., ~mask] == pictures[:, None][..., ~mask]).all()
    assert (found[:, 0] != found[:, 1])[..., mask].any(), "candidates differ"
    other = edit(painter, pictures, mask, np.arange(5), SAMPLER, candidates=3, seam=seam, seed=1)
    assert (found != other)[..., mask].any()


def test_nothing_under_the_mask_reaches_the_model(painter, pictures, mask):
    painted = np.where(mask, 255 - pictures, pictures)
    assert (painted != pictures).any()
    a, b = (edit(painter, images, mask, None, SAMPLER, candidates=2) for images in (pictures, painted))
    assert np.array_equal(a, b)


def test_a_candidate_is_a_function_of_its_picture_and_number(painter, pictures, mask, monkeypatch):
    together = edit(painter, pictures, mask, np.arange(5), SAMPLER, candidates=3)
    alone = edit(painter, pictures[3:4], mask, np.array([3]), SAMPLER, candidates=3)
    assert np.array_equal(alone[0], together[3])
    assert np.array_equal(edit(painter, pictures, mask, np.arange(5), SAMPLER, candidates=2), together[:, :2])
    monkeypatch.setattr("var_scaling.evaluation.editing.SAMPLES_AT_ONCE", 4)
    assert np.array_equal(edit(painter, pictures, mask, np.arange(5), SAMPLER, candidates=3), together)


def test_of_several_draws_one_is_chosen_by_its_weight():
    lots = np.random.default_rng(0).uniform(size=(4_000, 2))
    share = _chosen(np.broadcast_to(np.log([1.0, 3.0]), (4_000, 2)), lots).mean()
    assert abs(share - 0.75) < 0.025
    assert (_chosen(np.broadcast_to([0.0, -800.0], (4_000, 2)), lots) == 0).all()
    assert (_chosen(np.zeros((1, 1)), np.zeros((1, 1))) == 0).all()


def test_more_tries_choose_among_more(painter, pictures, mask):
    one, four = (edit(painter, pictures, mask, None, SAMPLER, candidates=4, tries=t, seam="paste") for t in (1, 4))
    same = (one == four).all((2, 3, 4)).mean()
    assert 0 < same < 0.8, "the first try is among the four, and is not always taken"


def test_the_mode_of_the_model_is_left_as_it_was(painter, pictures, mask):
    painter.module.train()
    edit(painter, pictures[:1], mask, None, SAMPLER, candidates=1)
    assert painter.module.training
    painter.module.eval()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((32, 32), bool), "without any white"),
        (np.ones((32, 32), bool), "white everywhere"),
        (np.ones((16, 16), bool), "does not fit"),
        (np.ones((2, 32, 32), bool), "does not fit"),
    ],
)
def test_a_mask_that_cannot_be_is_a_sentence(painter, pictures, wrong, says):
    with pytest.raises(ValueError, match=says):
        edit(painter, pictures, wrong, None, SAMPLER)


def test_a_family_that_cannot_keep_a_part_says_so(painter, pictures, mask, monkeypatch):
    class Half:
        @staticmethod
        def draw(module, labels_B, tokenizer, sampler, noise):
            raise AssertionError("never asked")

    monkeypatch.setattr("var_scaling.evaluation.generation.model_of", lambda config: Half)
    with pytest.raises(ValueError, match="family var draw whole pictures only"):
        edit(painter, pictures, mask, None, SAMPLER)


def test_a_membrane_is_flat_between_equal_rims_and_linear_between_two():
    values = np.zeros((2, 6, 9))
    values[0], values[1] = 7, np.arange(9)
    hole = np.zeros((6, 9), bool)
    hole[:, 2:7] = True  # to the picture's upper and lower edge
    values[:, hole] = 99
    found = membrane(values, hole)
    np.testing.assert_allclose(found[0], 7)
    np.testing.assert_allclose(found[1], np.broadcast_to(np.arange(9), (6, 9)))
    ratio = membrane(np.ones((1, 40)), np.arange(40)[None] > 2, reach=5)[0, 4:20]
    np.testing.assert_allclose(
        ratio[1:] / ratio[:-1], np.exp(-1 / 5), rtol=2e-3, err_msg="it falls by e within its reach"
    )


def test_a_membrane_takes_the_step_off_a_seam(pictures, mask):
    shifted = np.uint8(np.clip(pictures.astype(int) // 2 + 40, 0, 255))[:, None]
    truth = np.uint8(pictures // 2)
    mended, pasted = (
        laid_in(truth, shifted, np.broadcast_to(mask, (5, 32, 32)), seam).astype(int) for seam in ("membrane", "paste")
    )
    at_the_rim, inside = abs(mended[:, 0, 0, 9] - truth[:, 0, 9])[:, 12:20], abs(mended - truth[:, None])[..., 16, 16]
    assert at_the_rim.max() < 20 and inside.min() > 30, "it fades"
    assert abs(pasted[:, 0] - truth)[..., mask].min() >= 38
    assert (filled(truth, np.broadcast_to(mask, (5, 32, 32)))[..., ~mask] == truth[..., ~mask]).all()


# ---- files -----------------------------------------------------------------------------------------------------------


def saved(tmp_path, mode="L", size=(32, 32), name="a.png", value=90):
    path = tmp_path / name
    if mode == "I;16":
        Image.fromarray(np.full(size[::-1], value * 257, np.uint16)).save(path)
    elif mode in ("LA", "RGBA"):
        image = Image.new(mode, size, (value,) * (len(mode) - 1) + (255,))
        image.putpixel((0, 0), (value,) * (len(mode) - 1) + (0,))
        image.save(path)
    else:
        Image.new(mode, size, value if mode == "L" else (value,) * 3).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_picture_is_what_a_viewer_shows(tmp_path, mode, channels):
    found = canvas(saved(tmp_path, mode), Box(8, 8, 24, 24), 32, channels)
    assert found.image_CSS.shape == (channels, 32, 32)
    assert (found.image_CSS[:, 3, 3] == 90).all()
    assert (found.image_CSS[:, 0, 0] == (255 if "A" in mode else 90)).all(), "what is transparent shows white"
    assert found.mask_SS.sum() == 16 * 16 and found.mask_SS[8, 8] and not found.mask_SS[24, 24]


def test_a_picture_of_another_size_is_scaled_with_its_mask_and_nothing_bleeds(tmp_path):
    for size in ((100, 64), (16, 16)):
        image = Image.new("L", size, 90)
        box = Box(size[0] // 2 - 3, 5, size[0] // 2 + 2, 9)
        image.paste(255, (box.x0, box.y0, box.x1, box.y1))
        image.save(tmp_path / "a.png")
        found = canvas(tmp_path / "a.png", box, 32, 1)
        assert (found.image_CSS[:, ~found.mask_SS] == 90).all()
        square = min(size)
        assert found.mask_SS.sum() >= 5 * 4 * (32 / square) ** 2
        assert len(found.notes) == (2 if size[0] != size[1] else 1)


def test_a_mask_is_white_where_it_is_drawn(tmp_path):
    picture = saved(tmp_path)
    mask = Image.new("L", (32, 32), 127)
    mask.paste(128, (0, 0, 3, 1))
    mask.save(tmp_path / "mask.png")
    assert canvas(picture, Mask(tmp_path / "mask.png"), 32, 1).mask_SS.sum() == 3
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "a.png")
    assert canvas(picture, Mask(tmp_path / "masks"), 32, 1).mask_SS.sum() == 3


def test_margins_are_drawn_around_the_picture(tmp_path):
    found = canvas(saved(tmp_path, size=(20, 24)), Margins(8, 0, 4, 8), 32, 1)
    assert found.mask_SS.sum() == 32 * 32 - 20 * 24
    assert (found.image_CSS[:, ~found.mask_SS] == 90).all() and not found.mask_SS[0, 8] and found.mask_SS[0, 7]


def parts(tmp_path):
    for name, size, value in (("white", (32, 32), 255), ("black", (32, 32), 0), ("small", (16, 16), 255)):
        saved(tmp_path, size=size, name=f"{name}.png", value=value)
    (tmp_path / "torn.png").write_bytes((tmp_path / "white.png").read_bytes()[:40])
    (tmp_path / "folder").mkdir()
    return {
        "white": (Mask(tmp_path / "white.png"), "white everywhere"),
        "black": (Mask(tmp_path / "black.png"), "no white"),
        "another size": (Mask(tmp_path / "small.png"), "small.png has 16x16 pixels and the picture 32x32"),
        "torn": (Mask(tmp_path / "torn.png"), "truncated|broken|no picture"),
        "none in the folder": (Mask(tmp_path / "folder"), "no mask a.png"),
        "outside": (Box(20, 20, 40, 30), "not within the picture of 32x32"),
        "turned round": (Box(20, 20, 10, 30), "left < right"),
        "everything": (Box(0, 0, 32, 32), "white everywhere"),
        "no square": (Margins(4, 0, 0, 0), "models draw squares"),
        "cut": (Margins(-4, 0, 4, 0), "0 or more"),
        "nothing": (Margins(0, 0, 0, 0), "no white"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "white",
        "black",
        "another size",
        "torn",
        "none in the folder",
        "outside",
        "turned round",
        "everything",
        "no square",
        "cut",
        "nothing",
    ],
)
def test_a_part_that_cannot_be_is_a_sentence(tmp_path, case):
    picture = saved(tmp_path)
    part, says = parts(tmp_path)[case]
    with pytest.raises((ValueError, Unreadable), match=says):
        canvas(picture, part, 32, 1)


def test_no_picture_is_a_sentence(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    for name, says in (("a.png", "no picture"), ("b.png", "no such file")):
        with pytest.raises(Unreadable, match=says):
            canvas(tmp_path / name, Box(0, 0, 2, 2), 32, 1)


def test_the_premise_the_painter_hears_its_class(painter, pictures, mask):
    with torch.no_grad():
        a, b = (edit(painter, pictures[:1], mask, np.array([c]), SAMPLER, candidates=2) for c in (0, 9))
    assert (a != b).any()
