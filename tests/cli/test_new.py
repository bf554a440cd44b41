"""`var-sweep new`: from folders as people have them to a study that can be planned, or a sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from var_scaling.config import yaml


def new(here: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "new", *map(str, arguments)]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, env=os.environ | {"HOME": str(here)})


def fill(folder: Path, count: int, size: tuple[int, int] = (40, 32), mode: str = "RGB", suffix: str = "png") -> Path:
    rng = np.random.default_rng(len(folder.name))
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)).resize(size)
        pixels.convert(mode).save(folder / f"{i}.{suffix}")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split, count in (("train", 20), ("val", 4)):
        for label in ("ape", "bee"):
            fill(tmp_path / "photos" / split / label, count, suffix="jpg")
    return tmp_path / "photos"


def test_a_folder_becomes_a_commented_study_that_plans(tmp_path: Path, photos: Path) -> None:
    done = new(tmp_path, "~/photos")
    assert done.returncode == 0, done.stderr
    assert "40 training and 8 validation pictures of 2 classes" in done.stdout
    assert "40 JPEG colour" in done.stdout
    assert "4 trials: 4 new" in done.stdout
    assert "wrote photos.yaml; next: var-sweep launch photos.yaml" in done.stdout
    assert not (tmp_path / "runs").exists(), "nothing but the file is written"
    study, _ = yaml.parse((tmp_path / "photos.yaml").read_text())
    assert study["name"] == "photos"
    assert study["base"]["data"] == {"name": "imagefolder", "resolution": 32, "views": 8, "flip": True}
    assert study["base"]["tokenizer"] == {"preset": "small"}
    assert Path(study["base"]["placement"]["image_folder"]) == photos
    assert study["evaluate"] == {}, "40 pictures carry no FID"
    assert "no FID: it needs 320 training pictures, and there are 40" in (tmp_path / "photos.yaml").read_text()

    before = (tmp_path / "photos.yaml").read_bytes()
    again = new(tmp_path, "photos")
    assert again.returncode == 2
    assert "photos.yaml exists and is not overwritten; choose another with --out" in again.stderr
    assert (tmp_path / "photos.yaml").read_bytes() == before
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")
    assert new(tmp_path, "photos", "--out", "link.yaml").returncode == 2
    assert not (tmp_path / "nowhere.yaml").exists()


def test_json_is_one_document(tmp_path: Path, photos: Path) -> None:
    done = new(tmp_path, "photos", "--out", "a.yaml", "--json")
    found = json.loads(done.stdout)
    assert (found["schema"], found["file"], len(found["plan"]["trials"])) == (1, "a.yaml", 4)
    chosen = {each["field"]: each for each in found["choices"]}
    assert chosen["base.data.resolution"]["value"] == "32"
    assert all(chosen[field]["why"] for field in ("base.data.views", "base.tokenizer.preset", "budgets.images"))


@pytest.mark.parametrize(
    ("size", "mode", "options", "expected"),
    [
        ((300, 240), "RGB", [], {"resolution": 64, "preset": "tiny"}),
        ((300, 240), "RGB", ["--resolution", "128"], {"resolution": 128, "preset": "tiny"}),
        ((300, 240), "RGB", ["--resolution", "256"], {"resolution": 256, "preset": "tiny"}),
        ((60, 50), "RGB", [], {"resolution": 48, "preset": "small"}),
        ((28, 28), "L", [], {"resolution": 28, "preset": "small", "channels": 1}),
        ((32, 32), "L", [], {"resolution": 32, "preset": "tiny", "channels": 1}),
        ((23, 19), "RGB", [], {"resolution": 16, "preset": "small"}),
        ((64, 64), "CMYK", [], {"resolution": 64, "preset": "tiny"}),
        ((48, 48), "P", [], {"resolution": 48, "preset": "small"}),
    ],
)
def test_the_choices_fit_the_pictures(tmp_path: Path, size, mode, options, expected) -> None:  # noqa: ANN001
    for label in ("ape", "bee"):
        fill(tmp_path / "photos" / label, 11, size, mode, "tif" if mode == "CMYK" else "png")
    done = new(tmp_path, "photos", *options)
    assert done.returncode == 0, done.stderr
    study, _ = yaml.parse((tmp_path / "photos.yaml").read_text())
    found = study["base"]["data"] | study["base"]["tokenizer"]
    assert {key: found[key] for key in expected} == expected
    assert "4 trials: 4 new" in done.stdout


def test_ugly_folders_are_told_of_and_planned(tmp_path: Path) -> None:
    folder = tmp_path / "my 'odd'\n \u2028 folder: é {x}"
    for label in ("ape", "bee\n# not: yaml"):
        fill(folder / label, 12)
    for name in ("notes.txt", ".hidden.png", "ape/gone.png"):
        path = folder / name
        path.symlink_to("nowhere") if name.endswith("gone.png") else path.write_text("")
    (folder / "ape" / "again").symlink_to(folder / "ape")
    (folder / "empty").mkdir()
    done = new(tmp_path, folder)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("*.yaml")
    study, _ = yaml.parse(written.read_text(encoding="utf-8"))
    assert study["base"]["placement"]["image_folder"] == str(folder)
    for said in ("broken links: 1", "folders without a picture: 1 (empty)", "links to a folder that they lie in: 1"):
        assert said in done.stdout
        assert said in " ".join(written.read_text(encoding="utf-8").replace("#", "").split())


def test_a_study_that_cannot_be_planned_is_not_left_behind(tmp_path: Path) -> None:
    fill(tmp_path / "photos" / "ape", 11)
    done = new(tmp_path, "photos", "--resolution", "30")
    assert done.returncode == 2
    assert "does not divide by 4" in done.stderr
    assert not (tmp_path / "photos.yaml").exists()


def test_deep_pictures_get_a_range_to_check(tmp_path: Path) -> None:
    for label in ("ape", "bee"):
        (tmp_path / "scans" / label).mkdir(parents=True)
        for i in range(6):
            values = np.linspace(-5, 900 + i, 32 * 32, dtype=np.float32).reshape(32, 32)
            Image.fromarray(values).save(tmp_path / "scans" / label / f"{i}.tif")
    done = new(tmp_path, "scans")
    assert done.returncode == 0, done.stderr
    data = yaml.parse((tmp_path / "scans.yaml").read_text())[0]["base"]["data"]
    assert (data["channels"], data["value_range"]) == (1, (-5, 905))


def test_a_large_folder_of_no_pictures_is_told_after_a_look(tmp_path: Path) -> None:
    for label in ("ape", "bee"):
        (tmp_path / "many" / label).mkdir(parents=True)
        for i in range(2_600):  # more than a plan reads, so that nothing has checked them before
            (tmp_path / "many" / label / f"{i}.png").write_bytes(b"no picture")
    done = new(tmp_path, "many", "--resolution", "32")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none of the pictures" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 3, "does not exist"),
        (["photos.zip"], 3, "is a file, and imagefolder needs a folder: unpack it"),
        (["empty"], 3, "holds no picture"),
        ([".", "--runs", "../runs"], 3, "has no train/; "),
        (["photos", "--out", "no/such/place.yaml"], 2, "no/such is no folder"),
        (["photos", "--out", "my study.yaml"], 2, "use letters, digits"),
        (["photos", "--out", "last.yaml"], 2, "use letters, digits"),
        (["tiny"], 2, "a study needs 8 or more: give --resolution"),
        (["bad"], 3, "cannot be read, above the 0.1%"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path: Path, photos: Path, arguments: list[str], code: int, says: str) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "tiny", 9, (7, 5))
    shutil.copytree(photos, tmp_path / "bad")
    (tmp_path / "bad" / "train" / "ape" / "3.jpg").write_bytes(b"no picture")
    done = new(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.yaml"))


def test_a_study_does_not_lie_among_its_pictures(tmp_path: Path, photos: Path) -> None:
    done = new(photos, ".")
    assert done.returncode == 2
    assert "runs would lie among the pictures of" in done.stderr
    assert not list(photos.glob("*.yaml"))
    assert new(photos, ".", "--runs", tmp_path / "runs", "--out", tmp_path / "a.yaml").returncode == 0


def test_help_shows_how(tmp_path: Path) -> None:
    said = new(tmp_path, "--help").stdout
    for part in ("--out", "--resolution", "var-sweep new ~/photos", "docs/images.md"):
        assert part in said


def test_it_starts_without_torch(tmp_path: Path, photos: Path) -> None:
    code = (
        "import sys; sys.argv = ['x', 'new', 'photos']\n"
        "from var_scaling.cli import sweep\n"
        "try:\n    sweep.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('IMPORTED', [m for m in ('torch', 'mlflow', 'ray', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "IMPORTED []" in done.stdout, done.stderr
