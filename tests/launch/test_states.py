"""The engine against a small model of what may be: launch, kill, edit, add a budget, retry, cancel, in random order.

The model knows, for each trial, which budgets have been finished by a launch that was not disturbed. Whatever happened
in between, a finished budget stays finished with the same bytes, no trial has two rows of one budget, and every row
says what an undisturbed run would say.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.conftest import FAKE_STUDY
from tests.support import engine
from tests.support.fake_worker import expected_value
from var_scaling.launch.follow import follow
from var_scaling.runs import store


class Engine(RuleBasedStateMachine):
    """One study that its user keeps changing and disturbing."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runs = self.folder / "runs"
        self.study = self.folder / "fake.yaml"
        self.depths = [2]
        self.budgets = [2_000]
        self.finished: dict[Path, bytes] = {}
        self.write()

    def write(self) -> None:
        text = FAKE_STUDY.replace("[2, 3]", str(self.depths)).replace("seed: [0, 1]", "seed: [0]")
        self.study.write_text(text.replace("[3_000, 7_000]", str(self.budgets)))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule()
    def launch(self) -> None:
        """An undisturbed launch: afterwards all that is asked is there, unless a bug was planted."""
        status = engine.run(self.study, self.runs)
        broken = {p.name.removeprefix("fail_") for p in self.runs.glob("fail_*")}
        for trial in status.trials:
            failed = [b for b in broken if Path(trial.folder).name.startswith(b)]
            was_failed = trial.state == "failed"
            assert trial.state == "finished" or failed or was_failed
            if trial.state == "finished":
                for budget in trial.budgets:
                    path = self.runs / trial.folder / "budgets" / str(budget) / "row.json"
                    self.finished.setdefault(path, path.read_bytes())

    @rule(after=st.floats(0.0, 0.4), how=st.sampled_from(["kill", "cancel"]))
    def disturbed_launch(self, after: float, how: str) -> None:
        launch, launcher = engine.start(self.study, self.runs)
        deadline = time.monotonic() + after
        while time.monotonic() < deadline and any(s != "gone" for s in launcher.states().values()):
            time.sleep(0.005)
        if how == "cancel":
            launcher.cancel([job.work.folder for job in launch.jobs])
            follow(launch, launcher, lambda view: None, poll_seconds=0.01)
        else:
            launcher.kill()
            for _, process in launcher.running.values():
                process.wait()

    @rule(budget=st.sampled_from([1_000, 3_000, 5_000]))
    def add_a_budget(self, budget: int) -> None:
        if budget not in self.budgets:
            self.budgets.append(budget)
            self.write()

    @rule(depth=st.sampled_from([3, 4]))
    def add_or_remove_a_depth(self, depth: int) -> None:
        if depth in self.depths:
            self.depths.remove(depth)
        else:
            self.depths.append(depth)
        self.write()

    @rule(depth=st.sampled_from([2, 3, 4]))
    def plant_a_bug(self, depth: int) -> None:
        self.runs.mkdir(exist_ok=True)
        (self.runs / f"fail_var-d{depth}-").write_text("planted")

    @rule()
    def mend_and_retry(self) -> None:
        for path in self.runs.glob("fail_*"):
            path.unlink()
        if self.runs.is_dir():
            status = engine.run(self.study, self.runs, failed_too=True)
            assert {t.state for t in status.trials} == {"finished"}

    @invariant()
    def what_is_finished_stays_and_is_right(self) -> None:
        for path, content in self.finished.items():
            assert path.read_bytes() == content
        for path in self.runs.glob("trials/*/budgets/*/row.json"):
            row = store.read_json(path)
            assert row["images_seen"] == int(path.parent.name)
            assert row["loss_all_scales"] == expected_value(row["images_seen"])

    @invariant()
    def attempts_have_no_gaps(self) -> None:
        for folder in self.runs.glob("trials/*"):
            assert store.attempt_numbers(folder) == list(range(len(store.attempt_numbers(folder))))


@pytest.mark.timeout(400)
def test_any_order_of_events_ends_in_the_same_rows() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Engine, settings=settings(max_examples=6, stateful_step_count=8, deadline=None, derandomize=True)
    )


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_any_order_of_events_at_length() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Engine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None))
