"""SLURM without a cluster: words and states, submission by an sbatch that lies, scripts, profiles, price."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import FAKE_STUDY, ROOT
from tests.support import engine
from tests.support.slurm import FAKE_SLURM, PROFILE
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch import price
from var_scaling.launch.gate import check_spend
from var_scaling.launch.order import Launch, Order
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.slurm.arrays import look_up, read_arrays
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import Profile, load_profile
from var_scaling.launch.slurm.resources import levels, resources
from var_scaling.runs import health, layout, slurm_task

# ---- states ---------------------------------------------------------------------------------------------------------


@given(st.text(max_size=30))
def test_any_word_has_a_meaning_and_an_unlisted_one_is_assumed_alive(word: str) -> None:
    known = word.strip().split(" ")[0].rstrip("+") in slurm_task.STATES
    assert scheduler.meaning(word) in (("waiting", "running", "gone") if known else ("unknown",))


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("CANCELLED by 0", "gone"),
        ("RUNNING", "running"),
        ("OUT_OF_ME+", "unknown"),
        ("NODE_FAIL", "gone"),
        ("", "unknown"),
    ],
)
def test_words_after_a_state(word: str, meaning: str) -> None:
    assert scheduler.meaning(word) == meaning


def test_a_silent_scheduler_leaves_everything_unknown() -> None:
    answer = scheduler.Answer(silent="slurm_load_jobs error: Unable to contact slurm controller")
    assert answer.of("7_1") == "unknown"
    assert answer.life("slurm:7_1") == "unknown"


def test_what_an_answering_scheduler_does_not_know_has_left() -> None:
    answer = scheduler.Answer(
        scheduler.parse_queue("52_1|RUNNING|None|fake-ab|n1\ngarbage\n52_2|PENDING|Priority|x|\n")
    )
    assert [answer.life(f"slurm:52_{i}") for i in (1, 2, 3)] == ["alive", "dead", "dead"]
    assert answer.life("slurm:52_1 run 3") == "alive"
    assert answer.life("ray:1") == "unknown"


def test_of_several_lines_of_a_job_the_last_counts() -> None:
    ends = scheduler.parse_accounting("52_1|NODE_FAIL|0:0|n1\n52_1|COMPLETED|0:0|n2\n52_[3-9]|PENDING|0:0|\n")
    assert {job: str(end) for job, end in ends.items()} == {"52_1": "COMPLETED on n2"}


def test_tasks_that_never_started_share_a_line_of_the_accounting() -> None:
    ends = scheduler.parse_accounting("15_[0-1,3%4]|CANCELLED by 0|0:0|None assigned\n15_2|FAILED|2:0|n1\n")
    cancelled = "CANCELLED by 0"
    told = {"15_0": cancelled, "15_1": cancelled, "15_3": cancelled, "15_2": "FAILED on n1, exit 2:0"}
    assert {job: str(end) for job, end in ends.items()} == told


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93_784), ("02:03:04", 7_384), ("3:04", 184), ("5", 300), ("2-1", 176_400), ("UNLIMITED", None)],
)
def test_spans_of_time(text: str, seconds: float | None) -> None:
    assert slurm_task.parse_span(text) == seconds


# ---- submission -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "scancel", "sacct", "srun"):
        (folder / name).write_text(FAKE_SLURM)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def launched(study: Path, runs: Path, profile: Profile = PROFILE) -> tuple[Launch, SlurmLauncher, list[float]]:
    pauses: list[float] = []
    launch = Order(engine.plan(study, runs), study.read_text(), Slurm(profile)).write()
    return launch, SlurmLauncher(runs, profile, "fake", pause=pauses.append), pauses


def queued(folder: Path) -> list[str]:
    return (folder / "queue").read_text().splitlines() if (folder / "queue").exists() else []


@pytest.mark.parametrize("mode", ["good", "lie", "busy"])
def test_one_job_a_work_whatever_sbatch_answers(fake_study: Path, runs: Path, fake_slurm: Path, mode: str) -> None:
    (fake_slurm / "mode").write_text(mode)
    launch, launcher, pauses = launched(fake_study, runs)
    launcher.submit(launch.jobs, launch.folder)
    assert len(queued(fake_slurm)) == len(launch.jobs) == 6
    arrays = read_arrays(runs)
    assert sorted(f for a in arrays for f in a.folders) == sorted(j.work.folder for j in launch.jobs)
    assert all(a.job and a.job.isdecimal() for a in arrays)
    assert (pauses != []) == (mode == "busy")
    again, launcher, _ = launched(fake_study, runs)
    launcher.submit(again.jobs, again.folder)
    assert len(queued(fake_slurm)) == 6, "what is queued is not queued again"
    assert len(launcher.submitted.already) == 6


@pytest.mark.parametrize("mode", ["refuse", "second"])
def test_a_refusal_is_not_repeated_and_leaves_nothing(
    fake_study: Path, runs: Path, fake_slurm: Path, mode: str
) -> None:
    (fake_slurm / "mode").write_text(mode)
    launch, launcher, pauses = launched(fake_study, runs)
    with pytest.raises(EnvironmentProblem, match="invalid partition specified: nope"):
        launcher.submit(launch.jobs, launch.folder)
    assert queued(fake_slurm) == []
    assert read_arrays(runs) == []
    assert len((fake_slurm / "calls").read_text().split()) == (1 if mode == "refuse" else 2)
    assert all(p < 1.5 or p == 2.0 for p in pauses), "only looks for the token, no back-off"


def test_an_answer_that_got_lost_is_found_by_its_token(fake_study: Path, runs: Path, fake_slurm: Path) -> None:
    launch, launcher, _ = launched(fake_study, runs)
    launcher.submit(launch.jobs, launch.folder)
    for array in read_arrays(runs):
        array.save(job=None)  # as after a launcher that was killed between sbatch and writing the id down
    found, _ = look_up(read_arrays(runs))
    assert {q.queue for q in found.values()} == {"waiting"}
    again, second, _ = launched(fake_study, runs)
    second.submit(again.jobs, again.folder)
    assert len(queued(fake_slurm)) == 6


def test_arrays_are_split_and_the_remainder_is_held(fake_study: Path, runs: Path, fake_slurm: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[0, 1]", "[0, 1, 2, 3, 4]"))
    limits = PROFILE.limits.model_copy(update={"jobs": 9})
    launch, launcher, _ = launched(fake_study, runs, PROFILE.model_copy(update={"limits": limits}))
    launcher.submit(launch.jobs, launch.folder)
    assert [len(a.folders) for a in launcher.submitted.arrays] == [1, 1, 3, 3, 1], "MaxArraySize 4 bounds the index"
    assert len(launcher.submitted.held) == 3
    (fake_slurm / "queue").write_text("")  # all of it has ended
    again, launcher, _ = launched(fake_study, runs, PROFILE)
    launcher.submit(again.jobs, again.folder)
    assert not launcher.submitted.held


def test_a_dry_run_prints_scripts_and_touches_nothing(fake_study: Path, runs: Path, fake_slurm: Path) -> None:
    jobs, _ = Order(engine.plan(fake_study, runs), "", Slurm(PROFILE)).jobs()
    texts = SlurmLauncher(runs, PROFILE, "fake").scripts(jobs, runs / "sweeps" / "fake" / "launches" / "NNN")
    whole = "\n".join(texts)
    for word in ("--requeue", "--signal=USR2@30", "--kill-on-invalid-dep=yes", "afterok:", "var_scaling.worker"):
        assert word in whole
    assert not runs.exists() and not queued(fake_slurm)


def test_no_slurm_is_a_sentence(fake_study: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, launcher, _ = launched(fake_study, runs)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(EnvironmentProblem, match="no SLURM on this machine"):
        launcher.submit(launch.jobs, launch.folder)


# ---- profiles, classes, price ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "slurm" / "profiles").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_profiles_are_valid(path: Path) -> None:
    assert load_profile(path).name == path.stem


def test_every_mistake_of_a_profile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\npartion: gpu\nlimits: {hours: 0}\nsbatch: {job-name: y}\n")
    with pytest.raises(RequestProblem) as caught:
        load_profile(path)
    text = str(caught.value)
    assert "did you mean `partition`" in text and "`limits.hours`" in text and "set by the launcher" in text
    assert "line 2" in text


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("no-requeue: true", "set by the launcher"),
        ("no_requeue: true", "set by the launcher"),
        ("time: 5", "`limits.hours` of the profile"),
        ("mem: 5G", "`memory_gb` of the profile"),
        ("J: mine", "the long name"),
        ("--reservation: class", "without dashes"),
    ],
)
def test_options_of_sbatch_do_not_contradict_the_launch(tmp_path: Path, option: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\nsbatch: {{reservation: class, {option}}}\n")
    with pytest.raises(RequestProblem, match=said):
        load_profile(path)


def test_a_small_and_a_large_trial_do_not_ask_for_the_same(fake_study: Path, runs: Path) -> None:
    profile = load_profile(ROOT / "slurm" / "profiles" / "a100.yaml").model_copy(update={"memory_gb": None})
    jobs, _ = Order(engine.plan(fake_study, runs), "", Slurm(PROFILE)).jobs()
    small = dataclasses.replace(jobs[-1], seconds=600.0, memory_bytes=2**30)
    large = dataclasses.replace(jobs[-1], seconds=90_000.0, memory_bytes=40 * 2**30)
    a, b = resources(small, 2, profile), resources(large, 2, profile)
    assert a.minutes < b.minutes == 24 * 60 and a.memory_gb < b.memory_gb and a.gpus == 1
    assert sorted(set(levels(jobs).values())) == [0, 1, 2]


def test_price_and_consent(fake_study: Path, runs: Path) -> None:
    cost = price.price(engine.plan(fake_study, runs).trials, PROFILE)
    assert cost.trials == 4 and 0 < cost.hours[0] < cost.hours[1] and "assumed" in cost.sources[0]
    with pytest.raises(RequestProblem, match="--max-gpu-hours 1e-06"):
        check_spend(cost, PROFILE, 1e-6, 10**12)
    strict = PROFILE.model_copy(update={"confirm_gpu_hours": 0.0})
    assert len(check_spend(cost, strict, None, 0)) == 2
    assert check_spend(cost, PROFILE, None, 10**12) == []


# ---- health ---------------------------------------------------------------------------------------------------------


def _note(work: str, node: str, place: str = "a.py:1 f", seconds: float = 5.0) -> health.Note:
    return health.Note(work, "code", place, "boom", node, seconds, 0.0)


def test_two_deaths_on_one_node_are_the_nodes(tmp_path: Path) -> None:
    notes = [_note("a", "n1"), _note("b", "n1")]
    assert set(health.bad_nodes(notes)) == {"n1"}
    assert health.common_bug(notes) is None
    assert health.bad_nodes([_note("a", "n1"), _note("a", "n1")]) == {}, "one trial that fails twice is that trial"
    assert health.bad_nodes([_note("a", "n1"), _note("b", "n1", seconds=200.0)]) == {}
    launch = layout.launch(tmp_path / "sweep", 0)
    launch.mkdir(parents=True)
    for note in notes:
        health.note_failure(launch, note)
    assert health.excused(tmp_path / "sweep") == {"a", "b"}


def test_the_same_failure_on_several_nodes_is_a_bug(tmp_path: Path) -> None:
    notes = [_note("a", "n1"), _note("b", "n1"), _note("c", "n2")]
    assert health.bad_nodes(notes) == {}
    assert health.common_bug(notes) is not None
    assert health.common_bug([_note("a", "n1"), _note("b", "n2", place="b.py:9 g"), _note("c", "n3")]) is None
