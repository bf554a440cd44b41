"""The journal survives torn lines, and reads as the last attempt for each point."""

import json

from var_scaling.runs.journal import Journal, durable_images, read_effective, read_lines


def journal(trial, attempt):
    return Journal(trial / "attempts" / f"{attempt:03d}" / "journal.jsonl")


def test_lines_come_back_with_a_time(tmp_path):
    one = Journal(tmp_path / "a" / "journal.jsonl")
    one.write(phase="trunk", images=7, **{"train/loss": float("nan")})
    one.write(phase="trunk", images=14, time=5.0)
    one.sync()
    lines = list(read_lines(one.path))
    assert lines[0]["train/loss"] != lines[0]["train/loss"]
    assert lines[0]["time"] > 1e9
    assert lines[1] == {"phase": "trunk", "images": 14, "time": 5.0}
    assert list(read_lines(tmp_path / "none")) == []


def test_a_torn_line_is_dropped_and_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"images": 3}\n{"images": 5, "lo')
    assert [line["images"] for line in read_lines(path)] == [3]
    Journal(path).write(images=7)
    assert [line["images"] for line in read_lines(path)] == [3, 7]
    path.write_bytes(b'{"images": 3}\n\xff\xfe\n[1]\n{"images": 5}\n')
    assert [line["images"] for line in read_lines(path)] == [3, 5]


def test_the_last_attempts_line_counts(tmp_path):
    first, second = journal(tmp_path, 0), journal(tmp_path, 1)
    for images, loss in ((2, 0.2), (4, 0.4), (6, 0.6)):
        first.write(phase="trunk", images=images, loss=loss)
    first.write(event="checkpoint", phase="trunk", images=4)
    second.write(event="resumed", phase="trunk", images=4)
    second.write(phase="trunk", images=6, loss=0.66)
    second.write(phase="anneal_10", images=8, loss=0.8)
    second.write(phase="trunk", images=8, loss=0.88)
    found = [(line["phase"], line["images"], line["loss"]) for line in read_effective(tmp_path)]
    trunk = [("trunk", 2, 0.2), ("trunk", 4, 0.4), ("trunk", 6, 0.66), ("trunk", 8, 0.88)]
    assert found == [*trunk, ("anneal_10", 8, 0.8)]
    assert durable_images(tmp_path) == {"trunk": 4}


def test_ten_attempts_are_in_number_order(tmp_path):
    for attempt in (0, 2, 10):
        journal(tmp_path, attempt).write(phase="trunk", images=2, attempt=attempt)
    journal(tmp_path, 1000).write(phase="trunk", images=2, attempt=1000)
    assert read_effective(tmp_path)[0]["attempt"] == 1000
    assert "\n" not in json.dumps(read_effective(tmp_path))


def test_what_is_durable_is_not_written_again_by_a_run_that_replays_it(tmp_path):
    first = Journal(tmp_path / "attempts" / "000" / "journal.jsonl")
    for images in (10, 20, 30):
        first.write(phase="trunk", images=images, time=1.0)
    first.write(event="checkpoint", phase="trunk", images=20)
    second = Journal(tmp_path / "attempts" / "001" / "journal.jsonl", durable=durable_images(tmp_path))
    second.write(event="resumed", phase="trunk", images=0)
    for images in (10, 20, 30):
        second.write(phase="trunk", images=images, time=2.0)
    second.write(phase="anneal_40", images=10, time=2.0)
    assert [(line["images"], line["time"]) for line in read_effective(tmp_path)] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
        (10, 2.0),
    ]
