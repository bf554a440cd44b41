"""The mirror: `python -m var_scaling.tracking.mlflow_mirror RUNS SWEEP [--once|--follow]` brings MLflow up to date.

The journals are the truth and the queue; this is the only process that talks to MLflow, and the only module that
imports it. It reads what is on disk, sends what is new, and remembers how far it got only after the tracker has taken
it. A point is its (run, name, step, timestamp, value), all from the journal, so that sending twice after doubt is free.

    experiment   the sweep
      run        a launch: laws and figures are its artifacts
        run      a trial: params = identity, step = images seen

Only what can no longer be rolled back is published: lines up to a phase's last durable checkpoint, and all of a budget
that has its row. `train/` and `trunk/` are the trunk's curves, `anneal_<images>/` a branch's; `val/`, `scale/`, `fid/`
and `quality/` have one point a budget.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import store
from var_scaling.runs.evaluations import read_evaluations
from var_scaling.runs.journal import attempt_journals, read_effective
from var_scaling.tracking import points
from var_scaling.tracking.address import shown, state_path, tracking_uri
from var_scaling.tracking.connect import connect, experiment_of, may_pass
from var_scaling.tracking.filesystem import check_store
from var_scaling.tracking.origin import folder_id, origin_of
from var_scaling.tracking.points import Point

BATCH = 1_000  # metrics in one request; 100 of params and tags
POLL_SECONDS = 2.0


class NotTaken(Exception):
    """The tracker took the rest, but not this."""


@dataclass
class State:
    """How far one store has been told, on disk after every step that it confirmed."""

    path: Path
    experiment: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # key of a run -> id, sent marks, files

    @classmethod
    def read(cls, path: Path) -> State:
        kept = store.read_json(path) or {}
        return cls(path, kept.get("experiment", ""), kept.get("runs", {}))

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        store.write_json(self.path, {"experiment": self.experiment, "runs": self.runs})


class Mirror:
    """Everything that one sweep has to say to one store."""

    def __init__(
        self, runs: Path, sweep: str, uri: str | None = None, ask: store.AskScheduler | None = None, live: bool = False
    ) -> None:
        self.runs, self.sweep, self.uri, self.ask = runs, sweep, uri or tracking_uri(), ask
        self.live = live  # a launcher is at work on it
        self.folder = runs / "sweeps" / sweep
        self.state = State.read(state_path(self.folder, self.uri))
        self._seen: dict[str, Any] = {}  # trial -> what its files looked like when all was sent
        self._checked: dict[str, str] = {}  # runs that this process has seen in the store -> where their files go
        self._problems: dict[str, list[str]] = {}  # of this round: words -> of what
        self._client: Any = None

    def sync(self) -> int:
        """Sends what is new; returns the number of points and files sent.

        Raises:
            NotTaken: some of it was refused, or its files cannot be written; all else has arrived.
            Exception: the tracker is silent; try again later.
        """
        if self._client is None:
            self._client = connect(self.uri)
        experiment = experiment_of(self._client, self.uri, self.sweep)
        if experiment != self.state.experiment:  # a new store, or one that was emptied
            self.state.experiment, self.state.runs, self._seen = experiment, {}, {}
            self.state.save()
        self._problems = {}
        study = store.read_json(self.folder / "study.json") or {"trials": []}
        sent = 0
        launches = self._launches()
        parents = {number: self._parent(number, launch) for number, launch in launches.items()}
        files: list[tuple[str, str, Mapping[Path, str]]] = []  # after all curves, for they may be refused
        looks: dict[str, Any] = {}
        for trial in study["trials"]:
            folder = self.runs / "trials" / trial["folder"]
            done = points.finished(self.runs, trial)
            look = (points.look(folder), done or points.status(folder, self.ask))
            if self._seen.get(trial["trial"]) == look or not attempt_journals(folder):
                continue  # nothing new, or not started: a run with nothing in it would be a ghost
            parent = next((p for n, p in parents.items() if points.launched(launches[n], trial)), None)
            with self._apart(trial["folder"]):
                run_id, count = self._trial(trial, folder, parent or next(iter(parents.values()), None))
                sent += count
                files.append((f"trial:{trial['trial']}", run_id, points.trial_files(folder, _budgets(trial))))
                looks[trial["trial"]] = look
        if parents:
            last = list(parents)[-1]
            files.append((f"launch:{last}", parents[last], self._sweep_files()))
            status = points.sweep_status(self.runs, study["trials"], self.live, self.ask)
            for number, run_id in parents.items():
                self._status(f"launch:{number}", run_id, status if number == last else "FINISHED", None)
        for key, run_id, of_run in files:
            with self._apart(f"files of {key.removeprefix('trial:')}"):
                sent += self._files(key, run_id, of_run)
        if self._problems:
            raise NotTaken(
                "; ".join(
                    f"{whose[0]}{f' and {len(whose) - 1} more' if len(whose) > 1 else ''}: {words}"
                    for words, whose in self._problems.items()
                )
            )
        self._seen |= looks
        return sent

    @contextlib.contextmanager
    def _apart(self, what: str) -> Iterator[None]:
        """Let what the tracker refuses of one thing not stop the next; that it is silent stops all."""
        try:
            yield
        except Exception as error:
            if may_pass(error, self.uri):
                raise
            self._problems.setdefault(_words(error), []).append(what)

    # ---- runs

    def _launches(self) -> dict[str, Mapping[str, Any]]:
        paths = sorted(self.folder.glob("launches/*/launch.json"))
        return {p.parent.name: launch for p in paths if (launch := store.read_json(p)) is not None}

    def _parent(self, number: str, launch: Mapping[str, Any]) -> str:
        tags = {"launch": f"{self.sweep}/{number}", "sweep": self.sweep, "launcher": str(launch.get("launcher", ""))}
        tags["origin"] = folder_id(self.runs)
        return self._run(f"launch:{number}", f"{self.sweep} {number}", "launch", tags, {}, points.launch_time(launch))

    def _run(
        self, key: str, name: str, unique: str, tags: Mapping[str, str], params: Mapping[str, str], start: int
    ) -> str:
        """The run with this tag and origin: the known one, else what an interrupted mirror made, else a new one."""
        known = self.state.runs.get(key)
        if (
            known is not None
            and known.get("origin", tags["origin"]) == tags["origin"]
            and self._still_there(known["id"])
        ):
            if "origin" not in known:  # from before runs had one
                self._client.set_tag(known["id"], "origin", tags["origin"])
                known["origin"] = tags["origin"]
            return str(known["id"])
        found = self._client.search_runs(
            [self.state.experiment],
            filter_string=f"tags.{unique} = '{tags[unique]}' and tags.origin = '{tags['origin']}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        if found:
            run_id = str(found[0].info.run_id)
        else:
            made = self._client.create_run(self.state.experiment, start_time=start, tags=dict(tags), run_name=name)
            run_id = str(made.info.run_id)
        self._log(run_id, params=params)  # the same value again is taken, so a found run is completed
        self.state.runs[key] = {
            "id": run_id,
            "origin": tags["origin"],
            "phases": {},
            "once": [],
            "files": {},
            "status": "",
        }
        self.state.save()
        return run_id

    def _still_there(self, run_id: str) -> bool:
        """Looked up once a process: somebody may have deleted the run, which also a later point would bring back."""
        from mlflow.exceptions import MlflowException

        if run_id not in self._checked:
            try:
                info = self._client.get_run(run_id).info
                if info.lifecycle_stage == "deleted":
                    self._client.restore_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            self._checked[run_id] = str(info.artifact_uri)
        return True

    def _trial(self, trial: Mapping[str, Any], folder: Path, parent: str | None) -> tuple[str, int]:
        key = f"trial:{trial['trial']}"
        budgets = _budgets(trial)
        rows = {b: row for b in budgets if (row := store.read_json(folder / "budgets" / str(b) / "row.json"))}
        # Before the lines: one that was read earlier may have been written again by the attempt that made it durable.
        limits = points.publishable(folder, rows)
        lines = read_effective(folder)
        identity = store.read_json(folder / "identity.json") or {}
        start = min((line["time"] for line in lines), default=time.time())
        family = str((identity.get("model") or {}).get("family", "var"))
        tags = {"trial": str(trial["trial"]), "family": family, "origin": origin_of(self.runs, folder)}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        params = {name: value for name, value in points.flat(identity)}
        run_id = self._run(key, str(trial["folder"]), "trial", tags, params, int(start * 1000))
        known = self.state.runs[key]
        sent = 0
        fresh: dict[str, list[tuple[int, list[Point]]]] = {}
        for line in lines:
            phase, images = str(line["phase"]), int(line["images"])
            if known["phases"].get(phase, -1) < images <= limits.get(phase, -1):
                fresh.setdefault(phase, []).append((images, list(points.line_points(line))))
        for phase, of_phase in fresh.items():
            for images, batch in _in_batches(of_phase):
                self._log(run_id, batch)
                known["phases"][phase] = images
                self.state.save()
                sent += len(batch)
        for name, batch in self._budget_points(folder, rows, trial.get("evaluations", ())):
            if name not in known["once"]:
                self._log(run_id, batch)
                known["once"].append(name)
                self.state.save()
                sent += len(batch)
        if rows and "tags" not in known["once"]:
            row = next(iter(rows.values()))
            for tag in ("cell", "code"):
                if tag in row:
                    self._client.set_tag(run_id, tag, str(row[tag]))
            known["once"].append("tags")
            self.state.save()
        done = len(rows) == len(budgets)
        end = max((float(r.get("finished", 0)) for r in rows.values()), default=0.0) if done else None
        self._status(key, run_id, "FINISHED" if done else points.status(folder, self.ask), end or None)
        return run_id, sent

    def _budget_points(
        self, folder: Path, rows: Mapping[int, Mapping[str, Any]], evaluations: Sequence[str]
    ) -> Iterator[tuple[str, list[Point]]]:
        for budget, row in rows.items():
            at = int(float(row.get("finished", 0)) * 1000)
            yield f"row:{budget}", list(points.row_points(row, at, int(row.get("images_seen", budget))))
            for label, evaluation in read_evaluations(folder / "budgets" / str(budget), evaluations).items():
                at = int(float(evaluation.get("finished", row.get("finished", 0))) * 1000)
                seeds = evaluation.get("seeds", 1)  # one more makes another mean
                yield f"{budget}/{label}/{seeds}", list(points.evaluation_points(evaluation, at, budget))

    # ---- what is sent

    def _log(self, run_id: str, batch: list[Point] | None = None, params: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Metric, Param

        for part in _cut(batch or [], BATCH):
            self._client.log_batch(run_id, metrics=[Metric(n, v, at, step) for n, v, at, step in part])
        for some in _cut(list((params or {}).items()), 100):
            self._client.log_batch(run_id, params=[Param(name, value) for name, value in some])

    def _files(self, key: str, run_id: str, files: Mapping[Path, str]) -> int:
        known, sent = self.state.runs[key], 0
        for path, place in files.items():
            name = f"{place}/{path.name}"
            try:
                stamp = [path.stat().st_size, path.stat().st_mtime_ns]
            except OSError:
                continue  # replaced just now; seen at the next round
            if known["files"].get(name) != stamp:
                self._check_place(run_id)
                self._client.log_artifact(run_id, str(path), place)
                known["files"][name] = stamp
                self.state.save()
                sent += 1
        return sent

    def _check_place(self, run_id: str) -> None:
        """Refuse to make a folder anew that was moved: where files go was fixed when the experiment was made.

        Raises:
            FileNotFoundError: with the way out.
        """
        place = self._checked[run_id] if self._still_there(run_id) else ""
        root = Path(unquote(urlsplit(place).path))  # <working folder>/mlruns/<sweep>/<run>/artifacts
        if place.startswith("file:") and len(root.parents) > 3 and not (home := root.parents[3]).is_dir():
            raise FileNotFoundError(
                f"the store sends the files of this experiment to {root.parents[1]}, and {home} is not there: was it "
                f"moved? make a link of that name to where it is now (ln -s NEW {home}), or start another store"
            )

    def _sweep_files(self) -> dict[Path, str]:
        files = {p: "study" for p in (self.folder / "study.yaml", self.folder / "study.json") if p.exists()}
        for path in sorted(self.folder.glob("laws/**/*")):
            if path.is_file() and not path.name.startswith("."):
                files[path] = path.parent.relative_to(self.folder).as_posix()
        return files

    def _status(self, key: str, run_id: str, status: str, end: float | None) -> None:
        known = self.state.runs[key]
        if known["status"] == status:
            return
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, None if end is None else int(end * 1000))
        known["status"] = status
        self.state.save()


def _budgets(trial: Mapping[str, Any]) -> list[int]:
    return [int(b["images"]) for b in trial["budgets"]]


def _words(error: BaseException) -> str:
    """The first line of an error; SQLAlchemy adds its whole statement, a client its address with the password."""
    return shown(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _in_batches(lines: list[tuple[int, list[Point]]]) -> Iterator[tuple[int, list[Point]]]:
    """Whole lines together while they fit one request, with the images of the last."""
    batch: list[Point] = []
    last = -1
    for images, of_line in lines:
        if batch and len(batch) + len(of_line) > BATCH:
            yield last, batch
            batch = []
        batch, last = batch + of_line, images
    if last >= 0:
        yield last, batch


def _cut(values: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


# ---- the process ----------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 all was sent, or another mirror of this sweep is at it; 1 the tracker is silent; 2 no such sweep.

    3: a store that must not be opened from here, or that answered and refused something.
    """
    for stream in (sys.stdout, sys.stderr):  # a log in any locale
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="python -m var_scaling.tracking.mlflow_mirror", description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("sweep")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="send what is there and leave (the default)")
    mode.add_argument("--follow", action="store_true", help="until SIGTERM, or until the launcher is gone")
    asked = parser.parse_args(arguments)
    folder = asked.runs / "sweeps" / asked.sweep
    if not folder.is_dir():
        print(f"{folder} does not exist: no sweep of that name was launched here", file=sys.stderr)
        return 2
    try:
        check_store(tracking_uri())
    except EnvironmentProblem as problem:
        print(problem, file=sys.stderr)
        return 3
    (folder / "mirror").mkdir(exist_ok=True)
    try:
        attempt = store.take(folder / "mirror")
    except store.Held as held:
        print(f"another mirror of {asked.sweep} is at work: {held}", file=sys.stderr)
        return 0 if held.state == "alive" else 1
    for number in store.attempt_numbers(folder / "mirror")[:-1]:  # a mirror's past is of no use
        _remove(folder / "mirror" / "attempts" / f"{number:03d}")
    stop = attempt.stop
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from var_scaling.launch.arrays import ask_once

    mirror = Mirror(asked.runs, asked.sweep, ask=None if asked.follow else ask_once(asked.runs), live=asked.follow)
    code = _follow(mirror, attempt) if asked.follow else _once(mirror)
    attempt.end({0: "finished", 1: "tracker-down"}.get(code, "tracker-refused"))
    return code


