"""What is printed is what was meant: brackets, letters that a locale lacks, names that are no text, closed streams."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.support.programs import run

ODD = "no file [/data/val] of [red]us[/]"
FAKE = {"VAR_SCALING_WORKER_COMMAND": "\x1f".join(FAKE_WORKER)}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # what a locale that is not UTF-8 comes to


@pytest.mark.parametrize("name", ["q[red]z", "br[/x]"])
def test_brackets_in_messages_and_paths_are_text(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    runs = folder / "runs"
    runs.mkdir(parents=True)
    (folder / "fake.yaml").write_text(FAKE_STUDY)
    (runs / "fail_var").write_text(ODD)
    launched = run("sweep", "launch", f"{folder}/fake.yaml", "--no-mlflow", "--runs", str(runs), **FAKE)
    assert launched.returncode == 1, launched.stderr
    assert launched.stderr.count(ODD) >= 4, launched.stderr
    assert f"folder {runs}/sweeps/fake" in launched.stdout
    for command in (["status", "fake", "state=failed"], ["status", "fake"], ["explain", "d2-s0"], ["logs", "d2-s0"]):
        said = run("sweep", *command, "--runs", str(runs))
        assert said.returncode == 0, said.stderr
        assert ODD in said.stdout, command
    assert f"({runs}/trials/var-d2-s0" in run("sweep", "explain", "d2-s0", "--runs", str(runs)).stdout
    wrong = run("scaling", "fit-laws", f"{folder}/none.csv")
    assert wrong.returncode == 2
    assert f"{folder}/none.csv" in wrong.stderr


def test_a_locale_that_is_not_utf_8_changes_nothing_on_disk(tmp_path: Path) -> None:
    runs, text = tmp_path / "runs", FAKE_STUDY + "description: Größe – 大きさ\n"
    (tmp_path / "fake.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "fail_var-d3-s1").write_text("x")
    runs.mkdir()
    (runs / "fail_var-d3-s1").write_text("grün ist es nicht", encoding="utf-8")
    launch = ["launch", f"{tmp_path}/fake.yaml", "--no-mlflow", "--json"]
    launched = run("sweep", *launch, "--runs", str(runs), **FAKE, **ASCII)
    assert launched.returncode == 1, launched.stderr
    assert (runs / "sweeps" / "fake" / "study.yaml").read_bytes() == text.encode()
    for command in (["plan", f"{tmp_path}/fake.yaml"], ["status", "fake", "state=failed"], ["explain", "d3-s1"]):
        said = run("sweep", *command, "--runs", str(runs), **ASCII)
        assert said.returncode == 0, said.stderr
    (runs / "fail_var-d3-s1").unlink()
    again = run("sweep", "retry", "fake", "--json", "--runs", str(runs), **FAKE, **ASCII)
    assert again.returncode == 0, again.stderr


def test_a_folder_whose_name_is_no_text_can_be_named(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    with open(folder + b"/fake.yaml", "w", encoding="utf-8") as file:
        file.write(FAKE_STUDY)
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "launch", folder + b"/fake.yaml", "--no-mlflow"]
    done = subprocess.run(
        [*command, "--json", "--runs", folder + b"/runs"], env={**os.environ, **FAKE}, cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    missing = subprocess.run([*command[:4], folder + b"/none.yaml"], cwd=ROOT, capture_output=True)
    assert missing.returncode == 2, missing.stderr
    assert rb"caf\udce9/none.yaml: no such file" in missing.stderr


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), (">/dev/full", 3)])
def test_a_stream_that_is_closed_or_full_is_no_bug(tmp_path: Path, closed: str, code: int) -> None:
    command = f"{sys.executable} -m var_scaling.cli.sweep plan sweeps/depth.yaml --runs {tmp_path}/runs {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    assert ("standard output" in done.stderr) == (code == 3)


def _without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that would read or write text as the locale has it."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        method = isinstance(call.func, ast.Attribute)
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = getattr(getattr(call.func, "value", None), "id", "")
        if "encoding" in given or None in given:
            continue
        # yaml.read_text is ours; a distribution's read_text takes a file's name (Path's first argument is an encoding).
        named = name == "read_text" and bool(call.args)
        if name in ("read_text", "write_text") and owner != "yaml" and method and not named:
            yield call
        elif name == "open" and not method:
            mode = given.get("mode", call.args[1] if len(call.args) > 1 else None)
            if "b" not in str(getattr(mode, "value", "r")):
                yield call
        elif any(getattr(given.get(word), "value", False) is True for word in ("text", "universal_newlines")):
            yield call


def test_every_text_file_and_pipe_has_an_encoding() -> None:
    calls = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:80]}"
        for part in ("var_scaling", "analysis", "slurm", "benchmarks")
        for path in sorted((ROOT / part).rglob("*.py"))
        for call in _without_encoding(ast.parse(path.read_bytes()))
    ]
    assert not calls, "name it (encoding=...): the locale of a cluster's node is nobody's choice\n" + "\n".join(calls)
    bad = ast.parse("open(p); open(p, 'a'); p.read_text(); p.write_text(x); run(c, text=True); open(p, 'rb')")
    assert len(list(_without_encoding(bad))) == 5, "the premise: it sees them"


def test_a_tilde_that_no_shell_replaced_is_home(tmp_path: Path) -> None:
    (tmp_path / "fake.yaml").write_text(FAKE_STUDY)
    home = {"HOME": str(tmp_path)}
    for arguments, env in ((["--runs=~/x"], {}), (["--runs", "~/x"], {}), ([], {"VAR_SCALING_RUNS": "~/x"})):
        done = run("sweep", "plan", "~/fake.yaml", "--json", *arguments, cwd=tmp_path, **home, **env)
        assert done.returncode == 0, done.stderr
    launched = run("sweep", "launch", "~/fake.yaml", "--no-mlflow", "--runs=~/x", "--json", **home, **FAKE)
    assert launched.returncode == 0, launched.stderr
    assert (tmp_path / "x" / "sweeps" / "fake").is_dir()
    assert not (ROOT / "~").exists()
