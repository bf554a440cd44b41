"""What a data config resolves to, and the sentences it refuses with."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from var_scaling.config.data import NAMED_SETS, DataConfig, folder_notes, resolve_data
from var_scaling.config.image_manifest import PROVISIONAL, Manifests
from var_scaling.config.train import PlacementConfig
from var_scaling.errors import EnvironmentProblem
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig


@pytest.mark.parametrize("name", sorted(NAMED_SETS))
def test_a_named_set_resolves_anywhere_without_its_data_and_once_only(name, monkeypatch, tmp_path):
    monkeypatch.setenv("VAR_SCALING_DATA", str(tmp_path))
    resolved = resolve_data(DataConfig(name=name))
    assert None not in resolved.model_dump().values()
    assert resolve_data(resolved) == resolved
    assert (resolved.unique_images, resolved.classes) == (NAMED_SETS[name].images, NAMED_SETS[name].classes)


def test_flips_are_off_for_garments_and_on_for_photographs():
    assert not resolve_data(DataConfig(name="fashion-mnist", views=3)).flip
    assert resolve_data(DataConfig(name="cifar10")).flip
    assert resolve_data(DataConfig(name="imagenet")).views == 8


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"unique_images": 1_234}, "use 1230, or"),
        ({"unique_images": 30_000}, "use 20000"),
        ({"name": "imagenet", "unique_images": 900_000}, "use 732000, or 1281167 for all"),
        ({"unique_images": 3}, "use 10,"),
        ({"resolution": 64}, "use 32 or 28"),
        ({"channels": 3}, "has: 1; leave it out"),
        ({"classes": 11}, "has: 10; leave it out"),
        ({"version": "9"}, "this release has '1'"),
        ({"flip": True}, "set data.views to 2 or more"),
        ({"crop": "random"}, "set data.views to 2 or more"),
        ({"views": 4, "crop": "centre"}, "4 equal copies"),
    ],
)
def test_a_refusal_names_value_rule_and_way_out(fields, says):
    fields = {"name": "fashion-mnist-mini"} | fields
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        resolve_data(DataConfig(**fields))
    refused = next(str(v) for v in fields.values() if v != fields["name"])
    assert refused.lower() in str(caught.value).lower()


def make_folder(root, classes=("ape", "bee"), train=3, val=2, size=(40, 30)):
    for split, count in (("train", train), ("val", val)):
        for shade, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", size, (40 * i, 90 * shade, 10)).save(root / split / name / f"{i}.png")
    return root


def test_an_image_folder_enters_by_its_manifest_hash(tmp_path):
    a = make_folder(tmp_path / "a")
    config = DataConfig(name="imagefolder", resolution=16)
    resolved = resolve_data(config, image_folder=str(a))
    assert resolved.version.startswith("contents-")
    assert (resolved.classes, resolved.unique_images, resolved.validation_images) == (2, 6, 4)
    moved = make_folder(tmp_path / "elsewhere")
    assert resolve_data(config, image_folder=str(moved)) == resolved, "a path is no part of the identity"
    Image.new("RGB", (40, 30)).save(a / "train" / "ape" / "3.png")
    assert resolve_data(config, image_folder=str(a)).version != resolved.version


def test_a_large_folder_is_provisional_until_its_manifest_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr("var_scaling.config.image_manifest.PLAN_FILES", 5)
    folder = make_folder(tmp_path / "a")
    config = DataConfig(name="imagefolder", resolution=16)

    def version(**how):
        return resolve_data(config, image_folder=str(folder), manifests=Manifests(tmp_path, **how)).version

    assert version() == PROVISIONAL
    built = version(build=True)
    assert built.startswith("contents-")
    (folder / "train" / "ape" / "9.png").write_bytes((folder / "val" / "ape" / "0.png").read_bytes())
    changed = version(build=True)
    assert changed != built, "a folder may change after it was read, and be launched again"


def test_a_plan_reads_again_what_has_changed_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("var_scaling.config.image_manifest.SETTLED_NS", -(10**18))  # the files are a moment old
    folder = make_folder(tmp_path / "a")
    first = Manifests(tmp_path, build=True).of(folder).version
    read = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or original(path))
    assert Manifests(tmp_path).of(folder).version == first
    assert [name for name in read if name.endswith(".png")] == []
    path = folder / "val" / "bee" / "1.png"
    kept = path.stat()
    path.write_bytes(original(path)[::-1])
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # as `rsync --times` leaves it
    with pytest.raises(EnvironmentProblem, match="1 of 4 images of val/.*1.png: no picture in a format that is known"):
        Manifests(tmp_path).of(folder)
    assert [name for name in read if name.endswith(".png")] == ["1.png"]


def test_pictures_of_equal_names_and_sizes_are_another_set(tmp_path):
    folder = make_folder(tmp_path / "a", size=(8, 8))
    for path in folder.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    config = DataConfig(name="imagefolder", resolution=8)
    first = resolve_data(config, image_folder=str(folder)).version
    for path in folder.rglob("*.bmp"):
        ImageOps.invert(Image.open(path)).save(path)
    assert resolve_data(config, image_folder=str(folder)).version != first


def test_missing_and_empty_folders_are_the_environments_fault(tmp_path):
    config = DataConfig(name="imagefolder")
    with pytest.raises(ValueError, match="placement.image_folder"):
        resolve_data(config)
    with pytest.raises(EnvironmentProblem, match="does not exist"):
        resolve_data(config, image_folder=str(tmp_path / "nowhere"))
    declared = DataConfig(name="imagefolder", classes=2, unique_images=6, validation_images=4)
    assert resolve_data(declared, image_folder=str(tmp_path / "nowhere")).version == PROVISIONAL
    folder = make_folder(tmp_path / "a")
    (folder / "train" / "cat").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"cat holds no picture .* but nothing"):
        resolve_data(config, image_folder=str(folder))
    (folder / "train" / "cat" / "x.png").write_bytes(b"x")
    with pytest.raises(EnvironmentProblem, match=r"same class folders.*cat"):
        resolve_data(config, image_folder=str(folder))


def test_a_folder_that_is_none_is_told_with_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = DataConfig(name="imagefolder", resolution=16)
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(EnvironmentProblem, match=rf"{tmp_path}/photos.zip is a file.*unpack it"):
        resolve_data(config, image_folder="photos.zip")
    make_folder(tmp_path / "outer" / "photos")
    with pytest.raises(EnvironmentProblem, match=r"has no train/.*outer/photos has one"):
        resolve_data(config, image_folder="outer")
    (tmp_path / "flat" / "cat").mkdir(parents=True)
    with pytest.raises(EnvironmentProblem, match=r"flat holds no picture .*but 1 folder \(cat\)"):
        resolve_data(config, image_folder=str(tmp_path / "flat"))
    assert resolve_data(config, image_folder="~/outer/photos").unique_images == 6


def test_nothing_is_left_out_without_a_word_and_no_name_stops_it(tmp_path):
    folder = make_folder(tmp_path / "a")
    ape = folder / "train" / "ape"
    (ape / "gone.png").symlink_to("nowhere.png")
    (ape / "again").symlink_to(folder / "val" / "ape")
    (ape / "round").symlink_to(ape)
    for name in (".ipynb_checkpoints", "deep/.hidden"):
        (ape / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(ape / name / "0.png")
    for name in ("x.jfif", "y.jpe", "z.gif", "w.JPG"):
        Image.new("RGB", (40, 30)).save(ape / name, format="GIF" if name == "z.gif" else "JPEG")
    (ape / "notes.txt").write_text("none")
    (ape / "._0.png").write_bytes(b"mac")
    (folder / "train" / "labels.csv").write_text("none")
    with open(os.fsencode(ape) + b"/caf\xe9.png", "wb") as file:
        Image.new("RGB", (40, 30)).save(file, "PNG")
    os.mkfifo(ape / "pipe.png")
    config = DataConfig(name="imagefolder", resolution=16)
    resolved = resolve_data(config, image_folder=str(folder))
    assert resolved.unique_images == 6 + 2 + 4 + 1
    first, left = folder_notes(resolved, Manifests().of(folder))[:2]
    assert "13 training and 4 validation images of 2 classes" in first
    assert left.encode() and left.split(": ", 1)[1].split("; ") == [
        ".txt files: 1 (train/ape/notes.txt)",
        "broken links: 1 (train/ape/gone.png)",
        "files outside a class folder: 1 (train/labels.csv)",
        "hidden files: 1 (train/ape/._0.png)",
        "hidden folders: 2 " + left.split("hidden folders: 2 ")[1].split("; ")[0],
        "links to a folder that they lie in: 1 (train/ape/round)",
        "pipes, sockets and devices: 1 (train/ape/pipe.png)",
    ]


def test_a_folder_is_not_enlarged_because_nothing_was_said(tmp_path):
    folder = make_folder(tmp_path / "a", size=(64, 50))
    with pytest.raises(ValueError, match=r"data.resolution is not given.*median of their shorter sides is 50.*e.g. 48"):
        resolve_data(DataConfig(name="imagefolder"), image_folder=str(folder))
    asked = resolve_data(DataConfig(name="imagefolder", resolution=56), image_folder=str(folder))
    assert (
        "10 pictures are smaller than data.resolution 56 and are enlarged"
        in folder_notes(asked, Manifests().of(folder))[1]
    )


def test_views_that_no_crop_tells_apart_are_not_asked_for(tmp_path):
    config = DataConfig(name="imagefolder", resolution=32)
    assert resolve_data(config, image_folder=str(make_folder(tmp_path / "a", size=(32, 32)))).views == 2
    assert resolve_data(config, image_folder=str(make_folder(tmp_path / "b", size=(33, 32)))).views == 8


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "cifar10", "zoom": 1.5}, "data.zoom 1.5 is for sets of image files"),
        ({"name": "cifar10", "value_range": (0.0, 9.0)}, "data.value_range is for an imagefolder"),
        ({"name": "cifar10", "decoding": 2}, "data.decoding 2 is not how cifar10 is read here: 1"),
    ],
)
def test_settings_of_files_are_refused_for_other_sets(fields, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        resolve_data(DataConfig(**fields))


def test_a_set_with_a_handedness_is_not_mirrored_by_its_tokenizer_either(tmp_path):
    folder = make_folder(tmp_path / "a", size=(32, 32))
    for said, views, mirrored in ((None, None, True), (None, 1, True), (True, None, True), (False, 1, False)):
        config = TrialConfig(
            data=DataConfig(name="imagefolder", resolution=32, flip=said, views=views),
            placement=PlacementConfig(image_folder=str(folder)),
        )
        resolved = resolve(config)
        assert resolved.tokenizer.train.flip is mirrored
        assert resolve(resolved) == resolved
