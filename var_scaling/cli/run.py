"""What every command shares: exit codes, errors as sentences, JSON on stdout and talk on stderr."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import IO, Any, cast

import typer
from rich.console import Console

from var_scaling import extras
from var_scaling.errors import EnvironmentProblem, RequestProblem


def _open_streams() -> None:
    """Give every message somewhere to go: a closed stream (`>&-`, cron) is nowhere, an odd letter is spelled out.

    A locale that is not UTF-8 cannot write every sentence, nor UTF-8 every file name (bytes that are no text).
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Talk:
    """stderr for what is said beside the result: no work ends because nobody is there any more to hear of it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def write(self, text: str) -> int:
        with self._heedless():
            self._stream().write(text)
        return len(text)

    def flush(self) -> None:
        with self._heedless():
            self._stream().flush()

    def _stream(self) -> Any:
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @contextlib.contextmanager
    def _heedless(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # a pipe without a reader, a terminal that was closed, a full disk
            _to_nowhere(self._stream())


class _Said(Console):
    """A console whose reader may leave (`| head -1`): the rest goes nowhere, and the command to its own end."""

    def on_broken_pipe(self) -> None:
        _to_nowhere(self.file)


def _to_nowhere(stream: IO[str]) -> None:
    """What is still in its buffer cannot be written, and would be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_open_streams()

# What is printed is text, not markup: names, paths and other people's messages may hold brackets. Colour is asked for
# by `rich.text.Text`. A pipe has no width of its own; tables are made for a wide one, so that nothing is cut in a log,
# unless COLUMNS says how wide.
_TOLD_WIDTH = os.environ.get("COLUMNS", "").isdigit()
out = _Said(width=None if sys.stdout.isatty() or _TOLD_WIDTH else 150, markup=False, highlight=False, emoji=False)
err = _Said(file=cast(IO[str], _Talk()), markup=False, highlight=False, emoji=False)


SCHEMA = 1


class Interrupted(Exception):
    """Stopped by the user, cleanly (exit code 130)."""


class Failed(Exception):
    """Done, but some trials failed; they were named (exit code 1)."""


def run(app: typer.Typer) -> None:
    """Run an application; every expected problem becomes a sentence and an exit code."""
    sys.argv[1:] = map(_at_home, sys.argv[1:])
    for name in ("VAR_SCALING_RUNS", "VAR_SCALING_DATA"):
        if name in os.environ:
            os.environ[name] = _at_home(os.environ[name])
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except Failed:
        code = 1
    except RequestProblem as problem:
        code = 2
        _tell("request", problem.problems)
        if debug:
            traceback.print_exc()
    except EnvironmentProblem as problem:
        code = 3
        _tell("environment", [str(problem)])
        if debug:
            traceback.print_exc()
    except (Interrupted, typer.Abort, KeyboardInterrupt):
        err.print("stopped; the same command goes on from here")
        code = 130
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
        code = 0
    except Exception as error:
        # A usage error knows how to show itself; which module its class comes from depends on typer's version.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            code = 2
        elif (words := extras.of_import(error)) and not debug:
            code = 3
            _tell("environment", [words])
        elif isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
            _to_nowhere(sys.stdout)
            _tell("environment", ["what was said does not fit where standard output goes: the disk there is full"])
            code = 3
        elif isinstance(error, OSError) and error.filename and not debug:
            _tell("environment", [f"{error.filename}: {error.strerror}; mend that, or use another folder"])
            code = 3
        else:
            if debug:
                raise
            err.print(f"bug: {type(error).__name__}: {error} (run again with --debug for the traceback)")
            code = 70
    sys.exit(code)


def _at_home(argument: str) -> str:
    """An argument whose `~` no shell has replaced: `--runs=~/x`, or a variable."""
    return re.sub(r"(^|=)(~\w*)(?=/|$)", lambda found: found[1] + os.path.expanduser(found[2]), argument)


def print_json(value: Any) -> None:
    """One document on stdout; `schema` counts how often keys were renamed or taken away, never that some were added."""
    if isinstance(value, dict):
        value = {"schema": SCHEMA} | value
    try:
        sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # typer would make a failure of it
        _to_nowhere(sys.stdout)


def _tell(kind: str, problems: list[str] | tuple[str, ...]) -> None:
    if "--json" in sys.argv:
        print_json({"schema": 1, "error": kind, "problems": list(problems)})
    for problem in problems:
        err.print(problem, soft_wrap=True)


def count(value: float) -> str:
    """1_077_764 -> `1.08M`; FLOPs and bytes alike."""
    for limit, suffix in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if limit <= value < float("inf"):
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def span(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    days = seconds / 86_400
    return f"{seconds / 3600:.1f} h" if days < 2 else f"{days:.1f} days" if days < 100 else f"{days:,.0f} days"
