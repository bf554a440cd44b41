"""The embedded set, balanced prefixes, addressed views, and folders of image files."""

import numpy as np
import pytest
import torch
from PIL import Image

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.image_manifest import UNREADABLE_SHARE
from var_scaling.data.images import load_images
from var_scaling.data.make_embedded import DEBIAN_FOLDER, EMBEDDED_FILE, make
from var_scaling.errors import EnvironmentProblem


def load(**fields):
    return load_images(resolve_data(DataConfig(**fields)))


def test_the_embedded_set_is_small_and_balanced():
    assert EMBEDDED_FILE.stat().st_size < 12e6
    assert (EMBEDDED_FILE.parent / "LICENSE-fashion-mnist.txt").read_text().count("Zalando SE") == 1
    images = load()
    assert images.train.shape == (20_000, 32, 32, 1)
    assert images.validation.shape == (5_000, 32, 32, 1)
    assert np.bincount(images.train_labels).tolist() == [2_000] * 10
    assert np.bincount(images.validation_labels).tolist() == [500] * 10


@pytest.mark.slow  # 10 s of compression
@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_script_makes_the_committed_file_and_the_full_set_begins_with_it(tmp_path):
    make(DEBIAN_FOLDER, tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(EMBEDDED_FILE) as committed:
        assert sorted(again.files) == sorted(committed.files)
        for name in committed.files:
            np.testing.assert_array_equal(again[name], committed[name])
    full, mini = load(name="fashion-mnist"), load()
    assert len(full.train) == 60_000
    np.testing.assert_array_equal(full.train[:20_000], mini.train)
    np.testing.assert_array_equal(full.validation_labels[:5_000], mini.validation_labels)


def test_unique_images_are_balanced_nested_and_change_the_content_hash():
    small, large = load(unique_images=70), load(unique_images=130)
    assert np.bincount(small.train_labels).tolist() == [7] * 10
    np.testing.assert_array_equal(small.train, large.train[:70])
    assert small.content_hash != large.content_hash
    assert len(small.validation) == 5_000


def test_more_images_than_there_are_is_no_matter_of_balance():
    with pytest.raises(ValueError, match=r"is more than the \d+ there are \(10 classes\); use (\d+), which is all"):
        load(unique_images=1_000_000)
    with pytest.raises(ValueError, match=r"71 is not class-balanced: .*; use 70, or \d+ for all"):
        load(unique_images=71)


def test_view_0_is_plain_and_in_range():
    images = load(views=3)
    batch = images.batch([3, 5, 8])
    assert batch.shape == (3, 1, 32, 32)
    assert batch.dtype == torch.float32
    assert (batch.min(), batch.max()) == (-1.0, 1.0)
    np.testing.assert_array_equal(
        np.rint((batch.numpy() + 1) * 127.5).astype(np.uint8)[:, 0], images.train[[3, 5, 8], :, :, 0]
    )


def test_views_are_addressed_by_image_and_view_never_by_batch():
    images = load(views=7)
    together = images.batch([2, 11, 2, 17], np.array([1, 2, 3, 0]))
    assert not torch.equal(together[0], together[2]), "two views of one image differ"
    for place, (index, view) in enumerate([(2, 1), (11, 2), (2, 3), (17, 0)]):
        assert torch.equal(images.batch([index], view)[0], together[place])


def test_a_shift_moves_every_pixel_and_stays_within_two():
    images = load(views=64)
    rows, seen = np.zeros(64, np.int64) + 13, set()
    plain = np.pad(images.train[13, :, :, 0], 2)
    for view in images.batch(rows, np.arange(64)):
        pixels = np.rint((view[0].numpy() + 1) * 127.5).astype(np.uint8)
        places = [(dy, dx) for dy in range(5) for dx in range(5) if (plain[dy : dy + 32, dx : dx + 32] == pixels).all()]
        assert places, "a view is the image shifted by at most 2 pixels"
        seen.add(places[0])
    assert len(seen) > 15, "64 views visit most of the 25 shifts"


def test_flips_happen_about_half_the_time_and_never_to_view_0():
    images = load(views=2, flip=True, crop="centre")
    plain, other = images.batch(range(400), 0), images.batch(range(400), 1)
    flipped = (plain.flip(-1) == other).flatten(1).all(1) & (plain != other).flatten(1).any(1)
    kept = (plain == other).flatten(1).all(1)
    assert (flipped | kept).all()
    assert 150 < int(flipped.sum()) < 250


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 3)):
        for name in ("ape", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (37, 53, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def open_folder(folder, workers=1, **fields):
    config = DataConfig(**{"name": "imagefolder", "resolution": 16, "views": 3} | fields)
    return load_images(resolve_data(config, image_folder=str(folder)), image_folder=str(folder), workers=workers)


def test_a_folder_follows_the_papers_crop(folder):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    images = open_folder(folder)
    assert images.train.shape == (10, 16, 16, 3)
    assert images.train_labels.tolist() == [0, 1] * 5
    for row, name in enumerate(images.files["train"]):
        image = F.resize(Image.open(folder / name), 18, InterpolationMode.LANCZOS)
        np.testing.assert_array_equal(images.train[row], np.asarray(F.center_crop(image, 16)))


def test_threads_and_batches_do_not_change_a_folders_pixels(folder):
    rows, views = np.arange(10), np.array([0, 1, 2, 1, 2, 0, 1, 1, 2, 2])
    alone, threads = open_folder(folder), open_folder(folder, workers=3)
    assert torch.equal(alone.batch(rows, views), threads.batch(rows, views))
    assert torch.equal(alone.batch([7], 1)[0], alone.batch(rows, views)[7])
    assert not torch.equal(alone.batch([7], 1), alone.batch([7], 0))


def test_an_image_file_is_decoded_once_for_all_its_views(folder, monkeypatch):
    images, names = open_folder(folder), []
    original = images._decode
    monkeypatch.setattr(images, "_decode", lambda name, split: names.append(name) or original(name, split))
    together = images.batch([7, 2, 7, 7], np.array([0, 1, 1, 2]))
    assert len(names) == 2
    for place, (row, view) in enumerate([(7, 0), (2, 1), (7, 1), (7, 2)]):
        assert torch.equal(together[place], images.batch([row], view)[0])


def test_a_grey_folder_and_a_subset(folder):
    images = open_folder(folder, channels=1, unique_images=4)
    assert images.batch([0, 3]).shape == (2, 1, 16, 16)
    assert images.train_labels.tolist() == [0, 1, 0, 1]


def test_corrupt_images_are_all_named_and_counted_in_their_own_split(folder):
    images = open_folder(folder)
    bad = [folder / images.files["train"][row] for row in (4, 5)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:200])  # the header is whole, so only decoding finds it
    images = open_folder(folder)
    with pytest.raises(EnvironmentProblem, match=rf"1 of 10 images of train/.*{bad[0].name}"):
        images.batch(range(10))
    with pytest.raises(EnvironmentProblem, match=rf"2 of 10 images of train/.*{bad[0]}: .*{bad[1]}: "):
        images.batch(range(10)[5:])
    assert images.unreadable["validation"] == {}
    for path in bad:
        path.write_bytes(b"no image")  # found when the folder is listed, before anything is spent
    with pytest.raises(EnvironmentProblem, match=r"2 of 10 images of train/.*no picture in a format that is known"):
        open_folder(folder)


def test_a_corrupt_image_is_replaced_by_a_class_mate_in_a_large_set(folder, monkeypatch):
    assert UNREADABLE_SHARE < 0.01
    monkeypatch.setattr("var_scaling.config.image_manifest.UNREADABLE_SHARE", 0.1)
    bad = open_folder(folder).files["train"][4]
    (folder / bad).write_bytes(b"no image")
    images = open_folder(folder)
    batch = images.batch(range(10))
    assert torch.equal(batch[4], batch[6]), "rows 4 and 6 are of one class"
    assert list(images.unreadable["train"]) == [bad]


def test_a_changed_folder_is_refused(folder):
    config = resolve_data(DataConfig(name="imagefolder", resolution=16), image_folder=str(folder))
    Image.new("RGB", (40, 30)).save(folder / "val" / "ape" / "9.png")
    with pytest.raises(EnvironmentProblem, match="has changed since this study was planned"):
        load_images(config, image_folder=str(folder))


def test_missing_sets_say_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("VAR_SCALING_DATA", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="imagenet is not on this machine: .*imagenet does not exist"):
        load(name="imagenet")

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", offline)
    with pytest.raises(EnvironmentProblem, match="cifar10 is not on this machine and cannot be downloaded"):
        load(name="cifar10")


def test_a_part_of_imagenet_is_not_imagenet(folder, monkeypatch):
    monkeypatch.setenv("VAR_SCALING_DATA", str(folder.parent))
    folder.rename(folder.parent / "imagenet")
    try:
        with pytest.raises(EnvironmentProblem, match="is not ImageNet-1k .* use data.name imagefolder"):
            load(name="imagenet")
    finally:
        (folder.parent / "imagenet").rename(folder)


def test_cifar10_is_read_from_torchvisions_layout(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)

    class Fake:
        base_folder = "cifar-10-batches-py"

        def __init__(self, root, train, download):
            assert not download
            count = 50_000 if train else 10_000
            self.data = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
            self.targets = (np.arange(count) * 7 % 10).tolist()

    (tmp_path / "cifar10" / Fake.base_folder).mkdir(parents=True)
    monkeypatch.setenv("VAR_SCALING_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)
    images = load(name="cifar10", unique_images=110)
    assert images.train.shape == (110, 32, 32, 3)
    assert np.bincount(images.train_labels).tolist() == [11] * 10
    assert images.batch([1, 2], np.array([3, 0])).shape == (2, 3, 32, 32)
