"""Trunk and branches: what is trained does not depend on when, with what, or after how many deaths."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.tiny import STUDY, Tiny, effective, log, rows
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective


@pytest.fixture(scope="module")
def undisturbed(tiny_stages: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trial, run once with nothing going wrong."""
    return tiny_stages.copy(tmp_path_factory.mktemp("undisturbed") / "runs").run()


def test_rows_say_what_was_done(undisturbed: Path) -> None:
    found = rows(undisturbed)
    assert sorted(found) == [200, 400]
    row = found[400]
    assert row["branch_images"] == 320
    assert row["epochs"] == pytest.approx(400 / 130)
    assert row["train_flops"] == 400 * row["train_flops_per_image"]
    assert row["params_total"] == sum(v for k, v in row.items() if k.startswith("params_") and k != "params_total")
    assert row["loss_all_scales"] < found[200]["loss_all_scales"]
    assert 0 < row["error_last_scale"] <= 1


def test_sigkill_at_random_moments_changes_no_number(tiny: Tiny, undisturbed: Path) -> None:
    folder = tiny.prepare()
    chance = random.Random(0)
    kills = 0
    for attempt in range(40):
        process = tiny.worker(folder)
        journal = folder / "attempts" / f"{attempt:03d}" / "journal.jsonl"
        while process.poll() is None and not (journal.exists() and journal.stat().st_size):
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.25))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        if process.returncode == 0:
            break
        for end in folder.glob("attempts/*/end.json"):
            assert "failed" not in end.read_text(), log(folder)
    assert process.returncode == 0, log(folder)
    assert kills >= 2, "the premise: it was killed at work"
    assert rows(folder) == rows(undisturbed)
    assert effective(folder) == effective(undisturbed)


def test_a_signal_saves_at_the_next_step_and_the_rest_is_the_same(tiny: Tiny, undisturbed: Path) -> None:
    folder = tiny.prepare("execution.checkpoint_seconds=1000")
    phases = []
    for seen in (3, 8, 12):  # journal lines: on the trunk, then on a branch, then on the trunk again
        process = tiny.worker(folder)
        while process.poll() is None and len(read_effective(folder)) < seen:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if process.returncode == 20:
            names = [p.name for p in folder.glob("attempts/*/checkpoints/*.pt") if not p.name.startswith("point")]
            phases.append(names)
    assert phases, "the premise: it was stopped at work"
    assert tiny.worker(folder).wait(60) == 0, log(folder)
    assert rows(folder) == rows(undisturbed)
    assert effective(folder) == effective(undisturbed)


def test_a_budget_alone_equals_the_same_budget_with_others(tiny: Tiny, undisturbed: Path) -> None:
    assert rows(tiny.run("budgets.images=[400]"))[400] == rows(undisturbed)[400]


def test_a_budget_added_later_replays_from_a_kept_branch_point(tiny: Tiny, undisturbed: Path) -> None:
    folder = tiny.run("budgets.images=[400]")
    tiny.prepare("budgets.images=[200, 400]")
    assert tiny.worker(folder).wait(60) == 0, log(folder)
    assert rows(folder) == rows(undisturbed)
    tiny.prepare("budgets.images=[200, 400, 500]")
    before = log(folder)
    assert tiny.worker(folder).wait(60) == 0, log(folder)
    assert before is not None
    resumed = [
        line for line in (folder / "attempts" / "002" / "journal.jsonl").read_text().splitlines() if "resumed" in line
    ]
    assert len(resumed) == 1
    assert '"images": 320' in resumed[0], "it goes on from the last branch point, not from the start"
    assert sorted(rows(folder)) == [200, 400, 500]


def test_checkpoints_that_are_not_kept_cost_a_later_budget_its_trunk(tiny: Tiny, undisturbed: Path) -> None:
    more = "budgets.images=[200, 300, 400]"
    (planned,) = tiny.plan("execution.keep=none").trials
    assert planned.freed_bytes > 0.8 * tiny.plan().trials[0].cost.disk_bytes
    folder = tiny.run("execution.keep=none")
    assert rows(folder) == rows(undisturbed)
    assert not list(folder.glob("attempts/*/checkpoints/*.pt"))
    again, last = (240, 60)  # to the branch point of 300, and its branch
    assert tiny.plan("execution.keep=none", more).trials[0].new_images == again + last
    assert any("trains its trunk again" in n for n in tiny.plan("execution.keep=none", more).notes)
    tiny.prepare("execution.keep=last", more)
    assert tiny.worker(folder).wait(240) == 0, log(folder)
    assert {images: rows(folder)[images] for images in (200, 400)} == rows(undisturbed)
    assert store.branch_points(folder) == [240], "the last one of those that were trained now"
    assert tiny.plan("execution.keep=last", "budgets.images=[200, 300, 380, 400]").trials[0].new_images == 60 + 80


