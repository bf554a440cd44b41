"""Folders that many processes share: written whole, claimed once, fenced.

A *work folder* is one trial or one stage:

    identity.json            what was hashed
    config.yaml              the resolved config
    attempts/NNN/            one time that the work was run; only this attempt writes here
        claim.json           who: host, boot, pid namespace, pid and its start, scheduler id, token
        reserve              room for end.json, so that a full disk can be named as the cause
        end.json             when and why it ended; absent while it runs or when it was killed
    result/ or budgets/<n>/  published whole, by a rename that fails if it is there already

The claim *is* the attempt folder: it is prepared aside and renamed into place, and a rename onto a folder that is not
empty fails, on a local disk and on a network file system alike. Numbers only grow, so a holder is fenced as soon as a
later attempt exists: it sees that before every checkpoint, result and flush, and leaves. Whether a holder lives is
asked of the process table, or of the scheduler by the caller; never of a clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from var_scaling.runs import layout
from var_scaling.runs.holders import AskScheduler, Holder, Life, life, this_process

RESERVE_BYTES = 16_384
_DIGEST = 32  # bytes of SHA-256, the end of a checkpoint


# ---- files ----------------------------------------------------------------------------------------------------------


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, also after a power cut.

    Where `durable` is False the disk is not waited for: for many files at once, of which the caller syncs all together.
    """
    with _written(path, durable) as file:
        file.write(content)


@contextlib.contextmanager
def _written(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that is given its name once all is in it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


class _Hashing:
    """A file to write to, whose bytes are hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, hashlib.sha256()
        self.problem: OSError | None = None

    def write(self, part: Any) -> int:
        self.sum.update(part)
        try:
            return self.file.write(part)
        except OSError as error:
            self.problem = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """`write_bytes` of readable JSON (floats in shortest form; NaN refused, for a missing value is absent)."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), durable)


def write_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Tensors by name as safetensors, readable by whom the umask lets: the library alone would make it the owner's."""
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode & 0o777
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, path)
    path.chmod(mode)


def link_or_copy(path: Path, to: Path) -> None:
    """The same content under a second name, without its bytes twice where the file system can."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)


def read_json(path: Path) -> Any:
    """The value of a JSON file, or None where there is none or where it is torn."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def publish(prepared: Path, final: Path) -> bool:
    """Move a prepared, non-empty folder into place unless one is there already; True if this call did it.

    Every file is on disk before the name appears, so a folder that exists is whole.
    """
    for folder, _, names in os.walk(prepared):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(folder))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(prepared, final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(prepared, ignore_errors=True)
        return False
    _sync_folder(final.parent)
    return True


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- attempts -------------------------------------------------------------------------------------------------------


class Held(Exception):
    """Somebody else runs this folder, or may."""

    def __init__(self, folder: Path, holder: Holder, state: Life) -> None:
        super().__init__(f"{folder.name} is held by {holder} ({state})")
        self.holder = holder
        self.state = state


class Lost(Exception):
    """A later attempt has taken this folder over: leave without writing."""


class Stopped(Exception):
    """The work was asked to stop and has saved what it had."""


@dataclass
class Attempt:
    """One running attempt, and the only writer of its folder."""

    work: Path
    number: int
    holder: Holder
    stop: threading.Event = field(default_factory=threading.Event)
    journal: Any = None  # a tracking.journal.Journal; set by the worker
    ends_at: float | None = None  # time.monotonic() at which the scheduler ends this process; set by the worker
    ended: bool = False  # this process has said why
    _progress_at: float = 0.0

    @property
    def folder(self) -> Path:
        return layout.attempt(self.work, self.number)

    def check_owner(self) -> None:
        """Raise `Lost` if a later attempt exists."""
        if layout.attempt(self.work, self.number + 1).exists():
            raise Lost(f"{self.work.name}: attempt {self.number} was taken over by attempt {self.number + 1}")

    def stop_requested(self, needed: float = 0.0) -> bool:
        """Whether to save and leave: asked to, or so many seconds no longer fit before the time limit."""
        return self.stop.is_set() or (self.ends_at is not None and time.monotonic() + needed > self.ends_at)

    def stopped(self) -> Stopped:
        return Stopped(f"{self.work.name}: stopped on request")

    def scratch(self, name: str) -> Path:
        """An empty folder of this attempt's own, to be filled and then published."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def progress(self, done: float, total: float, what: str) -> None:
        """Say how far the work is, at most twice a second; `status` and the progress bars read it."""
        now = time.monotonic()
        if now - self._progress_at > 0.5 or done >= total:
            self._progress_at = now
            temporary = self.folder / ".progress"
            temporary.write_text(
                json.dumps({"done": done, "total": total, "what": what, "time": time.time()}), encoding="utf-8"
            )
            os.replace(temporary, layout.progress(self.folder))

    def save_checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        """Durably save tensors and plain values under a name; the one before stays as `<name>.previous`."""
        import torch

        self.check_owner()
        path = layout.checkpoint(self.folder, name)
        path.parent.mkdir(exist_ok=True)
        if self.journal is not None:
            self.journal.sync()
        with _written(path) as file:  # tensor by tensor: a large state does not fit the host twice
            hashing = _Hashing(file)
            try:
                torch.save(dict(state), hashing)
            except RuntimeError as error:  # torch hides a full disk behind one of its own
                raise hashing.problem or error from None
            file.write(hashing.sum.digest())
            if path.exists():
                os.replace(path, layout.checkpoint(self.folder, name, previous=True))

    def load_checkpoint(self, name: str) -> dict[str, Any] | None:
        """The newest intact checkpoint of that name over all attempts, or None."""
        for path in checkpoint_files(self.work, name):
            if (state := read_checkpoint(path)) is not None:
                return state
            print(f"checkpoint {path} is damaged; looking for the one before", flush=True)
        return None

    def drop_checkpoint(self, name: str) -> None:
        """Delete a checkpoint that no later step needs (its budget is published)."""
        for path in checkpoint_files(self.work, name):
            path.unlink(missing_ok=True)

    def end(self, cause: str, **details: Any) -> dict[str, Any]:
        """Write why this attempt ended; the claim is free from then on. Where another rank said why, that stands.

        Returns:
            What stands.
        """
        self.ended = True
        layout.reserve(self.folder).unlink(missing_ok=True)
        if (said := read_json(layout.end(self.folder))) is None:
            said = {"cause": cause, "time": time.time(), **details}
            write_json(layout.end(self.folder), said)
        return dict(said)


def checkpoint_files(work: Path, name: str) -> Iterator[Path]:
    """Where a checkpoint may lie, the newest first."""
    for number in reversed(attempt_numbers(work)):
        for previous in (False, True):
            path = layout.checkpoint(layout.attempt(work, number), name, previous)
            if path.exists():
                yield path


def branch_points(work: Path) -> list[int] | None:
    """Images at which a trunk's state was kept and still is, rising; None where no attempt has saved anything."""
    folders = [layout.checkpoints(layout.attempt(work, number)) for number in attempt_numbers(work)]
    found: list[int] | None = None
    for folder in folders:
        with contextlib.suppress(OSError):
            names = {name.partition(".")[0] for name in os.listdir(folder)}
            found = (found or []) + [int(n[6:]) for n in names if n.startswith("point_") and n[6:].isdecimal()]
    return None if found is None else sorted(set(found))


def spare_checkpoints(work: Path, keep: str) -> list[Path]:
    """Checkpoints of a finished trial's trunk that it does not need where it keeps `all`, the `last`, or `none`."""
    points = branch_points(work) or []
    dropped: list[int] = {"all": [], "last": points[:-1], "none": points}[keep]
    names = [f"point_{images}" for images in dropped] + (["trunk"] if keep == "none" else [])
    return [path for name in names for path in checkpoint_files(work, name)]


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """A checkpoint's state, or None where the file is not what was written.

    Its tensors are pages of the file: copy what is to be changed, or kept longer than the file.
    """
    import torch

    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size <= _DIGEST:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
            if hashlib.sha256(view[:-_DIGEST]).digest() == view[-_DIGEST:]:
                source: Any = path  # torch maps it, too: memory is taken by what is copied out of it
            elif hashlib.sha256(view[_DIGEST:]).digest() == view[:_DIGEST]:  # the digest came first until version 0.1
                source = io.BytesIO(view[_DIGEST:])
            else:
                return None
    state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True, mmap=source is path)
    return state


