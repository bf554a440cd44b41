"""Commands as a user types them: exit codes, sentences, JSON, and no torch on a login node."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import engine
from tests.support.programs import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with one finished fake sweep."""
    from tests.conftest import FAKE_STUDY

    folder = tmp_path_factory.mktemp("commands")
    (folder / "fake.yaml").write_text(FAKE_STUDY)
    engine.run(folder / "fake.yaml", folder / "runs")
    return folder / "runs"


@pytest.mark.parametrize(
    ("program", "arguments", "code", "told"),
    [
        ("sweep", ["plan", "nowhere.yaml"], 2, "no such file"),
        ("sweep", ["plan"], 2, "Missing argument"),
        ("sweep", ["status", "nothing"], 2, "no sweep `nothing`"),
        ("sweep", ["status", "fake", "dpeth=3"], 2, "unknown filter"),
        ("sweep", ["logs", "zzz"], 2, "no trial begins with `zzz`"),
        ("sweep", ["logs", "var"], 2, "4 trials begin with"),
        ("sweep", ["diff", "d2-s0", "zzz"], 2, "no trial begins with `zzz`"),
        ("sweep", ["retry", "fake", "--set", "train.batch_size=8"], 2, "may change execution and placement only"),
        ("sweep", ["nonsense"], 2, "nonsense"),
        ("scaling", ["sample", "d2-s0", "--images", "5"], 2, "no budget of 5 images"),
        ("scaling", ["sample", "d2-s0", "--guidance", "inf"], 2, "--guidance inf is no finite number"),
        (
            "scaling",
            ["sample", "d2-s0", "--class", "10"],
            2,
            "10 is none of the 10 classes (T-shirt/top, trouser,",
        ),
        ("scaling", ["sample", "d2-s0", "--class", "Coat"], 2, "--class Coat is none of the 10 classes"),
        ("scaling", ["evaluate", "zzz"], 2, "no trial begins with"),
        ("scaling", ["train", "--set", "model.depht=3"], 2, "did you mean `depth`"),
        ("scaling", ["tokenizer", "train", "--set", "tokenizer.patch_nums=[1, 2, 5]"], 2, "patch_nums"),
        ("scaling", ["fit-laws", "nowhere.csv"], 2, "nowhere.csv"),
    ],
)
def test_wrong_input_is_a_sentence_and_exit_2(
    runs: Path, program: str, arguments: list[str], code: int, told: str
) -> None:
    extra = [] if arguments[0] in ("nonsense",) or arguments == ["plan"] else ["--runs", str(runs)]
    done = run(program, *arguments, *extra)
    assert done.returncode == code, done.stderr
    assert told in re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert "bug:" not in done.stderr


def test_images_that_are_not_there_are_the_environment_s_problem(tmp_path: Path) -> None:
    study = ROOT / "sweeps" / "paper" / "imagenet256.yaml"
    planned = run("sweep", "plan", str(study), "--runs", str(tmp_path / "runs"), VAR_SCALING_DATA=str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert "12 trials: 12 new" in planned.stdout
    launched = run("sweep", "launch", str(study), "--runs", str(tmp_path / "runs"), VAR_SCALING_DATA=str(tmp_path))
    assert launched.returncode == 3
    assert "imagenet is not on this machine" in launched.stderr
    assert not (tmp_path / "runs").exists(), "nothing half-written"


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "sweeps/depth.yaml"],
        ["status", "fake"],
        ["explain", "d2-s0"],
        ["diff", "d2-s0", "d3-s1"],
        ["clean"],
        ["watch", "fake"],
        ["logs", "d2-s0"],
        ["cancel", "fake"],
        ["status", "fake", "--at", "3000", "--usage"],
    ],
)
def test_json_is_one_document_on_stdout(runs: Path, arguments: list[str]) -> None:
    done = run("sweep", *arguments, "--runs", str(runs), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == 1


def test_errors_are_json_too(runs: Path) -> None:
    done = run("sweep", "status", "nothing", "--runs", str(runs), "--json")
    assert done.returncode == 2
    assert "no sweep `nothing`" in json.loads(done.stdout)["problems"][0]


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("sweep", ["plan", "sweeps/depth.yaml"]),
        ("sweep", ["status", "fake"]),
        ("sweep", ["--help"]),
        ("scaling", ["--help"]),
        ("scaling", ["fit-laws", "--help"]),
    ],
)
def test_a_login_node_never_imports_torch(runs: Path, program: str, arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['x', *sys.argv[1:]]\n"
        f"from var_scaling.cli import {program} as program\n"
        "try:\n    program.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('IMPORTED', [m for m in ('torch', 'mlflow', 'ray', 'submitit', 'matplotlib') if m in sys.modules])"
    )
    extra = [] if "--help" in arguments else ["--runs", str(runs)]
    done = subprocess.run([sys.executable, "-c", code, *arguments, *extra], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "IMPORTED []" in done.stdout, done.stdout[-300:]


def _commands(program: str) -> list[list[str]]:
    import importlib

    import typer.main

    group = typer.main.get_command(importlib.import_module(f"var_scaling.cli.{program}").app)
    found = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [[name, sub] for sub in inner] if inner else [[name]]
    return found


@pytest.mark.parametrize("program", ["sweep", "scaling"])
def test_every_command_has_help_with_an_example(program: str) -> None:
    import importlib

    import typer.main
    from click.testing import CliRunner

    commands = _commands(program)
    assert len(commands) >= 6
    group = typer.main.get_command(importlib.import_module(f"var_scaling.cli.{program}").app)
    for command in commands:
        shown = CliRunner().invoke(group, [*command, "--help"])
        assert shown.exit_code == 0, command
        assert f"var-{'sweep' if program == 'sweep' else 'scaling'} {' '.join(command)}" in " ".join(
            shown.output.split()
        ), f"{command} shows no example of itself"


def test_plan_and_status_of_a_thousand_trials_are_quick(tmp_path: Path) -> None:
    """Not a benchmark (benchmarks/plan_status.py is): only that nothing grows with the square."""
    text = (ROOT / "sweeps" / "depth.yaml").read_text()
    text = text.replace("[2, 3, 4, 5, 6]", str(list(range(2, 12)))).replace("seed: [0]", f"seed: {list(range(100))}")
    (tmp_path / "big.yaml").write_text(text)
    begin = time.process_time()
    planned = engine.plan(tmp_path / "big.yaml", tmp_path / "runs")
    assert len(planned.trials) == 1000
    assert time.process_time() - begin < 10


@pytest.mark.parametrize("command", [("evaluate", "--samples-from", "x.npz"), ("tokenizer", "evaluate")])
def test_every_command_knows_the_same_feature_spaces(command: tuple[str, ...], tmp_path: Path) -> None:
    said = run("scaling", *command, "--features", "shap", "--runs", str(tmp_path))
    assert said.returncode == 2
    assert "--features shap is none of classifier, shape, inception, dinov2, clip" in " ".join(said.stderr.split())
