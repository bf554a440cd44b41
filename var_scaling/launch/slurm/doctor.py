"""Proves a profile before anything is spent: the cluster's limits, `sbatch --test-only`, one small real job."""

from __future__ import annotations

import os
import shlex
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError

from var_scaling.launch.slurm import quota, scheduler
from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.slurm.resources import Resources
from var_scaling.launch.slurm.script import array_script, check_path, unread
from var_scaling.runs import frozen, layout, slurm_task, store
from var_scaling.runs.slurm_task import parse_span
from var_scaling.tracking.address import shown

JOB_SECONDS = 120.0

PROBE = """
import json, os, sys, time
begin = time.time()
found = {"python": sys.version.split()[0], "node": os.environ.get("SLURMD_NODENAME", "")}
import var_scaling
found["code"] = os.path.dirname(var_scaling.__file__)
import torch
found["torch"], found["gpus"] = torch.__version__, torch.cuda.device_count()
found["import_seconds"] = round(time.time() - begin, 1)
uri = os.environ.get("MLFLOW_TRACKING_URI", "")
if uri.startswith("http"):
    from var_scaling.tracking.address import answer
    found["tracker"] = answer(uri)
temporary = sys.argv[1] + ".new"
json.dump(found, open(temporary, "w"))
os.replace(temporary, sys.argv[1])
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    text: str


def examine(profile: Profile, runs: Path, job: bool) -> list[Finding]:
    """Everything that can be known before a launch, the cheap questions first.

    Raises:
        EnvironmentProblem: no SLURM here, or its controller is silent.
    """
    frozen.check_path(runs)
    check_path(runs)
    config = scheduler.cluster_limits()
    findings = [
        _limits(config, profile),
        *_quota(config, profile),
        *_partition(profile),
        *_classes(profile, runs),
        *_signals(config, profile),
    ]
    if job and all(f.ok for f in findings):
        findings += _job(profile, runs)
    return findings


def _limits(config: dict[str, str], profile: Profile) -> Finding:
    largest = int(config.get("MaxArraySize", "1001")) - 1
    text = f"arrays of up to {largest} tasks, MaxJobCount {config.get('MaxJobCount')}"
    if profile.limits.array and profile.limits.array > largest:
        return Finding(False, f"limits.array = {profile.limits.array}, but this cluster takes {text}")
    return Finding(True, text)


def _quota(config: dict[str, str], profile: Profile) -> list[Finding]:
    return [
        Finding(True, f"{limit.name}: {limit.jobs}, room for {limit.room()}; a launch holds back what is beyond")
        for limit in quota.limits(profile, config)
    ]


def _partition(profile: Profile) -> list[Finding]:
    if not profile.partition:
        return []
    done = slurm_task.run("scontrol", "show", "partition", profile.partition, "-o")
    if done.returncode:
        names = slurm_task.run("sinfo", "-h", "-o", "%R").stdout.split()
        return [
            Finding(False, f"partition = {profile.partition} is not here; there are {', '.join(sorted(set(names)))}")
        ]
    fields = dict(part.partition("=")[::2] for part in done.stdout.split())
    findings = [Finding(fields.get("State") == "UP", f"partition {profile.partition} is {fields.get('State')}")]
    most = parse_span(fields.get("MaxTime", "UNLIMITED"))
    if most is not None:
        fits = profile.limits.hours * 3600 <= most
        text = f"limits.hours = {profile.limits.hours:g}, the partition allows {most / 3600:g}"
        findings.append(Finding(fits, text + ("" if fits else ": a longer job would wait for ever; lower it")))
    return findings


def _classes(profile: Profile, runs: Path) -> list[Finding]:
    """`sbatch --test-only` queues nothing; it finds partition, GPUs, memory, features, and accounts where enforced."""
    memory = int(profile.memory_gb or 4)
    most = int(profile.limits.hours * 60)
    stage = Resources(0, 1 if profile.gpu else 0, profile.cpus, memory, min(most, profile.limits.least_minutes))
    sizes = {1, profile.gpu.per_node} if profile.gpu else {0}
    classes = [stage, *(Resources(1, gpus, profile.cpus, memory, most, max(gpus, 1)) for gpus in sorted(sizes))]
    findings = []
    for each in dict.fromkeys(classes):
        executor, command = array_script(
            profile,
            each,
            count=1,
            folder=runs.resolve(),
            name="doctor",
            comment="doctor",
            after=(),
            worker=("true",),
            runs=runs.resolve(),
            listing=runs / "none",
            env={},
        )
        text = executor.text(command)
        options = [
            shlex.split(line.removeprefix("#SBATCH "))[0] for line in text.splitlines() if line.startswith("#SBATCH")
        ]
        options = [o for o in options if not o.startswith(("--output", "--error", "--wckey"))]
        done = slurm_task.run("sbatch", "--test-only", *options, "--wrap", "true")
        words = " ".join(done.stderr.replace("sbatch: error: ", "").replace("allocation failure: ", "").split())
        findings.append(Finding(done.returncode == 0, f"{each}: {words}"))
    return findings


def _signals(config: dict[str, str], profile: Profile) -> list[Finding]:
    wait = config.get("KillWait", "30 sec").split()[0]
    preempt = config.get("PreemptMode", "OFF")
    text = f"KillWait {wait} s, PreemptMode {preempt}, JobRequeue {config.get('JobRequeue')}"
    if "preempt_send_user_signal" in config.get("SlurmctldParameters", "") + config.get("PreemptParameters", ""):
        text += ", preemption sends our signal"
    else:
        text += ", preemption sends TERM (handled the same way)"
    return [Finding(True, text)]


def _job(profile: Profile, runs: Path) -> list[Finding]:
    """One task on a node: it imports the frozen code and torch, and writes into the runs folder."""
    folder = layout.doctor(runs.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:10]
    answer, probe, listing = (folder / f"{token}.{end}" for end in ("json", "py", "list"))
    probe.write_text(PROBE, encoding="utf-8")
    listing.write_text(f"{answer.relative_to(runs.resolve())}\n", encoding="utf-8")
    resources = Resources(0, 1 if profile.gpu else 0, profile.cpus, int(profile.memory_gb or 4), 5)
    python = shlex.split(profile.python) if profile.python else [sys.executable]
    executor, command = array_script(
        profile,
        resources,
        count=1,
        folder=folder,
        name=f"doctor-{token}",
        comment="var-scaling doctor",
        after=(),
        worker=(*python, "-P", str(probe)),
        runs=runs.resolve(),
        listing=listing,
        env=frozen.environment(frozen.freeze(runs)),
    )
    try:
        job = executor.send(command)
    except (FailedJobError, FailedSubmissionError) as refused:  # what --test-only does not look at, wckeys for one
        words = " ".join(str(refused).replace("sbatch: error: ", "").split())
        return [Finding(False, f"SLURM refused the job for a node: {words}{unread()}")]
    deadline, gone = time.monotonic() + JOB_SECONDS, False
    while (found := store.read_json(answer)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
        gone = scheduler.ask_queue([job]).of(f"{job}_0") == "gone"
        if gone and not answer.exists():
            time.sleep(3)  # a network file system may show the file late
            found = store.read_json(answer)
            break
    if found is None:
        slurm_task.run("scancel", job)
        log = layout.array_log(answer, f"{job}_0")
        last = log.read_text(errors="replace", encoding="utf-8").strip().splitlines()[-3:] if log.exists() else []
        shared = f"put --runs on a folder that every node mounts and a container binds; this one is {runs.resolve()}"
        if any("No such file" in line for line in last):
            reason = f"{' '.join(last)}; the node does not see the folder: {shared}"
        elif last:
            reason = last[-1]
        elif gone:
            reason = f"it ended and left nothing behind, so the node does not see the folder: {shared}"
        else:
            reason = f"no answer within {JOB_SECONDS:.0f} s: the queue is full, or the folder is not shared: {shared}"
        return [Finding(False, f"the job on a node failed: {reason}")]
    findings = [
        Finding(True, f"{runs} is shared with {found['node']}; python {found['python']}, torch {found['torch']}, "
                f"{found['gpus']} GPUs seen, imports took {found['import_seconds']} s"),
        Finding(str(runs.resolve()) in found["code"], f"the node imports {found['code']}"),
    ]  # fmt: skip
    if "tracker" in found:
        findings.append(
            Finding(
                found["tracker"] == "200", f"tracker {shown(os.environ['MLFLOW_TRACKING_URI'])}: {found['tracker']}"
            )
        )
    elif os.environ.get("MLFLOW_TRACKING_URI", "").startswith("sqlite"):
        who = "the last job of a launch opens it" if profile.mirror else "only `sync` beside you opens it, no node does"
        findings.append(Finding(True, f"tracker: an sqlite file; {who}"))
    return findings
