"""Claims, fences, whole folders, checkpoints."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from var_scaling.runs import holders, store


def _race(folder: str, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    try:
        attempt = store.take(Path(folder))
        results.put(attempt.number)  # type: ignore[attr-defined]
        time.sleep(0.5)  # hold it while the others try
    except store.Held:
        results.put(None)  # type: ignore[attr-defined]


def test_of_eight_that_reach_for_a_folder_at_once_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for round_ in range(5):
        work = tmp_path / str(round_)
        work.mkdir()
        barrier, results = context.Barrier(8), context.Queue()
        racers = [context.Process(target=_race, args=(str(work), barrier, results)) for _ in range(8)]
        for racer in racers:
            racer.start()
        numbers = [results.get(timeout=20) for _ in racers]
        for racer in racers:
            racer.join()
        assert numbers.count(0) == 1
        assert numbers.count(None) == 7
        assert [p.name for p in (work / "attempts").iterdir()] == ["000"], "a loser leaves nothing behind"


def test_a_dead_holder_is_followed_by_a_new_attempt(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from var_scaling.runs import store; store.take(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert store.take(tmp_path).number == 1


def test_a_living_holder_is_named(tmp_path: Path) -> None:
    store.take(tmp_path)
    with pytest.raises(store.Held, match=f"pid {os.getpid()}"):
        store.take(tmp_path)


def _claim(tmp_path: Path, **changes: object) -> None:
    """Rewrite the claim of attempt 0 as if another had made it."""
    path = tmp_path / "attempts" / "000" / "claim.json"
    claim = json.loads(path.read_text())
    claim["holder"].update(changes)
    path.write_text(json.dumps(claim))


def test_unknown_is_not_dead(tmp_path: Path) -> None:
    store.take(tmp_path)
    _claim(tmp_path, host="elsewhere", boot="other", pid=1)
    with pytest.raises(store.Held) as held:
        store.take(tmp_path)
    assert held.value.state == "unknown"
    assert store.take(tmp_path, take_over=True).number == 1


def test_the_scheduler_is_asked_for_a_holder_elsewhere(tmp_path: Path) -> None:
    store.take(tmp_path)
    _claim(tmp_path, host="n2", boot="other", scheduler="slurm:7_3")
    asked = []

    def ask(job: str) -> holders.Life:
        asked.append(job)
        return "dead"

    assert store.take(tmp_path, ask_scheduler=ask).number == 1
    assert asked == ["slurm:7_3"]


def test_a_pid_used_again_is_another_process() -> None:
    mine = holders.this_process()
    assert holders.life(mine) == "alive"
    assert holders.life(replace(mine, start="1")) == "dead"


def test_a_container_of_its_own_cannot_be_judged_by_our_process_table() -> None:
    assert holders.life(replace(holders.this_process(), namespace="pid:[1]", host="box")) == "unknown"


def test_a_machine_started_again_has_no_old_process() -> None:
    assert holders.life(replace(holders.this_process(), boot="before")) == "dead"


def test_the_overtaken_holder_notices_and_writes_nothing(tmp_path: Path) -> None:
    first = store.take(tmp_path)
    _claim(tmp_path, host="elsewhere", boot="other")
    store.take(tmp_path, take_over=True)
    with pytest.raises(store.Lost, match="attempt 1"):
        first.save_checkpoint("trunk", {})
    assert not (first.folder / "checkpoints").exists()


def test_publish_is_whole_and_once(tmp_path: Path) -> None:
    for turn in range(2):
        prepared = tmp_path / f"prepared{turn}"
        prepared.mkdir()
        (prepared / "row.json").write_text(str(turn))
        assert store.publish(prepared, tmp_path / "budgets" / "5") is (turn == 0)
        assert not prepared.exists()
    assert (tmp_path / "budgets" / "5" / "row.json").read_text() == "0"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    import torch

    attempt = store.take(tmp_path)
    for value in (1, 2):
        attempt.save_checkpoint("trunk", {"value": value, "x": torch.full((3,), float(value))})
    assert attempt.load_checkpoint("trunk")["value"] == 2
    path = attempt.folder / "checkpoints" / "trunk.pt"
    whole = path.read_bytes()
    for cut in (0, 10, 32, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert attempt.load_checkpoint("trunk")["value"] == 1
    path.write_bytes(whole[:-20] + b"\0" + whole[-19:])
    assert attempt.load_checkpoint("trunk")["value"] == 1


def test_weights_are_as_readable_as_everything_else(tmp_path: Path) -> None:
    import torch

    before = os.umask(0o027)
    try:
        store.write_json(tmp_path / "row.json", {})
        store.write_weights(tmp_path / "weights.safetensors", {"a": torch.zeros(2, 3).T})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


def test_a_full_disk_under_a_checkpoint_is_the_disks_error(tmp_path: Path) -> None:
    """torch's writer says "unexpected pos" instead; the worker's cause would be the code's."""
    import torch

    attempt = store.take(tmp_path)
    attempt.save_checkpoint("trunk", {"x": torch.ones(3)})
    script = (
        "import signal, torch; from pathlib import Path; from var_scaling.runs.store import Attempt, this_process\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"attempt = Attempt(Path({str(tmp_path)!r}), 0, this_process())\n"
        "try: attempt.save_checkpoint('trunk', {'x': torch.ones(100_000)})\n"
        "except OSError as error: print(error.errno == 27)"
    )
    command = f"ulimit -f 64; exec {shlex.quote(sys.executable)} -c {shlex.quote(script)}"  # 64 KiB a file
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "True", done.stderr
    assert torch.equal(attempt.load_checkpoint("trunk")["x"], torch.ones(3)), "the one before is still there"


def test_a_checkpoint_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    import torch

    attempt = store.take(tmp_path)
    attempt.save_checkpoint("trunk", {"x": torch.arange(5), "images": 3})
    path = attempt.folder / "checkpoints" / "trunk.pt"
    content = path.read_bytes()
    path.write_bytes(content[-32:] + content[:-32])  # the digest came first
    assert attempt.load_checkpoint("trunk")["x"].tolist() == [0, 1, 2, 3, 4]


def test_a_large_checkpoint_is_never_twice_in_memory(tmp_path: Path) -> None:
    """It was twice to save, three times to read: 72 GB for the state of a d30."""
    script = (
        "import resource, torch; from pathlib import Path; from var_scaling.runs import store\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10\n"
        f"attempt = store.take(Path({str(tmp_path)!r}))\n"
        "state = {'x': [torch.ones(2**22) for _ in range(8)]}\n"  # 128 MiB in eight
        "before = peak(); attempt.save_checkpoint('trunk', state); saved = peak(); del state\n"
        "state = attempt.load_checkpoint('trunk'); total = sum(float(x.sum()) for x in state['x'])\n"
        "print(saved - before, peak() - before, total)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    saving, reading, total = map(float, done.stdout.split())
    assert total == 2**25
    assert saving < 40 and reading < 40, "MiB beside the state of 128"


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    store.write_json(path, {"a": 1})
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, _no_space)
        with pytest.raises(OSError, match="space"):
            store.write_json(path, {"a": 2})
        monkeypatch.undo()
        assert store.read_json(path) == {"a": 1}
        assert [p.name for p in tmp_path.iterdir()] == ["x.json"], "no half-written file stays"


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_holder_goes_through_json() -> None:
    mine = holders.this_process()
    assert holders.Holder(**json.loads(json.dumps(asdict(mine)))) == mine
