"""What is written is what is there: examples of every --help, commands and snippets of pages, the reference."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tests.conftest import ROOT
from tests.support.fake_study import write_study
from tests.support.programs import run
from var_scaling import about
from var_scaling.cli import reference, scaling, sweep

try:  # typer brings its own copy of click since 0.20
    from typer._click.exceptions import UsageError
except ImportError:
    from click.exceptions import UsageError

APPS = {"var-sweep": typer.main.get_command(sweep.app), "var-scaling": typer.main.get_command(scaling.app)}
PAGES = sorted([ROOT / "README.md", *(path for path in (ROOT / "docs").glob("*.md") if path.name != "log.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MADE = ("sweeps/flowers.yaml", "sweeps/photos.yaml", "sweeps/tuned.yaml")  # by a command before them
FILE = re.compile(r"^(sweeps|slurm|docs|tests)/\S+\.(yaml|csv|py|sbatch)$")


def commands_of(text: str) -> Iterator[str]:
    """Each call of one of the two commands; a line may hold several, after comments, variables or &&."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\s|;\s", line.split(" #")[0]):
            words = re.sub(r"^\s*(\$ )?((\w+=\S+|sudo|time) )*", "", part).strip()
            words = re.sub(r"^\S*/bin/(?=var-)", "", words)
            if words.partition(" ")[0] in APPS:
                yield words


def examples() -> Iterator[tuple[str, str]]:
    """Of each command, groups included, the examples in its help."""

    def walk(path: str, command) -> Iterator[tuple[str, str]]:
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(f"{path} {name}", child)
        help_text = command.help or ""
        _, found, said = help_text.partition("Example")
        yield from ((path, words) for words in commands_of(re.sub(r"^s?:\s*", "", said)) if found)

    for program, app in APPS.items():
        yield from walk(program, app)


def parse(words: str) -> None:
    """As the program would, without doing it; asserts that named files of the repository are there.

    Raises:
        UsageError: an unknown command or option, or a value that it does not take.
    """
    program, *arguments = shlex.split(words)
    command, name = APPS[program], program
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, arguments = arguments[0], arguments[1:]
        if name not in command.commands:
            raise UsageError(f"no command {name}")
        command = command.commands[name]
    if "--help" not in arguments and not hasattr(command, "commands"):
        command.make_context(name, list(arguments))
    for word in arguments:
        there = word in MADE or (ROOT / word).exists()
        assert there or not FILE.match(word), f"{word} is not there"


def test_every_command_has_examples_and_each_of_them_is_a_command() -> None:
    found = list(examples())
    with_examples = {path for path, _ in found}
    for program, app in APPS.items():
        for name, command in app.commands.items():
            assert hasattr(command, "commands") or f"{program} {name}" in with_examples, f"{program} {name}: no example"
    assert len(found) > 50
    for path, words in found:
        try:
            parse(words)
        except UsageError as error:
            raise AssertionError(f"example of `{path} --help`: {words}: {error.format_message()}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_on_a_page_is_one(page: Path) -> None:
    for _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for words in commands_of(block):
            try:
                parse(words)
            except (UsageError, ValueError) as error:
                raise AssertionError(f"{page.name}: {words}: {error}") from error


def test_an_example_that_is_wrong_is_found() -> None:
    for words in (
        "var-scaling fit-lawz",
        "var-scaling fit-laws --hold 2",
        "var-sweep plan",
        "var-sweep watch --every x",
    ):
        with pytest.raises(UsageError):
            parse(words)
    with pytest.raises(AssertionError, match="is not there"):
        parse("var-sweep plan sweeps/none.yaml")
    assert list(commands_of("A=b var-sweep plan x && .venv/bin/var-scaling report  # why")) == [
        "var-sweep plan x",
        "var-scaling report",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_configuration_reference_is_that_of_the_code() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == reference.page(), "python -m var_scaling.cli.reference > docs/configuration.md"
    for said in ("| `decay_share` | number | `0.2` | above 0, at most 1;", "| `name` | text | **required** |"):
        assert said in written


def test_the_quickstart_says_what_comes_out(tmp_path: Path) -> None:
    """The first block of output on the page is that of the command before it, word for word."""
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    (command, told), *_ = re.findall(
        r"```\n(var-scaling fit-laws docs/[^\n]*)\n```\n+```text\n(.*?)```", text, re.DOTALL
    )
    _, *arguments = shlex.split(command)
    done = run("scaling", *arguments, "--no-figures", "--out", str(tmp_path / "laws"), COLUMNS="80")
    assert done.returncode == 0, done.stderr

    def lines(said: str) -> list[str]:
        return [line.rstrip() for line in said.splitlines() if not line.startswith("files ")]

    assert lines(done.stdout) == lines(told)


def test_the_snippets_in_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a planted study, in the order of the page, as one program."""
    write_study(tmp_path / "runs", depths=(2, 3, 4, 5), fid=False)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    snippets = [block for kind, block in BLOCK.findall(text) if kind == "python"]
    assert len(snippets) >= 4
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/python.md", "exec"), names)
    assert (tmp_path / "loss.png").stat().st_size > 5_000


def test_versions_agree_and_are_told() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {about.version_of()}\n" in citation
    assert f"version = {{{about.version_of()}}}" in about.citation()
    for program in ("sweep", "scaling"):
        done = run(program, "--version")
        assert (done.returncode, done.stdout) == (0, f"var-scaling {about.version_of()}\n")
