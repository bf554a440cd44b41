"""Where things lie is said in one file: no other spells a name of it, and what it names is where it says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"var_scaling": "runs/layout.py", "analysis": "rows/folders.py"}  # where each says where things lie
FOREIGN = {  # the same words for other things
    "var_scaling/tokenizers/losses.py": {"checkpoints"},  # torch's own folder
    "var_scaling/cli/tune.py": {"sweeps"},  # of sweep files
    "var_scaling/cli/samples.py": {"samples.png"},  # in the folder that the user stands in
}


def words(text: str) -> set[str]:
    """Names of files and folders in a piece of a path or pattern."""
    if set(text) & set(" \n<`"):
        return set()  # a sentence
    return {part for part in text.split("/") if part.partition(".")[0].strip("*_-[]{}0123456789")}


def pieces(node: ast.AST) -> str | None:
    """The text of a literal, with a star for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(pieces(v) or "*" for v in node.values)
    return None


def spelled(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text that is used as a path: joined by `/`, a glob, or one with a slash in it."""
    for node in ast.walk(tree):
        used: list[ast.AST] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            used = [node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("glob", "rglob", "joinpath", "with_name"):
                used = list(node.args)
            elif node.func.attr in ("startswith", "removeprefix", "endswith"):
                used = [a for a in node.args if "/" in (pieces(a) or "")]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_below", "_each"):
            used = list(node.args)
        elif isinstance(node, (ast.JoinedStr, ast.Constant)) and (set("/.") & set(pieces(node) or "")):
            used = [node]
        for each in used:
            if (text := pieces(each)) is not None:
                yield each.lineno, text


def spelled_in(file: Path) -> list[tuple[int, str]]:
    return list(spelled(ast.parse(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_file_spells_a_path_below_a_runs_folder(package: str) -> None:
    layout = ROOT / package / PACKAGES[package]
    ours = {word for _, text in spelled_in(layout) for word in words(text)}
    assert {"trials", "row.json", "attempts", "end.json", "study.json", "journal.jsonl"} <= ours, "the premise"
    found = []
    for file in sorted((ROOT / package).rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        for line, text in spelled_in(file) if file != layout else ():
            if wrong := (words(text) & ours) - FOREIGN.get(name, set()):
                found.append(f"{name}:{line}: {sorted(wrong)} in {text!r}; say it in {PACKAGES[package]}")
    assert not found, "\n".join(found)
