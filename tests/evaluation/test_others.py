"""Other people's samples and references: measured by our rules, refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from var_scaling.evaluation.features import image_bytes, reference_features
from var_scaling.evaluation.fid import measure
from var_scaling.evaluation.frechet import Gaussian
from var_scaling.evaluation.others import FileReference, measure_set, open_reference, set_features
from var_scaling.evaluation.set_files import open_set

COUNT = 400


@pytest.fixture(scope="module")
def pixels(images):
    """(N, H, W, 3): 40 validation images of each class, one class after the other."""
    rows = np.concatenate([np.flatnonzero(images.validation_labels == c)[: COUNT // 10] for c in range(10)])
    return np.repeat(image_bytes(images, "validation", rows).numpy().transpose(0, 2, 3, 1), 3, axis=-1)


@pytest.fixture
def npz(pixels, tmp_path):
    def save(**arrays):
        path = tmp_path / f"file{len(list(tmp_path.iterdir()))}.npz"
        np.savez(path, **arrays)
        return path

    return save


def test_somebodys_samples_are_measured_as_our_own(pixels, npz, images, extractor):
    reference = reference_features(images, "train", extractor)
    labels = np.repeat(np.arange(10), COUNT // 10)
    path = npz(arr_0=pixels, arr_1=labels)
    found = measure_set(path, extractor, channels=1, reference=FileReference(reference, "train@ab", 20_000))
    order = np.arange(COUNT).reshape(10, -1).T.ravel()  # the classes take turns
    ours = extractor(image_bytes_of(pixels[order]))
    expected = measure(ours[0], reference, ours[1], labels[order])
    for name in ("fid", "fid_corrected", "fid_low", "kid", "precision", "recall", "inception_score"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
    assert found["label"].startswith("classifier-train@ab-400-balanced-")


def image_bytes_of(images_NHWC):
    import torch

    return torch.from_numpy(np.ascontiguousarray(images_NHWC[..., :1].transpose(0, 3, 1, 2)))


def test_a_folder_gives_the_same_numbers_and_hash(pixels, npz, extractor, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image[..., 0] if i % 2 else image).save(folder / f"{i:04d}.png")
    a, b = (set_features(open_set(path), extractor, 1) for path in (npz(arr_0=pixels), folder))
    assert a.hash == b.hash and np.array_equal(a.features, b.features)
    assert a.strata is None, "no classes: shuffled"
    assert not np.array_equal(a.features, extractor(image_bytes_of(pixels))[0]), "a set sorted by class is not halved"


def test_classes_are_the_folders_in_a_folder(pixels, tmp_path):
    for i in range(30):
        place = tmp_path / "set" / "abc"[i // 10]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(place / f"{i:04d}.png")
    found = open_set(tmp_path / "set")
    assert found.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10 and found.balanced
    assert found.order()[:3].tolist() == [0, 10, 20]


def test_moments_of_a_file_are_those_of_its_images(pixels, npz, extractor):
    whole = open_reference(npz(arr_0=pixels), extractor, 1, (32, 32))
    gaussian = Gaussian.of(extractor(image_bytes_of(pixels))[0])
    moments = npz(mu=gaussian.mean, sigma=gaussian.covariance)
    alone = open_reference(moments, extractor, 1, (32, 32))
    np.testing.assert_allclose(whole.features.gaussian.mean, alone.features.gaussian.mean, atol=1e-5)
    np.testing.assert_allclose(whole.features.gaussian.covariance, alone.features.gaussian.covariance, atol=1e-4)
    assert whole.images == COUNT and alone.images is None
    assert (
        alone.name != open_reference(npz(mu=gaussian.mean + 1, sigma=gaussian.covariance), extractor, 1, (32, 32)).name
    )
    found = measure_set(npz(arr_0=pixels), extractor, channels=1, reference=moments)
    assert found["fid"] == pytest.approx(0, abs=1e-3) and "kid" not in found and alone.name in found["label"]


def test_pictures_of_a_reference_are_brought_to_the_samples_size(pixels, extractor, tmp_path):
    folder = tmp_path / "big"
    folder.mkdir()
    for i in range(5):
        Image.fromarray(pixels[i]).resize((80, 64), Image.Resampling.NEAREST).save(folder / f"{i}.png")
    assert open_reference(folder, extractor, 1, (32, 32)).images == 5


def broken(kind, pixels, npz, tmp_path):
    small = pixels[:20]
    if kind == "truncated":
        path = npz(arr_0=small)
        path.write_bytes(path.read_bytes()[: 20 * 32 * 32])
        return path
    if kind == "torn inside":
        path = npz(arr_0=small)
        content = bytearray(path.read_bytes())
        content[5_000] ^= 255
        path.write_bytes(bytes(content))
        return path
    if kind == "text":
        (tmp_path / "text.npz").write_text("hello")
        return tmp_path / "text.npz"
    if kind == "one picture":
        Image.new("L", (32, 32)).save(tmp_path / "picture.png")
        return tmp_path / "picture.png"
    if kind == "sizes":
        (tmp_path / "set").mkdir()
        for side in (32, 40):
            Image.new("L", (side, side)).save(tmp_path / "set" / f"{side}.png")
        return tmp_path / "set"
    if kind == "damaged picture":
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "a.png").write_bytes(b"\x89PNG")
        return tmp_path / "set"
    if kind == "empty":
        (tmp_path / "set").mkdir()
        return tmp_path / "set"
    if kind == "missing":
        return tmp_path / "nothing.npz"
    colour = small.copy()
    colour[..., 0] ^= 255
    arrays = {
        "no arr_0": {"images": small},
        "floats": {"arr_0": small / 255},
        "channels first": {"arr_0": small.transpose(0, 3, 1, 2)},
        "flat": {"arr_0": small.reshape(20, -1)},
        "objects": {"arr_0": np.array([{}, {}], object)},
        "none": {"arr_0": small[:0]},
        "colour": {"arr_0": colour},
    }
    return npz(**arrays[kind])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "no whole .npz file"),
        ("torn inside", "truncated or damaged"),
        ("text", "no whole .npz file"),
        ("one picture", "picture.png is no .npz file; give one, or a folder of pictures"),
        ("sizes", "40x40 pixels and the first picture of the folder 32x32"),
        ("damaged picture", "a.png: .*remove it, or mend it"),
        ("empty", "no picture in the folder"),
        ("missing", "is not there"),
        ("no arr_0", r"holds no arr_0 \(it holds images\)"),
        ("floats", "is of float64; images are expected as uint8"),
        ("channels first", r"channels come last: arr_0.transpose"),
        ("flat", r"has shape \(20, 3072\)"),
        ("objects", "is of object"),
        ("none", "holds no image"),
        ("colour", "holds colour"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(kind, says, pixels, npz, extractor, tmp_path):
    path = broken(kind, pixels, npz, tmp_path)
    with pytest.raises(ValueError, match=says):
        set_features(open_set(path), extractor, 1)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"mu": np.zeros(2048), "sigma": np.eye(2048)}, "mu of .* has 2048 numbers and classifier features 16"),
        ({"mu": np.zeros(16), "sigma": np.eye(15)}, "has shape"),
        ({"mu": np.full(16, np.nan), "sigma": np.eye(16)}, "not numbers"),
        ({"mean": np.zeros(16)}, "a reference has mu and sigma, or images in arr_0"),
        ({"arr_0": np.zeros((20, 16, 16, 3), np.uint8)}, "16x16 pixels and the samples 32x32"),
    ],
)
def test_what_is_no_reference_is_a_sentence(arrays, says, npz, extractor):
    with pytest.raises(ValueError, match=says):
        open_reference(npz(**arrays), extractor, 1, (32, 32))