def _once(mirror: Mirror, tries: int = 3) -> int:
    for number in range(tries):
        if (code := _try(mirror)) != 1:
            return code
        if number + 1 < tries:
            time.sleep(2.0**number)
    return 1


def _follow(mirror: Mirror, attempt: store.Attempt) -> int:
    """Rounds until told to stop; between failures it waits longer and longer, up to half a minute."""
    # Named by the launcher: one that is killed while this process imports MLflow would not be missed later.
    launcher, wait = int(os.environ.get("VAR_SCALING_LAUNCHER", os.getppid())), POLL_SECONDS
    while True:
        last = attempt.stop.is_set() or os.getppid() != launcher
        attempt.check_owner()
        begin = time.monotonic()
        mirror.live = not last
        code = _try(mirror)
        if last:
            return code
        # A round over a thousand trials reads for seconds: rest ten times as long, for this may be a login node.
        wait = max(POLL_SECONDS, 10 * (time.monotonic() - begin)) if not code else min(2 * wait, 30.0)
        until = time.monotonic() + wait
        while time.monotonic() < until and not attempt.stop.is_set() and os.getppid() == launcher:
            time.sleep(0.1)


def _try(mirror: Mirror) -> int:
    """One round, as an exit code; whatever the tracker or its client raises, the journal keeps everything."""
    now = time.strftime("%H:%M:%S")
    try:
        mirror.sync()
    except NotTaken as problem:
        print(f"{now} not taken: {problem}", file=sys.stderr)
        return 3
    except Exception as error:
        if may_pass(error, mirror.uri):
            print(f"{now} not sent, will be: {_words(error)}", file=sys.stderr)
            return 1
        print(f"{now} refused: {_words(error)}", file=sys.stderr)
        return 3
    return 0


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
