"""The world: the same bytes everywhere, factors that are what the pixels show, classes that can be told apart."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from var_scaling.config.class_names import WORLD_MATERIALS, WORLD_THINGS, class_names
from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.data import world
from var_scaling.data.images import content_hash, load_images
from var_scaling.data.world import scene
from var_scaling.data.world.factors import RANGES
from var_scaling.data.world.integers import ONE, colour, cosine, root, sine
from var_scaling.data.world.letters import GLYPHS, plate
from var_scaling.data.world.things import MATERIAL, thing_map
from var_scaling.errors import EnvironmentProblem

NAMES = class_names(resolve_data(DataConfig(name="world")))


def load(**fields):
    return load_images(resolve_data(DataConfig(name="world", unique_images=200, validation_images=100, **fields)))


@pytest.mark.parametrize("side", [32, 64])
def test_the_world_is_the_declared_one(side):
    images = load(resolution=side)
    assert images.train.shape == (200, side, side, 3)
    assert np.bincount(images.train_labels).tolist() == [2] * 100
    assert content_hash(images.train[:100], images.validation) == world.KNOWN_CONTENT[side]
    assert len({image.tobytes() for image in (*images.train, *images.validation)}) == 300, "no image comes twice"


def test_another_world_is_refused(monkeypatch):
    monkeypatch.setitem(scene.GLOSS, "plastic", (5, 151))
    with pytest.raises(EnvironmentProblem, match="draws another world than version '1'"):
        load_images(resolve_data(DataConfig(name="world", unique_images=100, validation_images=200)))


def test_an_image_depends_on_its_address_alone():
    rows = np.array([70_213, 5, 70_213, 1_999_999])
    together = world.draw("train", rows, 32)
    for row, image in zip(rows, together, strict=True):
        np.testing.assert_array_equal(world.draw("train", np.array([row]), 32)[0], image)
    assert (world.draw("validation", rows, 32) != together).any()


def test_there_are_more_images_for_who_asks():
    assert resolve_data(DataConfig(name="world", unique_images=200_000)).unique_images == 200_000
    with pytest.raises(ValueError, match="use 200000, or 20000 as usual"):
        resolve_data(DataConfig(name="world", unique_images=300_000))
    with pytest.raises(ValueError, match="48 is not a size of world; use 32 or 64"):
        resolve_data(DataConfig(name="world", resolution=48))


def test_classes_are_named_and_each_thing_fills_its_place():
    names = NAMES
    assert len(set(names)) == 100
    assert (names[0], names[32], names[99]) == ("plastic ball", "brick car", "brick umbrella")
    assert len({name.split()[1] for name in names[:20]}) == 20, "a grid of the first few shows many things"
    assert {name.split()[0] for name in names[:5]} == set(WORLD_MATERIALS)
    what = world.factors("train", np.arange(100))
    assert [f"{WORLD_MATERIALS[m]} {WORLD_THINGS[t]}" for t, m in zip(what.thing, what.material, strict=True)] == list(
        names
    )
    for thing in range(len(WORLD_THINGS)):
        parts = thing_map(thing) >> 23
        assert 0.1 < (parts > 0).mean() < 0.9, WORLD_THINGS[thing]
        assert (parts == MATERIAL).mean() > 0.06, "enough of it shows its material"


def test_factors_cover_their_ranges_and_are_independent():
    what = world.factors("train", np.arange(20_000))
    drawn = {name: getattr(what, name) for name in RANGES}
    for name, (least, most) in RANGES.items():
        values = drawn[name]
        assert least <= values.min() and values.max() <= most
        assert abs(values.mean() - (least + most) / 2) < 0.02 * (most - least + 1), name
    for (a, x), (b, y) in itertools.combinations(drawn.items(), 2):
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.04, (a, b)


def test_every_factor_shows_in_the_pixels():
    what = world.factors(
        "train", np.arange(0, 40 * 100, 100) + NAMES.index("dotted ball")
    )  # balls: they have no other side

    def drawn(of):
        images = scene._scene(of, 32).copy()
        scene._write(images, np.arange(len(of)), of)
        return images

    before = drawn(what)
    shows_not = []
    for name, (least, most) in RANGES.items():
        values = getattr(what, name)
        changed = np.where(values == most, least, most).astype(np.int32)
        if (drawn(replace(what, **{name: changed})) == before).all():
            shows_not.append(name)
    assert shows_not == []


def test_most_letters_are_none_when_mirrored_so_that_nothing_is_flipped():
    assert len({glyph.tobytes() for glyph in GLYPHS}) == len(world.ALPHABET) == 24
    mirrored = [glyph[:, ::-1].tobytes() for glyph in GLYPHS]
    known = {glyph.tobytes() for glyph in GLYPHS}
    assert sum(each not in known for each in mirrored) / 24 > 0.6
    assert not resolve_data(DataConfig(name="world", views=4)).flip


@pytest.mark.parametrize("side", [32, 64])
def test_letters_are_where_their_factors_say(side):
    rows = np.arange(300)
    what, images = world.factors("train", rows), world.draw("train", rows, side)
    scale = side // 32
    for i in np.flatnonzero(what.text)[:50]:
        left = what.text_x[i] if not what.text_right[i] else 32 - 9 - what.text_x[i]
        found = images[i, ::scale, ::scale][what.text_y[i] : what.text_y[i] + 7, left : left + 9].sum(axis=2) > 384
        ink = plate(int(what.first[i]), int(what.second[i]))
        np.testing.assert_array_equal(found, ~ink if what.text_dark[i] else ink)


def test_integers_come_close_to_what_they_stand_for():
    angles = np.arange(-400, 800)
    assert np.abs(sine(angles) - ONE * np.sin(np.radians(angles))).max() < 3
    assert np.abs(cosine(angles) - ONE * np.cos(np.radians(angles))).max() < 3
    assert root(np.array([0, 1, 24, 25, 99_999, -5])).tolist() == [0, 1, 4, 5, 316, 0]
    full = np.array([256], np.int32)
    for hue, rgb in ((0, (255, 0, 0)), (256, (255, 255, 0)), (512, (0, 255, 0)), (1024, (0, 0, 255))):
        assert colour(np.array([hue]), full, full - 1)[0].tolist() == list(rgb)


def features(images):
    """Random 5x5 filters, rectified and averaged over a 4 x 4 grid: what a very small network sees."""
    rng = np.random.default_rng(0)
    x = images.astype(np.float32) / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))[:, ::2, ::2]
    flat = windows.reshape(*windows.shape[:3], -1)
    flat = flat - flat.mean(axis=3, keepdims=True)
    answers = np.abs(flat @ rng.standard_normal((75, 96)).astype(np.float32))
    height, width = answers.shape[1] // 4, answers.shape[2] // 4
    cells = answers[:, : 4 * height, : 4 * width].reshape(len(x), 4, height, 4, width, 96).mean(axis=(2, 4))
    return np.concatenate((cells.reshape(len(x), -1), np.ones((len(x), 1))), axis=1)


@pytest.mark.parametrize(
    ("labels", "least"),
    [
        (
            [5 * WORLD_THINGS.index(name) for name in ("ball", "star", "house", "mug", "car", "boat", "key", "lamp")],
            0.7,
        ),
        ([NAMES.index(f"{name} drum") for name in WORLD_MATERIALS], 0.7),
    ],
    ids=["things", "materials"],
)
def test_a_small_classifier_tells_classes_apart(labels, least):
    def split(name, each):
        rows = (np.arange(each)[:, None] * 100 + np.array(labels)).reshape(-1)
        return features(world.draw(name, rows, 32)), np.tile(np.arange(len(labels)), each)

    (x, y), (seen, truth) = split("train", 120), split("validation", 25)
    scale = x.std(axis=0) + 1e-3
    x, seen = x / scale, seen / scale
    weights = np.linalg.solve(x.T @ x + 300 * np.eye(x.shape[1]), x.T @ np.eye(len(labels))[y])
    accuracy = ((seen @ weights).argmax(axis=1) == truth).mean()
    assert accuracy > least, f"{accuracy:.0%}; by chance {1 / len(labels):.0%}"
