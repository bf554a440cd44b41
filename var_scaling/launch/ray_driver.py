"""`python -m var_scaling.launch.ray_driver FOLDER`: hands the works of one launch to Ray Tune, wave by wave, and ends.

Only infrastructure is retried (a worker that was killed, a node that was lost): a work that failed has said so on disk.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from var_scaling import store
from var_scaling.errors import EnvironmentProblem
from var_scaling.exits import EXIT_HELD
from var_scaling.launch.ray import check_feasible, file_name

INFRASTRUCTURE_RETRIES = 2
HELD_SECONDS = 2.0
NODE_SECONDS = 90.0
PR_SET_PDEATHSIG = 1


def main(folder: Path) -> int:
    """Connect or start Ray, check every request, run the waves."""
    import ray

    jobs = store.read_json(folder / "jobs.json")
    os.environ.update(jobs["env"])
    try:
        connect(ray, jobs["address"], jobs["cores"])
        wait_for_nodes(ray, int(os.environ.get("RAY_NODES", 1)))
        requests = [r for wave in jobs["waves"] for r in wave]
        nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        gpus = max((n.get("GPU", 0.0) for n in nodes), default=0.0)
        for request in requests:
            request["gpu"] = request["gpu"] or (1 if request["wants_gpu"] and gpus else 0)
        check_feasible(requests, {"CPU": max(n.get("CPU", 0.0) for n in nodes), "GPU": gpus})
    except (ConnectionError, EnvironmentProblem, RuntimeError, ValueError) as error:
        store.write_json(folder / "ready.json", {"problem": f"Ray: {' '.join(str(error).split())}"})
        return 3
    store.write_json(folder / "ready.json", {"resources": ray.cluster_resources()})
    for number, wave in enumerate(jobs["waves"]):
        if wave:
            run_wave(ray, folder, jobs, number, wave)
    ray.shutdown()
    return 0


def connect(ray: Any, address: str | None, cores: int) -> None:
    """A private Ray, or the one at an address. Temporary files apart for each job: instances share /tmp."""
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    if address is not None:
        ray.init(address=address, **quiet)
        return
    job = os.environ.get("SLURM_JOB_ID", str(os.getpid()))
    ray.init(num_cpus=cores, include_dashboard=False, _temp_dir=f"/tmp/vs-ray-{os.getuid()}-{job}", **quiet)


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


def run_wave(ray: Any, folder: Path, jobs: dict[str, Any], number: int, wave: list[dict[str, Any]]) -> None:
    """One Tune experiment for each size of request: a fresh one, for its restore is not made for changed lists."""
    from ray import tune

    sizes = sorted({(r["cpu"], r["gpu"]) for r in wave}, reverse=True)
    for cpu, gpu in sizes:
        works = [r["work"] for r in wave if (r["cpu"], r["gpu"]) == (cpu, gpu)]
        trainable = tune.with_resources(run_work, {"cpu": cpu, "gpu": gpu})
        space = {
            "work": tune.grid_search(works),
            "folder": str(folder),
            "jobs": {k: jobs[k] for k in ("runs", "worker", "env")},
        }
        space["jobs"]["threads"] = cpu
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=False),
            run_config=tune.RunConfig(
                name=f"wave-{number}-{cpu}-{gpu}-{time.time_ns()}",
                storage_path=str(folder / "tune"),
                failure_config=tune.FailureConfig(max_failures=INFRASTRUCTURE_RETRIES),
                verbose=0,
            ),
        )
        tuner.fit()


def run_work(config: dict[str, Any]) -> dict[str, Any]:
    """The trainable: the ordinary worker as a child process, in a process group of its own."""
    folder, work = Path(config["folder"]), config["work"]
    state = folder / "state" / file_name(work)
    state.write_text("running")
    while True:
        code = run_child(config["jobs"], work, folder / "cancel" / file_name(work), folder / "state")
        if code != EXIT_HELD or (folder / "cancel" / file_name(work)).exists():
            break
        time.sleep(HELD_SECONDS)  # another launch runs it
    if code < 0 and code != -signal.SIGTERM:
        raise RuntimeError(f"the worker of {work} was killed by signal {-code}")  # Tune starts it again
    state.write_text("gone")
    return {"exit": code}


def run_child(jobs: dict[str, Any], work: str, cancel: Path, logs: Path) -> int:
    """Run the worker once; a wish to cancel becomes TERM."""
    if cancel.exists():
        return 0
    env = {**os.environ, **jobs["env"], "OMP_NUM_THREADS": str(jobs["threads"])}
    with open(logs.parent / f"{file_name(work)}.log", "ab") as log:
        child = subprocess.Popen(
            [*jobs["worker"], f"{jobs['runs']}/{work}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            preexec_fn=die_with_parent,
        )
    asked = False
    while child.poll() is None:
        if not asked and cancel.exists():
            asked = True
            child.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    return child.returncode


def die_with_parent() -> None:
    """In the child: a group of its own, and TERM (save and stop) when the process that started it is gone."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
