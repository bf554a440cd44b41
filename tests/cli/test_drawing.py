"""`edit`, `sample --count` and `evaluate --samples-from` as a user types them, on a tiny trained model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.support.tiny import STUDY
from var_scaling.cli.run import Failed
from var_scaling.cli.scaling import app
from var_scaling.errors import RequestProblem


@pytest.fixture(scope="module")
def trial(tiny_stages, tmp_path_factory):
    """A model that has learnt next to nothing."""
    tiny = tiny_stages.copy(tmp_path_factory.mktemp("drawing") / "runs")
    tiny.run(text=STUDY.replace("[200, 400]", "[40]"))
    return tiny.runs


def said(capsys, *arguments, runs):
    app([*map(str, arguments), "--runs", str(runs)], standalone_mode=False)
    return capsys.readouterr().out


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        y, x = np.mgrid[:32, :32]
        Image.fromarray(np.uint8(4 * x + 3 * y + 20 * i)).save(folder / f"p{i}.png")
    return folder


def test_a_folder_is_edited(trial, photos, tmp_path, capsys):
    out = tmp_path / "edited"
    report = json.loads(
        said(
            capsys,
            *("edit", "var-d3", photos, "--box", "8,8,24,24", "--class", "1", "--candidates", "3"),
            *("--tries", "2", "--out", out, "--json"),
            runs=trial,
        )
    )
    files = report["files"][str(photos / "p1.png")]
    assert len(files) == 3 and report["class"] == 1 and not report["problems"]
    truth = np.asarray(Image.open(photos / "p1.png"))
    edits = [np.asarray(Image.open(file)) for file in files]
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    assert all(np.array_equal(e[~inside], truth[~inside]) for e in edits) and (edits[0] != edits[1]).any()
    with Image.open(out / "edits.png") as figure:
        assert figure.width > 5 * 60 and figure.height > 2 * 60, "original, masked, three candidates; two pictures"


def test_what_cannot_be_edited_is_named_and_the_rest_is_done(trial, photos, tmp_path, capsys):
    Image.new("L", (16, 16), 9).save(photos / "small.png")
    (photos / "torn.png").write_bytes(b"\x89PNG")
    out = tmp_path / "edited"
    with pytest.raises(Failed):
        said(capsys, "edit", "var-d3", photos, "--box", "8,8,24,24", "--tries", 1, "--out", out, runs=trial)
    told = capsys.readouterr().err.replace("\n", " ")
    assert "small.png: the box 8,8,24,24 is not within the picture of 16x16 pixels" in told
    assert "torn.png" in told and len(list(out.glob("p?-?.png"))) == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what is to be drawn anew"),
        (["--box", "1,2,3"], "four whole numbers"),
        (["--box", "0,0,99,9"], "not within the picture of 32x32"),
        (["--box", "0,0,9,9", "--expand", "1,1,1,1"], "one of --box"),
        (["--box", "0,0,9,9", "--class", "10"], "none of the 10 classes"),
        (["--box", "0,0,9,9", "--seam", "glue"], "neither membrane nor paste"),
        (["--mask", "nowhere.png"], "is not there"),
        (["--box", "0,0,9,9", "--sampler", "top_k"], "write it as name=value"),
    ],
)
def test_a_wrong_request_is_a_sentence(trial, photos, tmp_path, arguments, says):
    with pytest.raises(RequestProblem, match=says):
        app(
            ["edit", "var-d3", str(photos / "p0.png"), *arguments, "--out", str(tmp_path / "e"), "--runs", str(trial)],
            standalone_mode=False,
        )
    assert not (tmp_path / "e").exists()


def test_a_set_is_drawn_in_parts_and_measured(trial, tmp_path, capsys):
    place = tmp_path / "samples.npz"
    first = said(capsys, "sample", "var-d3", "--count", 130, "--out", place, "--part", "2/2", runs=trial)
    assert "part 2/2 is drawn; 30 of 130 images are there" in first
    whole = json.loads(said(capsys, "sample", "var-d3", "--count", 130, "--out", place, "--json", runs=trial))
    assert whole["complete"] and whole["set"]["images"] == 40
    again = json.loads(said(capsys, "sample", "var-d3", "--count", 130, "--out", place, "--json", runs=trial))
    assert again["set"]["images_hash"] == whole["set"]["images_hash"]

    with pytest.raises(RequestProblem, match="name a trial on it, or say which set"):
        app(["evaluate", "--samples-from", str(place), "--runs", str(trial)], standalone_mode=False)
    with pytest.raises(RequestProblem, match="draw samples, and --samples-from has them"):
        app(["evaluate", "--samples-from", str(place), "--guidance", "1", "--runs", str(trial)], standalone_mode=False)
    with pytest.raises(RequestProblem, match="neither train nor validation, nor a file"):
        app(["evaluate", "--samples-from", str(place), "--reference", "no.npz"], standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "x.npz"], "say how many images"),
        (["--count", "9", "--part", "3/2"], "give i/n"),
        (["--count", "9", "--part", "0/2"], "give i/n"),
        (["--count", "9", "--out", "x.zip"], "ends in .npz"),
    ],
)
def test_a_wrong_set_is_a_sentence(trial, arguments, says):
    with pytest.raises(RequestProblem, match=says):
        app(["sample", "var-d3", *arguments, "--runs", str(trial)], standalone_mode=False)
