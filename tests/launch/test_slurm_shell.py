"""SLURM beside the user's own affairs: variables of their shell, jobs of theirs, ids that come again, odd folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.support import commands, engine
from tests.support.claims import lasting
from tests.support.slurm import PROFILE, call, profile, submit, wait
from var_scaling.config import yaml
from var_scaling.launch.slurm.arrays import read_arrays
from var_scaling.launch.slurm.launcher import cancel
from var_scaling.launch.slurm.script import array_script
from var_scaling.launch.status import read_status

pytestmark = pytest.mark.usefixtures("slurm_cluster")
ON = ("--launcher", "slurm", "--profile", str(ROOT / "slurm" / "profiles" / "local-test.yaml"))


@pytest.fixture
def one_trial(fake_study: Path, runs: Path) -> Path:
    fake_study.write_text(FAKE_STUDY.replace("[2, 3]", "[2]").replace("[0, 1]", "[0]").replace("3_000, 7_000", "9_000"))
    runs.mkdir()
    (runs / "step_seconds").write_text("1")
    return fake_study


def job(number: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in call("scontrol", "show", "job", "-o", number).split())


def until(true: Callable[[], Any], what: str) -> Any:
    return commands.until(true, what, 90)


def test_cancelling_a_local_launch_in_a_job_does_not_requeue_the_job(one_trial: Path, runs: Path) -> None:
    line = f"{sys.executable} -m var_scaling.cli.sweep launch {one_trial} --runs {runs} --no-mlflow --json"
    env = {**os.environ, "VAR_SCALING_WORKER_COMMAND": "\x1f".join(FAKE_WORKER), "PYTHONPATH": str(ROOT)}
    log = runs.parent / "job.log"
    sent = ["sbatch", "--parsable", "-n1", "-c2", "--mem=1G", "-o", str(log), "--wrap", f"cd /tmp; {line}"]
    number = subprocess.run(sent, env=env, capture_output=True, text=True, check=True).stdout.strip()
    until(lambda: read_or_none(runs), "the trial runs")
    commands.run("cancel", "fake", "--yes", runs=runs)
    until(lambda: job(number)["JobState"] not in ("RUNNING", "COMPLETING"), "the job ends")
    assert (job(number)["JobState"], job(number)["Restarts"], job(number)["ExitCode"]) == ("FAILED", "0", "1:0")
    assert "cancelled from another shell" in log.read_text(), log.read_text()


def read_or_none(runs: Path) -> bool:
    return any(p.parents[2].parent.name == "trials" for p in runs.glob("trials/*/attempts/000/claim.json"))


def test_variables_of_the_shell_change_no_answer_and_no_job(
    one_trial: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {
        "SQUEUE_PARTITION": "high",
        "SQUEUE_USERS": "nobody",
        "SCANCEL_PARTITION": "high",
        "SBATCH_PARTITION": "low",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_NO_REQUEUE": "1",
        "SBATCH_JOB_NAME": "foo",
        "SBATCH_ARRAY_INX": "5",
        "SLURM_RESTART_COUNT": "1",
        "SLURM_JOB_ID": "1",
    }
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    submit(one_trial, runs)
    array = next(a for a in read_arrays(runs) if any(f.startswith("trials/") for f in a.folders))
    found = job(f"{array.job}_0")
    assert (found["Partition"], found["TimeLimit"], found["Requeue"]) == ("batch", "00:10:00", "1")
    assert found["JobName"] == array.name and found["ArrayTaskId"] == "0"
    trial = wait(runs, lambda t: t.state == "running" and t.record.done > 0)
    assert trial.record.holder and " run 2" not in trial.record.holder.scheduler
    assert trial.record.holder.scheduler == f"slurm:{array.job}_0 named {array.name}"
    again = submit(one_trial, runs)
    assert len(again.submitted.already) == 1 and not again.submitted.arrays
    result = cancel(runs, [trial.folder])
    assert list(result.done) == [trial.folder] and not result.failed
    assert wait(runs, lambda t: t.state == "stopped").record.message == "cancelled"


def test_a_job_that_has_an_old_id_is_another_job(one_trial: Path, runs: Path, tmp_path: Path) -> None:
    submit(one_trial, runs)
    wait(runs, lambda t: t.record.done > 0)
    (array,) = [a for a in read_arrays(runs) if any(f.startswith("trials/") for f in a.folders)]
    array.save(name="fake-0123456789")  # as if the cluster had been set up anew and given the number to somebody else
    assert cancel(runs, list(array.folders)).done == {}
    assert call("squeue", "-h", "-t", "R", "-j", str(array.job), "-o", "%T").strip() == "RUNNING"
    call("scancel", str(array.job))


def test_a_refused_scancel_is_said_and_its_mark_taken_back(
    one_trial: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(lasting(one_trial), runs)
    trial = wait(runs, lambda t: t.record.done > 0)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "scancel").write_text(
        "#!/bin/sh\necho 'scancel: error: Unable to contact slurm controller' >&2; exit 1\n"
    )
    (programs / "scancel").chmod(0o755)
    commands.run("cancel", "fake", "--yes", runs=runs, expect=1, PATH=f"{programs}:{os.environ['PATH']}")
    assert "Unable to contact slurm controller" in commands.said(runs)
    assert not (runs / trial.folder / "cancelled.json").exists()
    commands.run("cancel", "fake", "--yes", runs=runs)
    assert wait(runs, lambda t: t.state == "stopped").record.message == "cancelled"


def test_a_stage_that_died_before_it_began_is_told_with_its_log(one_trial: Path, runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.dump({**yaml.load(Path(ON[-1]))[0], "python": "/opt/nope/bin/python"}))
    launch = ("launch", one_trial, "--launcher", "slurm", "--profile", path)
    commands.run(*launch, runs=runs, worker=())
    until(lambda: not read_status(runs, "fake").busy, "the queue is empty")
    commands.run("status", "fake", runs=runs)
    said = commands.said(runs)
    assert "stage store/tokenizer/" in said and "/opt/nope/bin/python" in said, said
    assert "no accounting here" not in said and "goes on with them once the stage below is mended" in said
    commands.run("logs", "tokenizer", runs=runs)
    assert "made no attempt" in commands.said(runs)
    commands.run("logs", "d2-s0", runs=runs, expect=2)
    commands.run("retry", "fake", runs=runs)
    assert commands.said(runs).count("says what waits and why") == 2, "neither ends at a wall"


def test_folders_and_scratch_as_people_name_them(fake_study: Path, tmp_path: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[2, 3]", "[2]").replace("[0, 1]", "[0]").replace("3_000, 7_000", "3_000"))
    runs = tmp_path / "50 $HOME (a) 'b'" / "runs"
    runs.mkdir(parents=True)
    scratch = f"{tmp_path}/scratch of $SLURM_JOB_USER"
    submit(fake_study, runs, profile(scratch=scratch))
    wait(runs, lambda t: t.state == "finished")
    assert (tmp_path / f"scratch of {call('id', '-un').strip()}").is_dir()
    logs = list(runs.glob("sweeps/*/launches/000/slurm/*_log.out"))
    assert len(logs) == 3, sorted(str(p) for p in tmp_path.rglob("*_log.out"))


def test_a_script_asks_for_no_wckey_but_the_users(tmp_path: Path) -> None:
    from var_scaling.launch.slurm.resources import Resources

    def text(options: dict[str, Any], **more: str) -> str:
        executor, command = array_script(
            PROFILE.model_copy(update={"sbatch": options, **more}),
            Resources(0, 0, 1, 1, 5),
            count=1,
            folder=tmp_path,
            name="x",
            comment="x",
            after=(),
            worker=(),
            runs=tmp_path,
            listing=tmp_path / "list",
            env={},
        )
        return executor.text(command)

    assert "wckey" not in text({})
    assert "#SBATCH --wckey=mine\n" in text({"wckey": "mine"})
    assert 'TMPDIR="$HOME/fast"' in text({}, scratch="~/fast"), "quoted, a tilde is a folder's name"


def test_a_dry_run_needs_no_slurm(one_trial: Path, runs: Path, tmp_path: Path) -> None:
    before = engine.tree_hash(runs)
    empty = tmp_path / "bin"
    empty.mkdir()
    (empty / "sh").symlink_to("/bin/sh")
    commands.run("launch", one_trial, *ON, "--dry-run", runs=runs, PATH=str(empty))
    assert "#SBATCH --array=0-0" in commands.said(runs)
    assert engine.tree_hash(runs) == before


@pytest.mark.parametrize(("launcher", "name"), [("local", "10:30:00"), ("slurm", "10:30:00"), ("slurm", "50 %j")])
def test_a_path_that_cannot_be_used_is_refused_with_a_way_out(
    one_trial: Path, tmp_path: Path, launcher: str, name: str
) -> None:
    runs = tmp_path / name
    on = ON if launcher == "slurm" else ("--no-mlflow",)
    commands.run("launch", one_trial, *on, runs=runs, expect=2)
    assert "choose another with --runs" in commands.said(runs)
    assert not runs.exists()