def test_a_truncated_checkpoint_costs_time_and_no_number(tiny: Tiny, undisturbed: Path) -> None:
    folder = tiny.prepare()
    process = tiny.worker(folder)
    while process.poll() is None and not list(folder.glob("attempts/000/checkpoints/trunk.pt")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    damaged = list(folder.glob("attempts/000/checkpoints/*.pt"))
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-7])
    assert tiny.worker(folder).wait(60) == 0
    assert "damaged" in log(folder)
    assert rows(folder) == rows(undisturbed)


def test_micro_batches_change_rounding_and_no_draw(tiny: Tiny, undisturbed: Path) -> None:
    found = rows(tiny.run("execution.micro_batch=2"))
    whole = rows(undisturbed)
    assert found[400]["weights"] != whole[400]["weights"], "the premise: sums were made in another order"
    assert found[400]["loss_all_scales"] == pytest.approx(whole[400]["loss_all_scales"], abs=2e-4)


def test_another_seed_is_another_model(tiny: Tiny, undisturbed: Path) -> None:
    assert rows(tiny.run("seed=1"))[200]["loss_all_scales"] != rows(undisturbed)[200]["loss_all_scales"]


def test_divergence_is_a_result_with_its_step(tiny: Tiny) -> None:
    folder = tiny.prepare("train.learning_rate=1e12", "train.gradient_clip=off")
    assert tiny.worker(folder).wait(60) == 1
    end = store.read_json(folder / "attempts" / "000" / "end.json")
    assert end["cause"] == "diverged"
    assert "step" in end["message"]


@pytest.mark.parametrize("schedule", ["cosine", "lin0"])
def test_a_schedule_with_a_horizon_gives_one_row(tiny: Tiny, schedule: str) -> None:
    folder = tiny.run(
        f"train.schedule={schedule}", "train.horizon_images=400", "budgets.images=[400]", "train.warmup_images=10"
    )
    found = rows(folder)
    assert sorted(found) == [400]
    assert {line["phase"] for line in read_effective(folder)} == {"trunk"}


def test_averaged_weights_are_what_is_judged(tiny: Tiny, undisturbed: Path) -> None:
    folder = tiny.run("train.ema_half_life_images=100")
    found, plain = rows(folder), rows(undisturbed)
    assert effective(folder) == effective(undisturbed), "an average changes no step"
    assert found[400]["loss_all_scales"] != plain[400]["loss_all_scales"]


def test_bfloat16_is_asked_for_by_the_config(tiny: Tiny, undisturbed: Path) -> None:
    found = rows(tiny.run("train.precision=bfloat16", "budgets.images=[200]"))
    assert found[200]["weights"] != rows(undisturbed)[200]["weights"]
    assert found[200]["loss_all_scales"] == pytest.approx(rows(undisturbed)[200]["loss_all_scales"], abs=0.05)


def test_the_study_text_has_what_the_tests_rely_on() -> None:
    assert "checkpoint_seconds: 0.02" in STUDY
    assert "images: [200, 400]" in STUDY


@pytest.mark.slow
def test_a_compiled_model_trains_to_the_same_loss_under_the_same_names(tiny: Tiny, undisturbed: Path) -> None:
    folder = tiny.run("execution.compile=true", "budgets.images=[200]")
    found, plain = rows(folder)[200], rows(undisturbed)[200]
    assert found["weights"] != plain["weights"], "the premise: other kernels ran"
    assert found["loss_all_scales"] == pytest.approx(plain["loss_all_scales"], abs=2e-4)
    names = [load_file(f / "budgets" / "200" / "weights.safetensors").keys() for f in (folder, undisturbed)]
    assert names[0] == names[1]
