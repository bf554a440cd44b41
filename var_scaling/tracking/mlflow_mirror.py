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
import hashlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import store
from var_scaling.runs.evaluations import read_evaluations
from var_scaling.runs.journal import attempt_journals, read_effective
from var_scaling.tracking import points
from var_scaling.tracking.filesystem import check_store
from var_scaling.tracking.points import Point

DEFAULT_URI = "sqlite:///mlflow.db"
BATCH = 1_000  # metrics in one request; 100 of params and tags
POLL_SECONDS = 2.0


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a file in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def absolute_uri() -> str:
    """`tracking_uri` as it means the same in any folder."""
    uri = tracking_uri()
    path = uri.removeprefix("sqlite:///")
    return f"sqlite:///{Path(path).resolve()}" if path != uri else uri


def ui_address(uri: str, experiment: str) -> str:
    """The page that draws all trials' curves over each other (the default page of an experiment is empty).

    Args:
        uri: of the tracking store; a file's page is served by `mlflow ui --backend-store-uri URI`.
        experiment: its id.
    """
    server = uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    # Nested runs are folded, and folded runs are not drawn; sorting by a metric unfolds them.
    query = f"workflowType=machine_learning&compareRunsMode=CHART&orderByKey={quote('metrics.`val/loss`', safe='.')}"
    return f"{server}/#/experiments/{experiment}/runs?{query}"


def read_ui_address(runs: Path, sweep: str, uri: str | None = None) -> str | None:
    """`ui_address` of a sweep that has been mirrored to this store, or None. Imports no mlflow."""
    uri = uri or tracking_uri()
    state = store.read_json(_state_path(runs / "sweeps" / sweep, uri))
    return ui_address(uri, state["experiment"]) if state and state.get("experiment") else None


def _state_path(sweep_folder: Path, uri: str) -> Path:
    return sweep_folder / "mirror" / f"{hashlib.sha256(uri.encode()).hexdigest()[:12]}.json"


