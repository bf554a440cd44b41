"""Image folders in other layouts than train/<class> and val/<class>: what is read, what is said, what is refused."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from var_scaling.config.class_names import class_names
from var_scaling.config.data import DataConfig, folder_notes, resolve_data
from var_scaling.config.evaluate import EvaluateConfig, FidConfig, fid_evaluations
from var_scaling.config.image_folder import walk
from var_scaling.config.image_manifest import Manifests
from var_scaling.data.images import load_images
from var_scaling.errors import EnvironmentProblem

CONFIG = DataConfig(name="imagefolder", resolution=16, views=1)


def save(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (shade, 90, 10)).save(path)


def resolved(folder):
    return resolve_data(CONFIG, image_folder=str(folder))


def notes(folder):
    return " | ".join(folder_notes(resolved(folder), Manifests().of(folder)))


def labels_of(folder):
    images = load_images(resolved(folder), image_folder=str(folder))
    pairs = zip(images.files["train"], images.train_labels.tolist(), strict=True)
    return dict(pairs), images


def test_without_val_a_tenth_of_each_class_is_set_aside_by_address(tmp_path):
    for i in range(30):
        save(tmp_path / "a/train/ape" / f"{i}.png", i)
    for i in range(5):
        save(tmp_path / "a/train/bee" / f"{i}.png", i)
    tree = walk(tmp_path / "a")
    assert [tree.count("train"), tree.count("val")] == [31, 4]
    assert [len(files) for files in tree.splits["val"].values()] == [3, 1]
    assert "1 in 10 pictures of each class is set aside" in notes(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert walk(tmp_path / "b").splits == walk(tmp_path / "b").splits
    assert resolved(tmp_path / "b") == resolved(tmp_path / "a"), "the same on another machine"
    save(tmp_path / "b/val/ape/0.png")
    save(tmp_path / "b/val/bee/0.png")
    assert [walk(tmp_path / "b").count(split) for split in ("train", "val")] == [35, 2]
    save(tmp_path / "c/train/ape/0.png")
    save(tmp_path / "c/train/ape/1.png")
    save(tmp_path / "c/train/bee/0.png")
    with pytest.raises(EnvironmentProblem, match="class bee of .* has one picture, and one of each class is set aside"):
        resolved(tmp_path / "c")


def test_class_folders_may_lie_in_the_folder_itself(tmp_path):
    for name in ("ape", "bee"):
        for i in range(4):
            save(tmp_path / name / "deep" / f"{i}.png", i)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "make.py").write_text("")
    (tmp_path / "README").write_text("")
    said = notes(tmp_path)
    assert "6 training and 2 validation images of 2 classes" in said
    assert "its sub-folders are the classes" in said
    assert "folders without a picture: 1 (scripts)" in said
    assert class_names(resolved(tmp_path), str(tmp_path)) == ("ape", "bee")
    found, images = labels_of(tmp_path)
    assert all(label == ("bee" in name) for name, label in found.items())
    assert not set(images.files["train"]) & set(images.files["validation"])


@pytest.mark.parametrize("below", ["", "train", "training"])
def test_pictures_in_no_class_are_one_class(tmp_path, below):
    for i in range(20):
        save(tmp_path / below / f"{i}.png", i)
    config = resolved(tmp_path)
    assert (config.classes, config.unique_images, config.validation_images) == (1, 18, 2)
    assert "one class: models of it are unconditional" in notes(tmp_path)
    with pytest.raises(ValueError, match="learns nothing of 1 class; use shape"):
        fid_evaluations(EvaluateConfig(fid=FidConfig()), config)
    assert set(labels_of(tmp_path)[0].values()) == {0}


@pytest.mark.parametrize("name", ["valid", "validation", "test"])
def test_a_validation_split_of_another_usual_name_is_taken(tmp_path, name):
    for split, count in (("train", 5), (name, 3)):
        for label in ("ape", "bee"):
            for i in range(count):
                save(tmp_path / split / label / f"{i}.png", i)
    assert "10 training and 6 validation images of 2 classes" in notes(tmp_path)
    assert f"{name}/ is its validation split" in notes(tmp_path)
    for label in ("ape", "bee"):
        save(tmp_path / "val" / label / "0.png")
    said = notes(tmp_path)
    assert "10 training and 2 validation images of 2 classes" in said
    assert f"folders of a further split: 1 ({name})" in said


def test_a_table_says_what_each_picture_is(tmp_path):
    for i in range(12):
        save(tmp_path / "scans" / f"{i}.png", i)
    rows = [f"{'leaf' if i % 2 else 'petal'},./scans/{i}.png,x" for i in range(11)]
    table = tmp_path / "labels.csv"
    table.write_text(
        "\ufeffClass,Path,remark\r\n" + "\r\n".join([*rows, "leaf,scans/99.png,", "", ""]), encoding="utf-8"
    )
    said = notes(tmp_path)
    assert "9 training and 2 validation images of 2 classes" in said
    assert "labels.csv says what each picture is" in said
    assert "pictures that labels.csv does not name: 1 (scans/11.png)" in said
    assert "pictures that labels.csv names and that are not there: 1 (scans/99.png)" in said
    assert ".csv" not in said.replace("labels.csv", "")
    assert class_names(resolved(tmp_path), str(tmp_path)) == ("leaf", "petal")
    first = resolved(tmp_path).version
    table.write_text(table.read_text(encoding="utf-8").replace("leaf,./scans/1.png", "petal,./scans/1.png"), "utf-8")
    assert resolved(tmp_path).version != first, "another label is another set, though no picture has changed"
    table.write_text(
        "file,label,split\n"
        + "".join(f"scans/{i}.png,{'ab'[i % 2]},{'Test' if i > 7 else 'train'}\n" for i in range(12))
    )
    assert [walk(tmp_path).count(split) for split in ("train", "val")] == [8, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs a header with a column `file` and a column `label`"),
        ("0.png,ape\n", "its first line is `0.png,ape`"),
        ("file;label\n0.png;ape\n", "separated by commas; its first line is `file;label`"),
        ("file,label\n0.png,\n", "line 2: a row needs a file and a label of one line, and has '0.png,'"),
        ("file,label\n0.png,a\n0.png,b\n", "line 3: 0.png is both a and b"),
        ("file,label\n0,a\n1,b\n", "names no training picture that is there .its first is 0.*with its suffix"),
        ("file,label\n../0.png,a\n", "names no training picture that is there"),
        ("file,label,split\n0.png,a,tset\n", "the split `tset` of 0.png is none of train, training, val"),
        ("file,label\n0.png,a\0b\n1.png,c\n", "line 2: .*has '0.png,a.x00b'"),
        ('file,label\n0.png,"a\nb"\n1.png,c\n', "line 3: .*a label of one line"),
    ],
)
def test_an_odd_table_is_told_with_its_line(tmp_path, text, says):
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(EnvironmentProblem, match=says):
        resolved(tmp_path)


def test_what_is_no_folder_of_pictures_says_what_to_do(tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "data-00000-of-00001.arrow").write_bytes(b"x")
    (tmp_path / "hf" / "dataset_info.json").write_text("{}")
    with pytest.raises(EnvironmentProblem, match="looks like a data set of Hugging Face: write its pictures out"):
        resolved(tmp_path / "hf")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00.tar").write_bytes(b"x")
    with pytest.raises(EnvironmentProblem, match="Unpack it first .tar -xf"):
        resolved(tmp_path / "shards")
    save(tmp_path / "only" / "val" / "ape" / "0.png")
    with pytest.raises(EnvironmentProblem, match="has no train/; it holds 1 folder .val."):
        resolved(tmp_path / "only")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EnvironmentProblem, match="holds no picture .* but nothing"):
        resolved(tmp_path / "empty")


def test_names_that_are_no_text_have_a_place_too(tmp_path):
    for i in range(3):
        with open(os.fsencode(tmp_path) + b"/caf\xe9%d.png" % i, "wb") as file:
            Image.fromarray(np.full((16, 16), i, np.uint8)).save(file, "PNG")
    assert resolved(tmp_path).unique_images == 2
    with open(tmp_path / "labels.csv", "wb") as file:
        file.write(b"file,label\ncaf\xe90.png,\xe9\ncaf\xe91.png,\xe9\n")
    assert resolved(tmp_path).unique_images == 1


def test_class_folders_of_train_come_before_a_table_beside_them(tmp_path):
    for split in ("train", "val"):
        for label in ("ape", "bee"):
            save(tmp_path / split / label / "0.png")
    before = resolved(tmp_path).version
    (tmp_path / "labels.csv").write_text("id;anything\n")
    assert resolved(tmp_path).version == before
    assert "tables beside class folders: 1 (labels.csv)" in notes(tmp_path)


def test_an_empty_class_folder_is_never_passed_over_in_train(tmp_path):
    for split in ("train", "val"):
        for label in ("ape", "bee"):
            save(tmp_path / split / label / "0.png")
    save(tmp_path / "train" / "loose.png")
    (tmp_path / "train" / "cow").mkdir()
    with pytest.raises(EnvironmentProblem, match="cow holds no picture .* but nothing; fill it or remove it"):
        resolved(tmp_path)


def test_what_a_launch_leaves_among_the_pictures_is_no_class(tmp_path):
    for label in ("ape", "bee"):
        for i in range(4):
            save(tmp_path / label / f"{i}.png", i)
    before = resolved(tmp_path)
    save(tmp_path / "runs" / "store" / "reconstruction" / "reconstructions.png")
    save(tmp_path / "runs" / "samples.png")
    assert resolved(tmp_path) == before
    assert "folders of studies: 1 (runs)" in notes(tmp_path)


def test_what_the_store_kept_of_a_folder_is_not_believed_when_a_label_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("var_scaling.config.image_manifest.SETTLED_NS", -(10**18))  # the files are a moment old
    folder, table = tmp_path / "a", tmp_path / "a" / "labels.csv"
    for i in range(8):
        save(folder / f"{i}.png", i)
    rows = [f"{i}.png,{'a' if i % 4 < 2 else 'b'},{'train' if i < 4 else 'val'}" for i in range(8)]
    table.write_text("\n".join(["file,label,split", *rows]))
    first = Manifests(tmp_path, build=True).of(folder).version
    assert Manifests(tmp_path).of(folder).version == first
    table.write_text(table.read_text().replace("2.png,b", "2.png,a"))  # the files keep their order
    assert Manifests(tmp_path).of(folder).version not in (first, "provisional")