def attempt_numbers(work: Path) -> list[int]:
    """Numbers of the attempts so far, in order."""
    try:
        return sorted(int(name) for name in os.listdir(layout.attempts(work)) if name.isdecimal())
    except OSError:
        return []


def read_holder(work: Path, number: int) -> Holder | None:
    """Who made an attempt."""
    claim = read_json(layout.claim(layout.attempt(work, number)))
    return Holder(**claim["holder"]) if claim else None


class Done(Exception):
    """There is nothing to do here any more."""


def take(
    work: Path,
    ask_scheduler: AskScheduler | None = None,
    take_over: bool = False,
    done: Callable[[Path], bool] = lambda work: False,
) -> Attempt:
    """Claim a work folder by starting its next attempt.

    `done` is asked after the last attempt was looked up: had another done the work since, it would hold the number
    that is reached for here, so no attempt is ever started in vain.

    Raises:
        Held: the last attempt has not ended and its holder lives, or may live and `take_over` is not set.
        Done: nothing is left to do.
    """
    numbers = attempt_numbers(work)
    last = numbers[-1] if numbers else -1
    if last >= 0 and not layout.end(layout.attempt(work, last)).exists():
        holder = read_holder(work, last)
        assert holder is not None, f"{work.name}: attempt {last} has no claim, which appears with its folder"
        state = life(holder, ask_scheduler)
        if state == "alive" or (state == "unknown" and not take_over):
            raise Held(work, holder, state)
    if done(work):
        raise Done
    mine = this_process()
    layout.attempts(work).mkdir(exist_ok=True)
    prepared = layout.attempts(work) / f".{mine.token}"
    prepared.mkdir()
    launch = os.environ.get("VAR_SCALING_LAUNCH")  # a claim of it is told from an older one by this, not by a clock
    write_json(layout.claim(prepared), {"holder": asdict(mine), "time": time.time(), "launch": launch})
    write_bytes(layout.reserve(prepared), os.urandom(RESERVE_BYTES), durable=False)  # random: not to be compressed away
    final = layout.attempt(work, last + 1)
    if not publish(prepared, final):
        winner = read_holder(work, last + 1)
        assert winner is not None
        if winner.token != mine.token:  # equal: the rename was done although its answer was lost
            raise Held(work, winner, life(winner, ask_scheduler))
    return Attempt(work, last + 1, mine)
