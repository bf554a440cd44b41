"""Faults for a process of ours: a change of the file system that fails or kills it, a full disk, a clock set back.

Changes are counted where Python makes them: opening to write, each write(2) behind a file object, fsync, rename,
replace, mkdir, unlink. In a process that this module did not start they are asked for by variables of the environment
(see `from_environment`); the product knows nothing of it.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

# kill: SIGKILL instead of the change, with half of a write done. fail: EIO, once, with half of a write done. lie: done,
# and EIO all the same, as when a file server's answer is lost. full: from there on nothing that takes space passes.
How = Literal["kill", "fail", "lie", "full"]
HOWS: tuple[How, ...] = ("kill", "fail", "lie", "full")

FULL = "VAR_SCALING_TEST_FULL"  # path of a file: the disk is full while it exists
CLOCK = "VAR_SCALING_TEST_CLOCK"  # "<seconds to add> <seconds after the start of the process>"

_GROWING = ("open", "write", "mkdir")


class Faults:
    """Counts changes, and does something bad at one of them."""

    def __init__(self, at: int, how: How, counted: Callable[[int], None] = lambda count: None) -> None:
        self.at, self.how, self.counted, self.count = at, how, counted, 0

    def change(self, kind: str, do: Callable[[], Any], half: Callable[[], Any] = lambda: None, size: int = 0) -> Any:
        self.count += 1
        if self.how == "full" and self.count >= self.at and kind in _GROWING:
            self.counted(self.count)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.how == "full" or self.count != self.at:
            return do()
        self.counted(self.count)
        if self.how == "lie":
            do()
        else:
            half()
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def install(self) -> None:
        _install(self.change)


class Full:
    """While a file exists nothing can be written, but for as many bytes as this process has freed since."""

    def __init__(self, marker: Path) -> None:
        self.marker, self.freed = marker, 0

    def change(self, kind: str, do: Callable[[], Any], half: Callable[[], Any] = lambda: None, size: int = 0) -> Any:
        full = self.marker.exists()
        if full and kind == "write" and size > self.freed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if full:
            self.freed += size if kind in ("unlink", "remove") else -size
        return do()

    def install(self) -> None:
        _install(self.change)


def from_environment() -> None:
    """Install what the environment asks for."""
    if text := os.environ.get(FULL):
        Full(Path(text)).install()
    if text := os.environ.get(CLOCK):
        shift, after = map(float, text.split())
        start, real = time.monotonic(), time.time
        time.time = lambda: real() + (shift if time.monotonic() - start >= after else 0.0)


def _install(change: Callable[..., Any]) -> None:
    real_open, real_os_open = builtins.open, os.open

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            content = bytes(data)
            write = super().write
            half = content[: len(content) // 2]
            return int(change("write", lambda: write(content), lambda: write(half), size=len(content)))

    def open_(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *rest: Any,
        **options: Any,
    ) -> Any:
        if isinstance(file, int) or not set(mode) & set("wxa+") or os.fspath(file) == os.devnull:
            return real_open(file, mode, buffering, encoding, errors, newline, *rest, **options)
        raw = change("open", lambda: Raw(file, mode.replace("b", "").replace("t", "")))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def os_open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or path == os.devnull:
            return real_os_open(path, flags, *rest, **options)
        return int(change("open", lambda: real_os_open(path, flags, *rest, **options)))

    def counted(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: change(kind, lambda: real(*arguments, **options))

    builtins.open = io.open = open_  # type: ignore[assignment]
    os.open = os_open

    def removing(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def remove(path: Any, **options: Any) -> Any:
            size = os.lstat(path, **options).st_size  # raises as the removal would
            return change(kind, lambda: real(path, **options), size=size)

        return remove

    for name in ("fsync", "rename", "replace", "mkdir", "rmdir", "link", "symlink", "ftruncate"):
        setattr(os, name, counted(name, getattr(os, name)))
    for name in ("unlink", "remove"):
        setattr(os, name, removing(name, getattr(os, name)))
    for name in ("write", "sendfile"):
        setattr(os, name, counted("write", getattr(os, name)))
