"""One table of cards: what an estimate assumes is what MFU divides by; the micro-batch that fits; who waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY
from tests.support.configs import published_var
from var_scaling.errors import RequestProblem
from var_scaling.planning import devices, estimate, flops
from var_scaling.planning import resolve as resolving
from var_scaling.planning.plan import make_plan
from var_scaling.planning.resolve import resolve
from var_scaling.planning.study import parse_study
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store

GIB = 2**30


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
    hours = {p: estimate.cost(paper(16, p), 10**6, 1, [], "H100").seconds for p in ("float32", "tf32", "bfloat16")}
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


def paper(depth: int, precision: str = "bfloat16", batch: int = 768, **execution: object) -> TrialConfig:
    config = resolve(TrialConfig())
    train = config.train.model_copy(update={"precision": precision, "batch_size": batch})
    how = config.execution.model_copy(update=execution)
    return config.model_copy(update={"model": published_var(depth), "train": train, "execution": how})


@pytest.mark.parametrize("card", devices._CARDS)
def test_no_precision_is_faster_than_a_narrower_one(card: str) -> None:
    peaks = [devices.peak(card, precision) for precision in ("bfloat16", "tf32", "float32")]
    assert peaks == sorted(peaks, reverse=True) and peaks[2] is not None and peaks[2] > 1e12


@pytest.mark.parametrize(
    ("name", "entry", "gib"),
    [
        ("NVIDIA H100 80GB HBM3", "H100", 79),
        ("NVIDIA H100 PCIe", "H100 PCIe", 79),
        ("NVIDIA GH200 480GB", "GH200", 94),
        ("NVIDIA A100-SXM4-40GB", "A100", 39),
        ("A100 80GB", "A100", 79),
        ("NVIDIA L40S", "L40S", 44),
        ("NVIDIA L4", "L4", 22),
        ("AMD Instinct MI300X", None, None),
    ],
)
def test_a_card_is_known_by_its_words(name: str, entry: str | None, gib: int | None) -> None:
    found = devices.known(name)
    assert (found and found[0]) == entry
    assert devices.memory_bytes(name) == (gib and gib * GIB)


@pytest.mark.parametrize("depth", [6, 16, 24, 30])
@pytest.mark.parametrize("execution", [{}, {"recompute": "blocks"}])
def test_the_largest_micro_batch_that_fits_is_taken(depth: int, execution: dict[str, str]) -> None:
    config, card = paper(depth, **execution), 79 * GIB

    def need(images: int) -> int:
        return estimate.state_bytes(config) + estimate.activation_bytes(config, images)

    chosen = estimate.micro_batch(config, card)
    larger = [m for m in range(chosen + 1, 769) if 768 % m == 0]
    assert need(chosen) < 0.95 * card and all(need(m) >= 0.95 * card for m in larger)
    assert estimate.micro_batch(config) == 768, "where the memory is not known, all at once, as on a CPU"
    assert estimate.micro_batch(paper(depth, micro_batch=12), card) == 12, "what was asked for stands"


def test_recomputing_lets_a_larger_batch_fit() -> None:
    assert estimate.micro_batch(paper(30), 79 * GIB) == 16
    assert estimate.micro_batch(paper(30, recompute="blocks"), 79 * GIB) >= 192


def test_a_family_that_cannot_recompute_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "Recomputing", str)
    wanted = TrialConfig().execution.model_copy(update={"recompute": "blocks"})
    with pytest.raises(RequestProblem, match="family var does not say which of its parts"):
        resolve(TrialConfig().model_copy(update={"execution": wanted}))


def planned(tmp_path: Path, device: str, *overrides: str) -> tuple[estimate.Cost, tuple[str, ...]]:
    plan = make_plan(*parse_study(FAKE_STUDY, "x", overrides), tmp_path, device)
    return plan.trials[0].cost, plan.notes


def test_a_card_in_no_table_is_not_priced_as_a_cpu(tmp_path: Path) -> None:
    known, _ = planned(tmp_path, "A100")
    unknown, _ = planned(tmp_path, "MI300X")
    assert unknown.seconds == known.seconds and "no peak of MI300X is known" in unknown.source


def test_a_plan_says_where_a_gpu_waits_for_python(tmp_path: Path) -> None:
    cost, notes = planned(tmp_path, "H100")
    assert cost.waits_below > cost.micro_batch and any("waits for Python" in note for note in notes)
    flops_bound = cost.seconds / (cost.waits_below / cost.micro_batch)
    assert cost.seconds == pytest.approx(flops_bound * cost.waits_below / cost.micro_batch)
    _, none = planned(tmp_path, "(CPU)")
    assert not any("waits" in note for note in none)
