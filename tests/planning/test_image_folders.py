"""Studies of image folders: ids that are final before anything is trained, and a plan that says what a folder holds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.local import Local
from var_scaling.launch.order import Order
from var_scaling.planning.plan import Plan, make_plan, plan_to_launch
from var_scaling.planning.study import parse_study

STUDY = """
name: photos
base:
  data: {name: imagefolder, resolution: 32}
  placement: {image_folder: FOLDER}
  model: {head_dim: 4}
  train: {batch_size: 10, warmup_images: 30}
grid: {model.depth: [2, 3]}
budgets: {images: [200]}
EVALUATE
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 4)):
        for name in ("ape", "bee"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{i}.png")
    return tmp_path / "photos"


def planned(folder: Path, to_launch: bool = False, evaluate: str = "") -> Plan:
    text = STUDY.replace("FOLDER", str(folder)).replace("EVALUATE", evaluate)
    study = parse_study(text, "photos.yaml")
    return (plan_to_launch if to_launch else make_plan)(*study, folder.parent / "runs")


def ids(plan: Plan) -> list[str]:
    return [work.id for work, _ in plan.stages] + [trial.work.id for trial in plan.trials]


def test_nothing_is_prepared_under_a_provisional_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_scaling.config.image_manifest.PLAN_FILES", 5)
    monkeypatch.setattr("var_scaling.config.image_manifest.SETTLED_NS", -(10**18))  # the files are a moment old
    looked = planned(folder)
    assert all(trial.provisional for trial in looked.trials)
    assert not (folder.parent / "runs").exists(), "a plan writes nothing"
    with pytest.raises(EnvironmentProblem, match="provisional.*nothing is trained under such an id"):
        Order(looked, "", Local()).write()
    with pytest.raises(EnvironmentProblem, match="provisional"):
        Order(looked, "", Local(), stages_only=("tokenizer",)).write()
    first = planned(folder, to_launch=True)
    assert not any(trial.provisional for trial in first.trials)
    assert not set(ids(first)) & set(ids(looked))
    assert ids(planned(folder)) == ids(planned(folder, to_launch=True)) == ids(first), (
        "stopped, planned and launched again"
    )


def test_a_changed_folder_is_another_set_in_every_stage_and_can_be_launched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("var_scaling.config.image_manifest.PLAN_FILES", 5)
    first = planned(folder, to_launch=True)
    Order(first, "text", Local()).write()
    Image.new("RGB", (32, 32)).save(folder / "train" / "ape" / "more.png")
    second = planned(folder, to_launch=True)
    assert not set(ids(first)) & set(ids(second)), "tokenizer and tokens, too"
    Order(second, "text", Local()).write()
    (folder / "train" / "ape" / "more.png").unlink()
    assert ids(planned(folder, to_launch=True)) == ids(first), "what it was is what it was"


def test_a_plan_says_what_a_folder_holds_and_what_it_is_too_small_for(folder: Path) -> None:
    notes = planned(folder, evaluate="evaluate: {fid: {samples: 320}}").notes
    assert notes[0] == f"{folder}: 12 training and 8 validation images of 2 classes, 2 views of each at 32 px"
    assert any(
        "8 validation images are 0.1 for each of the 64 dimensions" in note and "need 320" in note for note in notes
    )
    assert len(planned(folder).notes) == 1
