"""`python -m var_scaling.launch.ray.driver FOLDER`: hands the works of one launch to one Tune experiment, and ends.

Tune asks for works one by one, so a trial is handed over when its stages are there, whatever else still runs. Only
infrastructure is retried (a worker that was killed, a node that was lost): a work that failed has said so on disk.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.ray.launcher import check_feasible
from var_scaling.launch.ray.trial import run_work
from var_scaling.runs import layout, pilot, store

INFRASTRUCTURE_RETRIES = 2
NODE_SECONDS = 90.0
LOOK_SECONDS = 0.3


def main(folder: Path) -> int:
    """Connect or start Ray, check every request, run the experiment."""
    import ray

    jobs = store.read_json(layout.ray_jobs(folder))
    requests = jobs["requests"]
    try:
        with connected(ray, jobs["address"], jobs["cores"], jobs["temporary"]):
            wait_for_nodes(ray, int(os.environ.get("RAY_NODES", 1)))
            nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
            gpus = max((n.get("GPU", 0.0) for n in nodes), default=0.0)
            for request in requests:
                request["gpu"] = request["gpu"] or (request["gpu_if_any"] if gpus else 0)
            check_feasible(requests, {"CPU": max(n.get("CPU", 0.0) for n in nodes), "GPU": gpus})
            store.write_json(layout.ray_ready(folder), {"resources": ray.cluster_resources()})
            run(folder, Turns(requests, folder, Path(jobs["runs"])))
    except (ConnectionError, EnvironmentProblem, RuntimeError, ValueError) as error:
        if layout.ray_ready(folder).exists():
            raise
        store.write_json(layout.ray_ready(folder), {"problem": f"Ray: {' '.join(str(error).split())}"})
        return 3
    return 0


@contextmanager
def connected(ray: Any, address: str | None, cores: int, temporary: str | None = None) -> Iterator[None]:
    """A private Ray with a folder of its own for temporary files (instances share /tmp), or the one at an address."""
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    if address is not None:
        ray.init(address=address, **quiet)
        yield
        ray.shutdown()
        return
    os.environ.pop("RAY_ADDRESS", None)  # of another Ray, which would be joined
    place = temporary or tempfile.mkdtemp(prefix="vs-ray-", dir="/tmp")  # short: sockets lie there
    try:
        ray.init(num_cpus=cores, include_dashboard=False, _temp_dir=place, **quiet)
        yield
        ray.shutdown()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def wait_for_nodes(ray: Any, count: int, seconds: float = NODE_SECONDS) -> None:
    """Inside an allocation the other nodes come a few seconds after the head.

    Raises:
        ConnectionError: they do not come.
    """
    deadline = time.monotonic() + seconds
    while (alive := sum(node["Alive"] for node in ray.nodes())) < count:
        if time.monotonic() > deadline:
            raise ConnectionError(f"only {alive} of {count} nodes joined within {seconds:.0f} s")
        time.sleep(0.5)


class Turns:
    """Whose turn it is: the longest work whose stages are there. Knows nothing of Ray."""

    def __init__(self, requests: Sequence[Mapping[str, Any]], folder: Path, runs: Path) -> None:
        self.waiting = {str(r["work"]): r for r in requests}  # the longest first
        self.running: set[str] = set()
        self.folder, self.runs = folder, runs
        self.gate = pilot.read_gate(folder.parent)
        self._look_again = 0.0

    def next(self) -> Mapping[str, Any] | None:
        """The next request, or None while there is none; what can no longer be run is given up on the way."""
        if time.monotonic() < self._look_again:  # Tune asks ten times a second, and a thousand works may wait
            return None
        self._look()
        for work, request in self.waiting.items():
            if not self._missing(request) and not (request["held"] and self.gate):
                self.running.add(work)
                return self.waiting.pop(work)
        self._look_again = time.monotonic() + LOOK_SECONDS
        return None

    def ended(self, work: str) -> None:
        """A work's trial is over, and Tune will not start it again."""
        self.running.discard(work)
        self._look_again = 0.0
        layout.ray_state(self.folder, work).write_text("gone", encoding="utf-8")

    def _look(self) -> None:
        """Give up what was cancelled, what stands on a stage that failed, and what its pilots will never let go."""
        if self.gate and self.gate.open(self.runs):
            self.gate = None
        for work, request in list(self.waiting.items()):
            lost = any(need not in self.waiting and need not in self.running for need in self._missing(request))
            if lost or layout.wish(self.folder, work).exists():
                self._give_up(work)
        if self.gate and not self.running and all(request["held"] for request in self.waiting.values()):
            for work in list(self.waiting):
                self._give_up(work)

    def _missing(self, request: Mapping[str, Any]) -> list[str]:
        return [need for need in request["after"] if not layout.result(self.runs / need).exists()]

    def _give_up(self, work: str) -> None:
        del self.waiting[work]
        self.ended(work)


def run(folder: Path, turns: Turns) -> None:
    """One Tune experiment: a fresh one each launch, for its restore is not made for changed lists."""
    from ray import tune
    from ray.tune.search import Searcher

    class Asks(Searcher):  # type: ignore[misc]
        """Tune's side of `Turns`."""

        def __init__(self) -> None:
            super().__init__(metric="exit", mode="min")
            self.works: dict[str, str] = {}

        def suggest(self, trial_id: str) -> Any:
            request = turns.next()
            if request is None:
                return None if turns.waiting else Searcher.FINISHED
            self.works[trial_id] = request["work"]
            return {"folder": str(folder), **{k: request[k] for k in ("work", "cpu", "gpu")}}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            turns.ended(self.works[trial_id])

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the disk is the truth."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to read."""

        def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
            """Nothing: `Turns` is not for a later process."""

    tune.Tuner(
        tune.with_resources(run_work, _place(tune)),
        tune_config=tune.TuneConfig(
            search_alg=Asks(),
            num_samples=len(turns.waiting),
            reuse_actors=True,  # a process of Ray's takes seconds of a core before its first work
        ),
        run_config=tune.RunConfig(
            name="experiment",
            storage_path=str(layout.ray_tune(folder)),
            failure_config=tune.FailureConfig(max_failures=INFRASTRUCTURE_RETRIES),
            verbose=0,
        ),
    ).fit()


def _place(tune: Any) -> Callable[[Mapping[str, Any]], Any]:
    def place(config: Mapping[str, Any]) -> Any:
        return tune.PlacementGroupFactory([{"CPU": config["cpu"], **({"GPU": config["gpu"]} if config["gpu"] else {})}])

    return place


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
