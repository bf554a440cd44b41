"""What the base install can do, and what a command says whose extra is missing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from var_scaling.extras import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "fonttools": "fontTools"}  # imported by another name than installed
ROWS = "params,images,loss\n" + "".join(
    f"{n},{d},{1.5 + 40 * n**-0.3 + 90 * d**-0.4}\n" for n in (3e4, 1e5, 3e5, 1e6, 3e6) for d in (1e5, 3e5, 1e6)
)

# Put on the path as sitecustomize: for this process and its children these libraries are not there.
ABSENT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted({m for names in EXTRAS.values() for m in names})}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def declared(lines: list[str]) -> set[str]:
    names = [re.match(r"[\w.-]+", line)[0].lower() for line in lines]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported(*packages: str) -> set[str]:
    found = set()
    for path in (p for package in packages for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module))
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"var_scaling", "analysis"}


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    optional = PROJECT["optional-dependencies"]
    assert {extra: declared(optional[extra]) for extra in EXTRAS} == {e: set(names) for e, names in EXTRAS.items()}
    base, extras = declared(PROJECT["dependencies"]), {name for names in EXTRAS.values() for name in names}
    assert imported("var_scaling", "analysis") == base | extras
    assert imported("analysis") <= base
    assert optional["all"] == [f"var-scaling[{','.join(EXTRAS)}]"]
    assert "var-scaling[all]" in optional["dev"]


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment in which no library of an extra can be imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(ABSENT)
    return dict(os.environ, PYTHONPATH=f"{tmp_path / 'site'}:{ROOT}", OMP_NUM_THREADS="1")


def command(env: dict[str, str], folder: Path, program: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", f"var_scaling.cli.{program}", *map(str, words)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )


def test_a_base_install_plans_fits_and_draws(bare: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    planned = command(bare, tmp_path, "sweep", "plan", ROOT / "sweeps/depth.yaml", "--json")
    assert planned.returncode == 0, planned.stderr
    assert {trial["state"] for trial in json.loads(planned.stdout)["trials"]} == {"new"}
    fitted = command(bare, tmp_path, "scaling", "fit-laws", "rows.csv", "--out", "laws")
    assert fitted.returncode == 0, fitted.stderr
    assert list((tmp_path / "laws").rglob("*.pdf")), "the figures"
    predicted = command(bare, tmp_path, "scaling", "predict", "rows.csv", "--size", "1e7", "--images", "1e6")
    assert predicted.returncode == 0, predicted.stderr


DEPTH = ROOT / "sweeps" / "depth.yaml"
PROFILE = ROOT / "slurm" / "profiles" / "a100.yaml"


@pytest.mark.parametrize(
    ("extras", "program", "words"),
    [
        ("train", "sweep", ("launch", DEPTH)),
        ("train,slurm", "sweep", ("launch", DEPTH, "--launcher", "slurm", "--profile", PROFILE)),
        ("train,ray", "sweep", ("launch", DEPTH, "--launcher", "ray")),
        ("train,ray", "sweep", ("tune", DEPTH)),
        ("slurm", "sweep", ("doctor", "--profile", PROFILE)),
        ("mlflow", "sweep", ("sync",)),
        ("train", "scaling", ("train",)),
        ("train", "scaling", ("evaluate", "var-d4")),
        ("train", "scaling", ("sample", "var-d4")),
        ("train", "scaling", ("tokens", "build")),
    ],
)
def test_a_command_says_which_extra_it_lacks(
    bare: dict[str, str], tmp_path: Path, extras: str, program: str, words: tuple[object, ...]
) -> None:
    ended = command(bare, tmp_path, program, *words)
    assert ended.returncode == 3, ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert f"pip install 'var-scaling[{extras}]'" in ended.stderr
    assert not (tmp_path / "runs").exists(), "nothing was started"


def test_a_launch_without_mlflow_trains_and_says_how_to_mirror_later(tmp_path: Path, fake_study: Path) -> None:
    from tests.support import commands

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(re.sub(r"in \[.*\]", 'in ["mlflow"]', ABSENT))
    runs = tmp_path / "runs"
    commands.run("launch", fake_study, runs=runs, PYTHONPATH=f"{tmp_path / 'site'}:{ROOT}")
    assert len(list(runs.glob("trials/*/budgets/*/row.json"))) == 8
    assert "`var-sweep sync` does it later: this needs mlflow" in commands.said(runs)
    assert not list(runs.glob("sweeps/*/mirror.log"))


def wheel(folder: Path) -> Path:
    """The wheel of what git tracks and what is new beside it, built where it litters no checkout."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    source = folder / "source"
    for name in filter(lambda name: (ROOT / name).is_file(), files):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    held = set(zipfile.ZipFile(wheel(tmp_path)).namelist())
    wanted = {
        p.relative_to(ROOT).as_posix()
        for package in ("var_scaling", "analysis")
        for p in (ROOT / package).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert "analysis/figures/paper.mplstyle" in wanted
    assert wanted - held == set()
    assert not [name for name in held if name.startswith(("tests", "benchmarks"))]


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_wheel_in_a_bare_environment(tmp_path: Path) -> None:
    """The real thing, from the package index: nothing of an extra comes along, and plan, laws and figures work."""
    home = tmp_path / "bare"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel(tmp_path)], check=True)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], env=env, capture_output=True, text=True)
    names = {package["name"].lower().replace("-", "_") for package in json.loads(listed.stdout)}
    assert "var_scaling" in names
    assert not names & {name for extra in EXTRAS.values() for name in extra}, "what a bare environment lacks"

    work = tmp_path / "work"
    work.mkdir()
    (work / "rows.csv").write_text(ROWS)
    (work / "depth.yaml").write_bytes(DEPTH.read_bytes())

    def run(expect: int, program: str, *words: str) -> str:
        done = subprocess.run([home / "bin" / program, *words], cwd=work, env=env, capture_output=True, text=True)
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    run(0, "var-sweep", "plan", "depth.yaml")
    run(0, "var-scaling", "fit-laws", "rows.csv", "--out", "laws")
    assert list((work / "laws").rglob("*.pdf"))
    assert "var-scaling[train]" in run(3, "var-sweep", "launch", "depth.yaml")
    assert "var-scaling[mlflow]" in run(3, "var-sweep", "sync")
    published = "import analysis.published as p; print(len(p.load('var_table1')))"
    assert not subprocess.run([python, "-c", published], cwd=work, env=env).returncode
