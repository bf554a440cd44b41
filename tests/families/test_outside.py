"""A family that another package offers: planned, trained, killed, resumed, evaluated and fitted like one of ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.families.outside import SOURCE, install
from tests.support.tiny import STUDY, log
from var_scaling.launch.local import Local
from var_scaling.launch.order import Order
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import parse_study
from var_scaling.runs import store

QUICK = "{features: 16, channels: [8, 16, 32], epochs: 1}"
LADDER = (
    STUDY.replace("model: {head_dim: 4, depth: 3}", "model: {family: positional}")
    .replace("name: tiny", "name: outside")
    .replace(
        "evaluate: {samples_grid: off}", f"evaluate: {{samples_grid: 2, fid: {{samples: 80}}, classifier: {QUICK}}}"
    )
    + "grid: {model.depth: [1, 2, 3, 4]}\n"
)


@dataclass
class Place:
    """A folder to work in, with a folder of packages beside it."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def start(self, program: str, *words: object) -> subprocess.Popen[str]:
        env = dict(os.environ, PYTHONPATH=f"{self.site}:{ROOT}", OMP_NUM_THREADS="1")
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"var_scaling.cli.{program}", *map(str, words)],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, program: str, *words: object, expect: int = 0) -> str:
        process = self.start(program, *words)
        said = process.communicate(timeout=560)[0]
        assert process.returncode == expect, said
        return said

    def trials(self) -> list[Path]:
        return sorted((self.runs / "trials").glob("positional-*"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "outside.yaml").write_text(LADDER)
    (tmp_path / "site").mkdir()
    return Place(tmp_path)


@pytest.mark.timeout(1_200)
def test_from_plan_to_laws(place: Place) -> None:
    """One family, its whole life; then the package changes, and then it goes away."""
    lines = sum(len(path.read_text().splitlines()) for path in SOURCE.glob("*.py"))
    assert lines < 200, "a family is no more than this"
    code = install(place.site)
    planned = json.loads(place.run("sweep", "plan", "outside.yaml", "--json"))
    assert [trial["state"] for trial in planned["trials"]] == ["new"] * 4

    launch = place.start("sweep", "launch", "outside.yaml", "--no-mlflow", "--cores", "2")
    while not (saved := list(place.runs.glob("trials/*/attempts/000/checkpoints/trunk.pt"))):
        assert launch.poll() is None, launch.communicate()[0]
        time.sleep(0.02)
    launch.kill()
    launch.wait()
    killed = saved[0].parents[3]
    for claim in place.runs.glob("*/**/attempts/*/claim.json"):
        holder = store.read_holder(claim.parents[2], int(claim.parent.name))
        if holder and not claim.with_name("end.json").exists():
            os.kill(holder.pid, signal.SIGKILL)
    code_before = {path.name for path in (place.runs / "store" / "code").iterdir()}

    said = place.run("sweep", "launch", "outside.yaml", "--no-mlflow", "--cores", "2")
    assert "4 of 4 trials finished" in said
    assert (killed / "attempts" / "001").is_dir(), "the premise: one was killed at work"
    found = [json.loads(path.read_text()) for path in place.runs.glob("trials/*/budgets/*/row.json")]
    assert len(found) == 8 and {row["family"] for row in found} == {"positional"}
    for path in place.runs.glob("trials/*/budgets/*"):
        (report,) = [json.loads(each.read_text()) for each in path.glob("evaluations/fid-*.json")]
        assert (report["samples"], report["guidance"]) == (80, 0.5) and report["fid"] > 0
        assert (path / "samples.png").stat().st_size > 500

    place.run("scaling", "fit-laws", "outside")
    assert (place.runs / "sweeps" / "outside" / "laws" / "laws.json").is_file()

    # Its code is stored with ours, and hashed with it.
    (frozen,) = [place.runs / "store" / "code" / name for name in code_before]
    assert {row["code"] for row in found} == {frozen.name}
    assert (frozen / "positional" / "training.py").read_bytes() == (code / "training.py").read_bytes()
    (code / "training.py").write_text((code / "training.py").read_text() + "\nEDITED = True\n")
    assert "changed since: ../positional/training.py" in place.run("sweep", "plan", "outside.yaml")

    # A job that was queued runs what was there at its launch, though the package is gone from where it was.
    shutil.rmtree(place.site)
    shutil.rmtree(place.trials()[0] / "budgets")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"PYTHONPATH": str(frozen), "VAR_SCALING_CODE": str(frozen), "OMP_NUM_THREADS": "1"}
    worker = [sys.executable, "-P", "-m", "var_scaling.worker", str(place.trials()[0])]
    assert subprocess.run(worker, cwd=place.folder, env=env).returncode == 0, log(place.trials()[0])
    again = [json.loads(path.read_text()) for path in place.trials()[0].glob("budgets/*/row.json")]
    assert [row["code"] for row in again] == [frozen.name] * 2

    # Without it nothing can be done that needs it, and all the rest can.
    assert "'positional' is no family here" in place.run("sweep", "plan", "outside.yaml", expect=2)
    assert "'positional' is no family here" in place.run("sweep", "launch", "outside.yaml", expect=2)
    assert "'positional' is no family here" in place.run("scaling", "sample", place.trials()[0].name, expect=3)
    assert "finished" in place.run("sweep", "status", "outside")
    place.run("scaling", "fit-laws", "outside")


