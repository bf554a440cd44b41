"""One table of peaks: what an estimate assumes is what MFU divides by, and no precision is priced as another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from var_scaling.errors import RequestProblem
from var_scaling.planning import devices, estimate, flops
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store


def config(precision: str = "float32", **placement: object) -> TrialConfig:
    whole = TrialConfig()
    train = whole.train.model_copy(update={"precision": precision})
    placed = whole.placement.model_copy(update={"device": "cuda", **placement})
    return resolve(whole.model_copy(update={"train": train, "placement": placed}))


@pytest.mark.parametrize(
    ("name", "bfloat16"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("H100", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
    ],
)
def test_a_card_is_known_by_its_own_name(name: str, bfloat16: float) -> None:
    assert devices.peak(name, "bfloat16") == bfloat16
    assert devices.peak(name, "float32") < devices.peak(name, "tf32") < bfloat16


def test_an_unknown_card_is_not_guessed() -> None:
    assert devices.peak("NVIDIA TITAN V", "float32") is None


def test_a_precision_costs_what_it_can_reach() -> None:
    """float32 was priced at bfloat16's peak: 7 hours for what takes 60."""
    hours = {p: estimate.cost(config(p), 10**6, 1, [], "H100").seconds for p in ("float32", "tf32", "bfloat16")}
    assert hours["float32"] / hours["bfloat16"] == pytest.approx(989 / 67)
    assert hours["tf32"] / hours["bfloat16"] == pytest.approx(989 / 495)


def test_a_rate_at_one_precision_says_nothing_of_another() -> None:
    size = flops.train_flops_visible_per_image(config().model)
    rates = [estimate.Rate(size, 1e12, "NVIDIA H100 80GB HBM3", "bfloat16")]
    assert "measured" in estimate.cost(config("bfloat16"), 10**6, 1, rates, "H100").source
    assert "assumed" in estimate.cost(config("float32"), 10**6, 1, rates, "H100").source


def test_rates_are_those_of_the_newest_rows(tmp_path: Path) -> None:
    """They were those of the last names: a trial called zz outlived every later measurement."""
    for age, name in ((1_000, "zz"), (0, "aa")):
        path = tmp_path / "trials" / name / "budgets" / "5" / "row.json"
        path.parent.mkdir(parents=True)
        row = {"train_flops_visible": 100, "images_seen": 5, "device": name, "precision": "float32", "seconds": 1.0}
        store.write_json(path, row)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert [rate.device for rate in estimate.measured_rates(tmp_path, limit=1)] == ["aa"]


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(RequestProblem, match=r"train.precision = tf32 with placement.device = cpu"):
        config("tf32", device="cpu")


def test_the_average_is_counted() -> None:
    plain = config()
    train = plain.train.model_copy(update={"ema_half_life_images": 1_000})
    averaged = plain.model_copy(update={"train": train})
    weights = flops.parameter_bytes(plain.model)
    assert estimate.state_bytes(plain) == 4 * weights and estimate.state_bytes(averaged) == 5 * weights
