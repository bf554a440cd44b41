"""What one sweep has to say to one store: runs, curves, rows, laws, notes and the view of all of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from var_scaling.runs import holders, layout, store
from var_scaling.runs.evaluations import read_evaluations
from var_scaling.runs.journal import attempt_journals, read_effective
from var_scaling.tracking import laws, notes, points, rows, view
from var_scaling.tracking.address import page, shown, state_path, tracking_uri
from var_scaling.tracking.connect import connect, experiment_of, may_pass
from var_scaling.tracking.origin import folder_id, origin_of
from var_scaling.tracking.points import Point

BATCH = 1_000  # metrics in one request; 100 of params and tags
FORMAT = 2  # of what is sent; a study mirrored in an earlier one is sent what that lacked
SAVE_SECONDS = 2.0


class NotTaken(Exception):
    """The tracker took the rest, but not this."""


@dataclass
class State:
    """How far one store has been told. What is lost of it is sent again, which the store takes for what it has."""

    path: Path
    experiment: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # key of a run -> id, sent marks, files
    said: dict[str, str] = field(default_factory=dict)  # tag of the experiment -> digest of its value
    _saved: float = 0.0

    @classmethod
    def read(cls, path: Path) -> State:
        kept = store.read_json(path) or {}
        runs = kept.get("runs", {})
        if kept.get("format", 1) < FORMAT:
            for known in runs.values():
                known |= {"phases": {}, "once": [], "status": ""}
        return cls(path, kept.get("experiment", ""), runs, kept.get("said", {}))

    def save(self, at_once: bool = True) -> None:
        """Write it down; not `at_once`: unless that was done just now, for it grows with the study."""
        if at_once or time.monotonic() - self._saved > SAVE_SECONDS:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            value = {"format": FORMAT, "experiment": self.experiment, "runs": self.runs, "said": self.said}
            store.write_json(self.path, value)
            self._saved = time.monotonic()


@dataclass(frozen=True)
class Files:
    """Files of one run, sent after all curves, for the place that they go to may refuse them."""

    key: str
    run_id: str
    plain: Mapping[Path, str]  # file -> folder of the artifacts
    pictures: Mapping[tuple[str, int], Path]  # (key, step) -> a picture of a series


class Mirror:
    """Everything that one sweep has to say to one store.

    Args:
        runs: the runs folder.
        sweep: its name.
        uri: of the store.
        ask: whether a scheduler's job lives.
        live: a launcher is at work on it.
    """

    def __init__(
        self,
        runs: Path,
        sweep: str,
        uri: str | None = None,
        ask: holders.AskScheduler | None = None,
        live: bool = False,
    ) -> None:
        self.runs, self.sweep, self.uri, self.ask, self.live = runs, sweep, uri or tracking_uri(), ask, live
        self.folder = layout.sweep(runs, sweep)
        self.state = State.read(state_path(self.folder, self.uri))
        self._seen: dict[str, Any] = {}  # work folder -> what its files looked like when all was sent
        self._measured: dict[str, list[notes.Measured]] = {}  # trial -> its rows
        self._families: set[str] = set()
        self._pictured: dict[str, int] = {}  # trial -> images seen of its last pictures
        self._checked: dict[str, str] = {}  # runs that this process has seen in the store -> where their files go
        self._made: set[str] = set()  # runs that this process has made
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
            self.state.experiment, self.state.runs, self.state.said, self._seen = experiment, {}, {}, {}
        self._problems = {}
        try:
            sent = self._round()
        finally:
            self.state.save()
        if self._problems:
            raise NotTaken(
                "; ".join(
                    f"{whose[0]}{f' and {len(whose) - 1} more' if len(whose) > 1 else ''}: {words}"
                    for words, whose in self._problems.items()
                )
            )
        return sent

    def _round(self) -> int:
        study = store.read_json(layout.study(self.folder)) or {"trials": []}
        launches = {
            folder.name: launch
            for folder in layout.launches(self.folder)
            if (launch := store.read_json(layout.launch_note(folder))) is not None
        }
        parents = {number: self._parent(number, launch) for number, launch in launches.items()}
        sent, files, looks = 0, list[Files](), dict[str, Any]()
        works = list(
            dict.fromkeys(
                s for t in study["trials"] for s in t.get("stages", ()) if layout.kind_of_stage(s) == "tokenizer"
            )
        )
        for work in [*works, *study["trials"]]:
            trial = work if isinstance(work, dict) else None
            name = layout.trial_name(trial["folder"]) if trial else str(work)
            folder = self.runs / name
            look = self._look(folder, trial)
            if self._seen.get(name) == look or not attempt_journals(folder):
                continue  # nothing new, or not started: a run with nothing in it would be a ghost
            if trial is None and not any(True for _ in read_effective(folder)):
                continue  # imported, or not begun
            parent = next((p for n, p in parents.items() if points.launched(launches[n], name)), None)
            parent = parent or next(iter(parents.values()), None)
            with self._apart(folder.name):
                count, of_work = self._trial(trial, folder, parent) if trial else self._tokenizer(folder, parent)
                sent += count
                files.append(of_work)
                looks[name] = look
        if parents:
            last = list(parents)[-1]
            status = points.sweep_status(self.runs, study["trials"], self.live, self.ask)
            for number, run_id in parents.items():
                self._status(f"launch:{number}", run_id, status if number == last else "FINISHED", None)
            with self._apart("laws and notes"):
                sent += self._summary(study, f"launch:{last}", parents[last])
            files.append(Files(f"launch:{last}", parents[last], self._sweep_files(), {}))
        for of_run in files:
            with self._apart(f"files of {of_run.key.partition(':')[2]}"):
                sent += self._files(of_run)
        if not self._problems:
            self._seen |= looks
        return sent

    def _look(self, folder: Path, trial: Mapping[str, Any] | None) -> Any:
        if trial is None:
            return points.look(folder)
        done = points.finished(self.runs, trial)
        return [
            points.look(folder),
            done or points.status(folder, self.ask),
            trial["budgets"],
            trial.get("evaluations"),
        ]

    @contextlib.contextmanager
    def _apart(self, what: str) -> Iterator[None]:
        """Let what the tracker refuses of one thing not stop the next; that it is silent stops all."""
        try:
            yield
        except Exception as error:
            if may_pass(error, self.uri):
                raise
            self._problems.setdefault(words_of(error), []).append(what)

    # ---- runs

    def _parent(self, number: str, launch: Mapping[str, Any]) -> str:
        tags = {"launch": f"{self.sweep}/{number}", "sweep": self.sweep, "launcher": str(launch.get("launcher", ""))}
        tags["origin"] = folder_id(self.runs)
        return self._run(f"launch:{number}", f"{self.sweep} {number}", "launch", tags, {}, points.launch_time(launch))

    def _run(
        self,
        key: str,
        name: str,
        unique: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        start: int,
        below: str | None = None,
    ) -> str:
        """The run with this tag and origin: the known one, else what an interrupted mirror made, else a new one."""
        known, origin = self.state.runs.get(key), tags["origin"]
        if known is not None and known.get("origin", origin) == origin and self._still_there(known["id"]):
            if "origin" not in known:  # from before runs had one
                self._client.set_tag(known["id"], "origin", origin)
                known["origin"] = origin
            return str(known["id"])
        run_id = None if below in self._made else self._find(unique, tags[unique], origin)
        if run_id is None:
            tags = {**tags, "mlflow.parentRunId": below} if below else dict(tags)
            made = self._client.create_run(self.state.experiment, start_time=start, tags=tags, run_name=name)
            run_id = str(made.info.run_id)
            self._checked[run_id] = str(made.info.artifact_uri)
            self._made.add(run_id)
        self._log(run_id, params=params)  # the same value again is taken, so a found run is completed
        self.state.runs[key] = {"id": run_id, "origin": origin, "phases": {}, "once": [], "files": {}, "status": ""}
        self.state.save(at_once=False)
        return run_id

    def _find(self, unique: str, value: str, origin: str) -> str | None:
        found = self._client.search_runs(
            [self.state.experiment],
            filter_string=f"tags.{unique} = '{value}' and tags.origin = '{origin}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return str(found[0].info.run_id) if found else None

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

    def _trial(self, trial: Mapping[str, Any], folder: Path, parent: str | None) -> tuple[int, Files]:
        budgets = [int(b["images"]) for b in trial["budgets"]]
        found = {b: row for b in budgets if (row := store.read_json(layout.row(folder, b)))}
        # Before the lines: one that was read earlier may have been written again by the attempt that made it durable.
        limits = points.publishable(folder, found)
        lines = read_effective(folder)
        identity = store.read_json(layout.identity(folder)) or {}
        start = min((line["time"] for line in lines), default=time.time())
        family = str((identity.get("model") or {}).get("family", "var"))
        self._families.add(family)
        axes = trial.get("axes", {})
        tags = {"trial": str(trial["trial"]), "family": family, "origin": origin_of(self.runs, folder)}
        key, params = f"trial:{trial['trial']}", points.params_of(identity, axes)
        run_id = self._run(key, str(trial["folder"]), "trial", tags, params, int(start * 1000), parent)
        sent = self._curves(key, run_id, lines, limits, lambda line: points.line_points(line, family))
        measured: list[notes.Measured] = []
        for budget, row in found.items():
            at = int(float(row.get("finished", 0)) * 1000)
            sent += self._once(key, run_id, f"row:{budget}", points.row_points(row, at, row.get("images_seen", budget)))
            evaluations = read_evaluations(layout.budget(folder, budget), trial.get("evaluations", ()))
            for label, evaluation in evaluations.items():
                when = int(float(evaluation.get("finished", row.get("finished", 0))) * 1000)
                name = f"{budget}/{label}/{evaluation.get('seeds', 1)}"  # one more seed makes another mean
                sent += self._once(key, run_id, name, points.evaluation_points(evaluation, when, budget))
            measured += [(row, evaluations)] if rows.is_whole(row) else []
            sent += self._row(trial, run_id, budget, row, evaluations, tags["origin"])
        if per_image := points.flops_per_image(folder, found):
            trunk = [line for line in lines if line["phase"] == "trunk"]
            trunk = [{"phase": "compute", "images": line["images"]} for line in trunk]
            limits["compute"] = limits.get("trunk", -1)

            def spent(images: int) -> list[Point]:
                return list(points.compute_points(images, per_image))

            sent += self._curves(key, run_id, trunk, limits, lambda line: spent(line["images"]))
            for budget in found:
                sent += self._once(key, run_id, f"C:{budget}", spent(budget))
        self._describe(key, run_id, identity, found)
        self._measured[str(trial["trial"])] = measured
        if measured:
            self._note(key, run_id, notes.note(str(trial["folder"]), "", "", measured))
        done = len(found) == len(budgets)
        end = max((float(r.get("finished", 0)) for r in found.values()), default=0.0) if done else None
        self._status(key, run_id, "FINISHED" if done else points.status(folder, self.ask), end or None)
        self.state.save(at_once=False)
        grids = points.sample_grids(folder, budgets)
        if grids:
            self._pictured[str(trial["trial"])] = max(grids)
        config = layout.config(folder)
        plain = {config: "config"} if config.exists() else {}
        plain |= {path: f"samples/{budget:012d}" for budget, path in grids.items()}  # sorted by name is sorted by size
        return sent, Files(key, run_id, plain, {("samples", budget): path for budget, path in grids.items()})

    def _row(
        self,
        trial: Mapping[str, Any],
        above: str,
        budget: int,
        row: Mapping[str, Any],
        evaluations: Mapping[str, Mapping[str, Any]],
        origin: str,
    ) -> int:
        """A row as a run of its own below its trial's, for a page sorts and draws runs."""
        if not rows.is_whole(row):
            return 0
        key, axes, at = f"row:{trial['trial']}/{budget}", trial.get("axes", {}), int(float(row["finished"]) * 1000)
        wanted = {"row", *(f"{label}/{e.get('seeds', 1)}" for label, e in evaluations.items())}
        known = self.state.runs.get(key, {})
        if known.get("origin") == origin and wanted <= set(known["once"]) and above not in self._made:
            return 0  # told: a thousand trials' rows are not looked up again one by one
        tags = {"row": f"{trial['trial']}/{budget}", "family": str(row["family"]), "origin": origin}
        run_id = self._run(key, rows.row_name(row, axes), "row", tags, rows.row_params(row, axes), at, above)
        self._status(key, run_id, "FINISHED", float(row["finished"]))
        sent = self._once(key, run_id, "row", [(n, v, at, 0) for n, v in rows.row_metrics(row).items()])
        for label, evaluation in evaluations.items():
            seeds = int(evaluation.get("seeds", 1))
            when = int(float(evaluation.get("finished", row["finished"])) * 1000)
            of_it = rows.evaluation_metrics(label, evaluation).items()
            # The page shows the last step: that is the mean of most seeds.
            sent += self._once(key, run_id, f"{label}/{seeds}", [(n, v, when, seeds - 1) for n, v in of_it])
        return sent

    def _tokenizer(self, folder: Path, parent: str | None) -> tuple[int, Files]:
        """A tokenizer's training: curves, PSNR, rFID where it was measured, reconstructions."""
        identity, result = store.read_json(layout.identity(folder)) or {}, layout.result(folder)
        lines, report = read_effective(folder), store.read_json(layout.report(result))
        limits = points.publishable(folder, {})
        if report:
            limits = {str(line["phase"]): int(line["images"]) for line in lines}
        key, preset = f"stage:{folder.name}", (identity.get("tokenizer") or {}).get("preset", "")
        start = min((line["time"] for line in lines), default=time.time())
        tags = {"stage": f"tokenizer/{folder.name}", "origin": origin_of(self.runs, folder)}
        params = points.tokenizer_params(identity)
        name = f"tokenizer {preset} {folder.name}".replace("  ", " ")
        run_id = self._run(key, name, "stage", tags, params, int(start * 1000), parent)
        sent = self._curves(key, run_id, lines, limits, points.tokenizer_points)
        step, at = (
            max((int(line["images"]) for line in lines), default=0),
            max((line["time"] for line in lines), default=0),
        )
        pictures, end = {}, None
        if report:
            end = float(at)
            sent += self._once(key, run_id, "report", points.tokenizer_report(report, int(at * 1000), step))
            for made in points.reconstructions_of(self.runs, folder):
                measured = store.read_json(layout.report(made)) or {}
                when = int(layout.report(made).stat().st_mtime * 1000)
                sent += self._once(key, run_id, made.parent.name, points.tokenizer_report(measured, when, step))
                if layout.reconstructions(made).exists():
                    pictures["reconstructions", step] = layout.reconstructions(made)
        self._status(key, run_id, "FINISHED" if report else points.status(folder, self.ask), end)
        config = {layout.config(folder): "config"} if layout.config(folder).exists() else {}
        return sent, Files(key, run_id, config, pictures)

    def _summary(self, study: Mapping[str, Any], key: str, run_id: str) -> int:
        """What the launch and the experiment say of all rows, the numbers of the laws, and the view."""
        document, sent = store.read_json(layout.laws_document(self.folder)), 0
        measured = [m for trial in study["trials"] for m in self._measured.get(str(trial["trial"]), ())]
        headline = ""
        if document:
            headline, fitted = laws.headline(document), layout.laws_document(self.folder).stat().st_mtime_ns
            found = laws.law_metrics(document).items()
            sent += self._once(key, run_id, f"laws:{fitted}", [(n, v, fitted // 1_000_000, 0) for n, v in found])
        note = notes.note(f"Sweep {self.sweep}", str(study.get("description") or ""), headline, measured)
        self._note(key, run_id, note)
        links = f"[charts]({page(self.state.experiment)}), [table]({page(self.state.experiment, 'TABLE')})"
        self._say(notes.TAG, note.replace("\n\n", f"\n\n{links}\n\n", 1))
        families = sorted(self._families)
        labels = list(dict.fromkeys(label for _, evaluations in measured for label in evaluations))
        budgets = sorted({int(row["images_seen"]) for row, _ in measured})
        pictured = max(self._pictured.values(), default=None)
        self._say(view.TAG, view.as_tag(view.view_state(families, labels, budgets, pictured)))
        return sent

    # ---- what is sent

    def _marks(self, key: str) -> list[str]:
        marks: list[str] = self.state.runs[key]["once"]
        return marks

    def _curves(
        self,
        key: str,
        run_id: str,
        lines: Sequence[Mapping[str, Any]],
        limits: Mapping[str, int],
        as_points: Any,
    ) -> int:
        """Lines of a journal that are new and can no longer be rolled back."""
        told, sent = self.state.runs[key]["phases"], 0
        fresh: dict[str, list[tuple[int, list[Point]]]] = {}
        for line in lines:
            phase, images = str(line["phase"]), int(line["images"])
            if told.get(phase, -1) < images <= limits.get(phase, -1):
                fresh.setdefault(phase, []).append((images, list(as_points(line))))
        for phase, of_phase in fresh.items():
            for images, batch in _in_batches(of_phase):
                self._log(run_id, batch)
                told[phase] = images
                self.state.save(at_once=False)
                sent += len(batch)
        return sent

    def _once(self, key: str, run_id: str, mark: str, batch: Iterator[Point] | Sequence[Point]) -> int:
        """Points that are there all at once or not at all."""
        if mark in self._marks(key):
            return 0
        whole = list(batch)
        self._log(run_id, whole)
        self._marks(key).append(mark)
        self.state.save(at_once=False)
        return len(whole)

    def _log(self, run_id: str, batch: Sequence[Point] = (), params: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Metric, Param

        for part in _cut(list(batch), BATCH):
            self._client.log_batch(run_id, metrics=[Metric(n, v, at, step) for n, v, at, step in part])
        for some in _cut(list((params or {}).items()), 100):
            self._client.log_batch(run_id, params=[Param(name, value) for name, value in some])

    def _describe(self, key: str, run_id: str, identity: Mapping[str, Any], found: Mapping[int, Any]) -> None:
        """Tags that a row brings, and the data set, once."""
        if found and "tags" not in self._marks(key):
            row = next(iter(found.values()))
            for tag in ("cell", "code"):
                if tag in row:
                    self._client.set_tag(run_id, tag, str(row[tag]))
            self._marks(key).append("tags")
        if identity.get("data") and "data" not in self._marks(key):
            from mlflow.entities import Dataset, DatasetInput, InputTag

            name, digest, about = points.data_set(identity)
            data = Dataset(name, digest, "local", json.dumps({"uri": name}), profile=json.dumps(about)[:16_000])
            self._client.log_inputs(
                run_id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
            )
            self._marks(key).append("data")

    def _note(self, key: str, run_id: str, text: str) -> None:
        known, digest = self.state.runs[key], _digest(text)
        if known.get("note") != digest:
            self._client.set_tag(run_id, notes.TAG, text)
            known["note"] = digest

    def _say(self, tag: str, value: str) -> None:
        """Set a tag of the experiment, where it is not that already."""
        if self.state.said.get(tag) != _digest(value):
            self._client.set_experiment_tag(self.state.experiment, tag, value)
            self.state.said[tag] = _digest(value)

    def _files(self, files: Files) -> int:
        known, sent = self.state.runs[files.key], 0
        listed: list[tuple[Path, str, tuple[str, int] | None]] = [(p, place, None) for p, place in files.plain.items()]
        listed += [(path, f"images/{series}/{step}", (series, step)) for (series, step), path in files.pictures.items()]
        for path, place, series in listed:
            name = f"{place}/{path.name}"
            try:
                stamp = [path.stat().st_size, path.stat().st_mtime_ns]
            except OSError:
                continue  # replaced just now; seen at the next round
            if known["files"].get(name) == stamp:
                continue
            self._check_place(files.run_id)
            if series is None:
                self._client.log_artifact(files.run_id, str(path), place)
            else:
                self._picture(files.run_id, path, *series)
            known["files"][name] = stamp
            self.state.save(at_once=False)
            sent += 1
        return sent

    def _picture(self, run_id: str, path: Path, series: str, step: int) -> None:
        """As `log_image` would, under a name that is the same each time: a picture sent twice is one picture."""
        from mlflow.tracking.multimedia import compress_image_size
        from PIL import Image, UnidentifiedImageError

        at = path.stat().st_mtime_ns // 1_000_000
        name = f"{series}+step+{step}+timestamp+{at}+{uuid.uuid5(uuid.NAMESPACE_URL, f'{run_id}/{series}/{step}')}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                with Image.open(path) as picture:
                    picture.load()
                    picture.save(Path(folder) / f"{name}.png")
                    compress_image_size(picture.convert("RGB")).save(Path(folder) / f"{name}+compressed.webp")
            except UnidentifiedImageError:  # it is an artifact all the same
                return
            for file in sorted(Path(folder).iterdir()):
                self._client.log_artifact(run_id, str(file), "images")
        self._client.set_tag(run_id, "mlflow.loggedImages", "True")

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
        files = {p: "study" for p in (layout.study_source(self.folder), layout.study(self.folder)) if p.exists()}
        for path in sorted(layout.laws(self.folder).rglob("*")):
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


def words_of(error: BaseException) -> str:
    """The first line of an error; SQLAlchemy adds its whole statement, a client its address with the password."""
    return shown(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