def _client(uri: str) -> Any:
    """A client that fails fast, since waiting is ours to do, and that reports to nobody."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"  # it loses metrics in an outage (measured)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow
    from mlflow.tracking import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.exists():
        _create_database(path)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(tracking_uri=uri)


def _create_database(path: Path) -> None:
    """An empty store, whole or not at all.

    MLflow's own way is forty migrations in place; killed half-way, it leaves a file that it never opens again.
    """
    from mlflow.tracking import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    prepared = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    MlflowClient(tracking_uri=f"sqlite:///{prepared}").search_experiments(max_results=1)
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.link(prepared, path)
    prepared.unlink()


def prepare(uri: str, sweep: str) -> str:
    """Creates the store and the sweep's experiment where they are missing; returns the experiment's id.

    Called by one process before any other opens a new store: sixteen at once left none that could be opened.
    """
    return _experiment(_client(uri), uri, sweep)


def _experiment(client: Any, uri: str, sweep: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(sweep)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    # With a file, artifacts would go below the folder of whoever creates the experiment, for ever: say where.
    location = None if uri.startswith("http") else (Path("mlruns").resolve() / sweep).as_uri()
    try:
        return str(client.create_experiment(sweep, artifact_location=location))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(sweep).experiment_id)


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

    def __init__(self, runs: Path, sweep: str, uri: str | None = None) -> None:
        self.runs, self.sweep, self.uri = runs, sweep, uri or tracking_uri()
        self.folder = runs / "sweeps" / sweep
        self.state = State.read(_state_path(self.folder, self.uri))
        self._seen: dict[str, Any] = {}  # trial -> what its files looked like when all was sent
        self._checked: set[str] = set()  # runs that this process has seen in the store
        self._client: Any = None

    def sync(self) -> int:
        """Sends what is new; returns the number of points and files sent. Any exception: try again later."""
        if self._client is None:
            self._client = _client(self.uri)
        experiment = _experiment(self._client, self.uri, self.sweep)
        if experiment != self.state.experiment:  # a new store, or one that was emptied
            self.state.experiment, self.state.runs, self._seen = experiment, {}, {}
            self.state.save()
        study = store.read_json(self.folder / "study.json") or {"trials": []}
        sent = 0
        launches = self._launches()
        parents = {number: self._parent(number, launch) for number, launch in launches.items()}
        ended = True
        for trial in study["trials"]:
            folder = self.runs / "trials" / trial["folder"]
            look = points.look(folder)
            if self._seen.get(trial["trial"]) == look:
                continue
            if not attempt_journals(folder):
                ended = False
                continue  # not started: a run with nothing in it would be a ghost
            parent = next((p for n, p in parents.items() if points.launched(launches[n], trial)), None)
            sent += self._trial(trial, folder, parent or next(iter(parents.values()), None))
            self._seen[trial["trial"]] = look
        if parents:
            last = list(parents)[-1]
            sent += self._files(f"launch:{last}", parents[last], self._sweep_files())
            status = "FINISHED" if ended and all(points.finished(self.runs, t) for t in study["trials"]) else "RUNNING"
            for number, run_id in parents.items():
                self._status(f"launch:{number}", run_id, status if number == last else "FINISHED", None)
        return sent

    # ---- runs

    def _launches(self) -> dict[str, Mapping[str, Any]]:
        paths = sorted(self.folder.glob("launches/*/launch.json"))
        return {p.parent.name: launch for p in paths if (launch := store.read_json(p)) is not None}

    def _parent(self, number: str, launch: Mapping[str, Any]) -> str:
        tags = {"launch": f"{self.sweep}/{number}", "sweep": self.sweep, "launcher": str(launch.get("launcher", ""))}
        return self._run(f"launch:{number}", f"{self.sweep} {number}", "launch", tags, {}, points.launch_time(launch))

    def _run(
        self, key: str, name: str, unique: str, tags: Mapping[str, str], params: Mapping[str, str], start: int
    ) -> str:
        """The run with this tag: the known one, else the one that an interrupted mirror made, else a new one."""
        known = self.state.runs.get(key)
        if known is not None and self._still_there(known["id"]):
            return str(known["id"])
        found = self._client.search_runs(
            [self.state.experiment],
            filter_string=f"tags.{unique} = '{tags[unique]}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        if found:
            run_id = str(found[0].info.run_id)
        else:
            made = self._client.create_run(self.state.experiment, start_time=start, tags=dict(tags), run_name=name)
            run_id = str(made.info.run_id)
        self._log(run_id, params=params)  # the same value again is taken, so a found run is completed
        self.state.runs[key] = {"id": run_id, "phases": {}, "once": [], "files": {}, "status": ""}
        self.state.save()
        return run_id

    def _still_there(self, run_id: str) -> bool:
        """Looked up once a process: somebody may have deleted the run, which also a later point would bring back."""
        from mlflow.exceptions import MlflowException

        if run_id not in self._checked:
            try:
                if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
                    self._client.restore_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            self._checked.add(run_id)
        return True

    def _trial(self, trial: Mapping[str, Any], folder: Path, parent: str | None) -> int:
        key = f"trial:{trial['trial']}"
        budgets = [int(b["images"]) for b in trial["budgets"]]
        rows = {b: row for b in budgets if (row := store.read_json(folder / "budgets" / str(b) / "row.json"))}
        # Before the lines: one that was read earlier may have been written again by the attempt that made it durable.
        limits = points.publishable(folder, rows)
        lines = read_effective(folder)
        identity = store.read_json(folder / "identity.json") or {}
        start = min((line["time"] for line in lines), default=time.time())
        family = str((identity.get("model") or {}).get("family", "var"))
        tags = {"trial": str(trial["trial"]), "family": family}
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
        sent += self._files(key, run_id, points.trial_files(folder, budgets))
        done = len(rows) == len(budgets)
        end = max((float(r.get("finished", 0)) for r in rows.values()), default=0.0) if done else None
        self._status(key, run_id, "FINISHED" if done else points.status(folder), end or None)
        return sent

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
                self._client.log_artifact(run_id, str(path), place)
                known["files"][name] = stamp
                self.state.save()
                sent += 1
        return sent

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
    """Exit codes: 0 all was sent, or another mirror of this sweep is at it; 1 the tracker did not take everything.

    2: no such sweep; 3: a store that must not be opened from here.
    """
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
    mirror = Mirror(asked.runs, asked.sweep)
    done = _follow(mirror, attempt) if asked.follow else _once(mirror)
    attempt.end("finished" if done else "tracker-down")
    return 0 if done else 1


def _once(mirror: Mirror, tries: int = 3) -> bool:
    for number in range(tries):
        if _try(mirror):
            return True
        if number + 1 < tries:
            time.sleep(2.0**number)
    return False


def _follow(mirror: Mirror, attempt: store.Attempt) -> bool:
    """Rounds until told to stop; between failures it waits longer and longer, up to half a minute."""
    # Named by the launcher: one that is killed while this process imports MLflow would not be missed later.
    launcher, wait = int(os.environ.get("VAR_SCALING_LAUNCHER", os.getppid())), POLL_SECONDS
    while True:
        last = attempt.stop.is_set() or os.getppid() != launcher
        attempt.check_owner()
        begin = time.monotonic()
        fine = _try(mirror)
        if last:
            return fine
        # A round over a thousand trials reads for seconds: rest ten times as long, for this may be a login node.
        wait = max(POLL_SECONDS, 10 * (time.monotonic() - begin)) if fine else min(2 * wait, 30.0)
        until = time.monotonic() + wait
        while time.monotonic() < until and not attempt.stop.is_set() and os.getppid() == launcher:
            time.sleep(0.1)


def _try(mirror: Mirror) -> bool:
    try:
        mirror.sync()
        return True
    except Exception as error:  # whatever the tracker or its client raises: the journal keeps everything
        first = (str(error).splitlines() or [""])[0]  # SQLAlchemy adds its whole statement
        print(f"{time.strftime('%H:%M:%S')} not sent, will be: {type(error).__name__}: {first}", file=sys.stderr)
        return False


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