@pytest.mark.timeout(900)
def test_the_conformance_suite_takes_it_in(place: Place) -> None:
    install(place.site)
    env = dict(os.environ, PYTHONPATH=f"{place.site}:{ROOT}", OMP_NUM_THREADS="1")
    suite = ["tests/families/test_conformance.py", "-q", "-n0", "-p", "no:cacheprovider", "-k", "positional"]
    done = subprocess.run([sys.executable, "-m", "pytest", *suite], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout


BROKEN = {
    "it cannot be imported": ("raise RuntimeError('no')", "RuntimeError: no"),
    "it ends the program": ("raise SystemExit(1)", "SystemExit: 1"),
    "it needs what is not here": ("import no_such_library", "No module named 'no_such_library'"),
    "it is none": ("FAMILY = 3", "it has no activation_bytes, at_depth,"),
    "it has another name": ("FAMILY.__class__.name = 'other'", "is named 'other'"),
    "its config is none": ("FAMILY.__class__.config = dict", "is no `families.base.ModelConfig`"),
    "its torch half is missing": (
        "FAMILY.__class__.module = 'positional.no'",
        "its torch half positional.no is not there",
    ),
    "it would not be frozen whole": ("FAMILY.__class__.module = 'json.tool'", "in another package"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_is_a_sentence(place: Place, how: str) -> None:
    line, why = BROKEN[how]
    init = install(place.site) / "__init__.py"
    init.write_text(f"{init.read_text()}\n{line}\n")
    said = place.run("sweep", "plan", "outside.yaml", expect=2)
    assert "the package positional offers it, but" in said
    assert why in said
    assert "mend or reinstall that package" in said


def test_a_broken_one_starts_nothing_and_troubles_nobody_else(place: Place) -> None:
    init = install(place.site) / "__init__.py"
    init.write_text("raise RuntimeError('no')")
    assert "RuntimeError: no" in place.run("sweep", "launch", "outside.yaml", expect=2)
    (place.folder / "ours.yaml").write_text(STUDY)
    place.run("sweep", "plan", "ours.yaml")
    assert not place.runs.exists()


def test_a_name_is_one_packages(place: Place) -> None:
    install(place.site)
    install(place.site, package="another")
    said = place.run("sweep", "plan", "outside.yaml", expect=2)
    assert "several packages offer one of that name (another, positional)" in said


def test_one_of_ours_cannot_be_replaced(place: Place) -> None:
    install(place.site, name="var")
    (place.folder / "ours.yaml").write_text(STUDY)
    assert "positional" not in place.run("sweep", "plan", "ours.yaml")


def test_one_module_and_a_shared_namespace_are_frozen_too(place: Place, tmp_path: Path) -> None:
    """A lone file, and a package below a namespace that others share: neither more nor less than is theirs."""
    code = install(place.site, name="deep", value="company.models.deep.things:FAMILY", package="deep")
    shutil.copytree(code, place.site / "company" / "models" / "deep")
    (place.site / "company" / "models" / "deep" / "things.py").write_text("FAMILY = 1")
    (place.site / "company" / "unrelated.py").write_text("")
    (place.site / "lone.py").write_text("FAMILY = 1")
    install(place.site, name="lone", value="lone:FAMILY", package="lone")
    install(place.site, name="gone", value="no_such_package:FAMILY", package="gone")
    script = (
        "import sys; from pathlib import Path; from var_scaling.runs import frozen\n"
        "stored = frozen.freeze(Path(sys.argv[1])); print(stored)\n"
        "print(*sorted(str(p.relative_to(stored)) for p in stored.rglob('*') if p.is_file()), sep='\\n')\n"
        "assert frozen.code_hash() == stored.name == frozen.code_hash(stored / 'var_scaling', stored)\n"
        "assert frozen.changed_files(Path(sys.argv[1]), stored.name) == []\n"
    )
    env = dict(os.environ, PYTHONPATH=f"{place.site}:{ROOT}")
    done = subprocess.run([sys.executable, "-P", "-c", script, tmp_path / "r"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = set(done.stdout.splitlines())
    assert {"lone.py", "company/models/deep/things.py", "company/models/deep/training.py"} <= names
    assert not names & {"company/unrelated.py", "positional/__init__.py"}
    assert "deep-0.1.dist-info/entry_points.txt" in names


def test_what_the_rows_of_a_family_that_is_gone_are_made_of_remains_known(tmp_path: Path) -> None:
    store.write_json(tmp_path / "columns.json", {"gone": [{"name": "loss"}], "var": []})
    Order(make_plan(*parse_study(STUDY, "tiny"), tmp_path), STUDY, Local()).write()
    known = store.read_json(tmp_path / "columns.json")
    assert known["gone"] == [{"name": "loss"}]
    assert known["var"], "and that of the others is as it is now"
