"""What a data config resolves to, and the sentences it refuses with."""

import re

import pytest
from PIL import Image

from var_scaling.config.data import NAMED_SETS, DataConfig, resolve_data
from var_scaling.config.image_manifest import PROVISIONAL, build_manifest, read_manifest, scan
from var_scaling.errors import EnvironmentProblem


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
    assert resolved.version.startswith("manifest-")
    assert (resolved.classes, resolved.unique_images, resolved.validation_images) == (2, 6, 4)
    moved = make_folder(tmp_path / "elsewhere")
    assert resolve_data(config, image_folder=str(moved)) == resolved, "a path is no part of the identity"
    (a / "train" / "ape" / "3.png").write_bytes(b"one more")
    assert resolve_data(config, image_folder=str(a)).version != resolved.version


def test_a_large_folder_is_provisional_until_its_manifest_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr("var_scaling.config.image_manifest.SMALL_FOLDER", 5)
    folder = make_folder(tmp_path / "a")
    config = DataConfig(name="imagefolder", resolution=16)
    assert resolve_data(config, image_folder=str(folder), store=tmp_path).version == PROVISIONAL
    built = build_manifest(folder, tmp_path)
    assert built == scan(folder) == read_manifest(folder, tmp_path)
    assert resolve_data(config, image_folder=str(folder), store=tmp_path).version == built.version


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
    with pytest.raises(EnvironmentProblem, match=r"cat holds no image"):
        resolve_data(config, image_folder=str(folder))
    (folder / "train" / "cat" / "x.png").write_bytes(b"x")
    with pytest.raises(EnvironmentProblem, match=r"same class folders.*cat"):
        resolve_data(config, image_folder=str(folder))
