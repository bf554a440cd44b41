"""What every family of the registry keeps: counts, splits, addresses, resumption, and rows that `analysis` reads."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import analysis
from tests.support.tiny import STUDY, Tiny, log, rows
from var_scaling.config import yaml
from var_scaling.errors import RequestProblem
from var_scaling.families.base import Batch, Family, FamilyModel, Recomputing
from var_scaling.families.registry import columns_of_families, families, torch_half
from var_scaling.planning import flops
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.tokenizers.registry import module_of
from var_scaling.training.optimizer import make_optimizer
from var_scaling.training.state import recompute_blocks

IMAGES = 6
KL = {"preset": "tiny-kl", "channels": 8, "train": {"images": 320, "batch_size": 32, "warmup_images": 32}}
CASES: dict[str, dict[str, Any]] = {  # a family, or a form of one: what differs from the tiny study's base
    "var": {"model": {"family": "var", "head_dim": 4, "depth": 3}},
    "raster": {"model": {"family": "raster", "head_dim": 4, "depth": 3}, "tokenizer": {"preset": "tiny-raster"}},
    "pyramid": {"model": {"family": "raster", "order": "pyramid", "head_dim": 4, "depth": 3}},
    "dit": {"model": {"family": "dit", "head_dim": 4, "depth": 3, "patch_size": 1}, "tokenizer": KL},
    "dit-variance": {
        "model": {"family": "dit", "head_dim": 8, "depth": 2, "learned_variance": True, "target": "noise"},
        "tokenizer": KL,
    },
}
OURS = tuple(CASES)
OUTSIDE = {  # what installed packages offer, each in its default form
    name: {"model": {"family": name, "depth": 3}, "tokenizer": KL if family.latents == "continuous" else {}}
    for name, family in families().items()
    if not family.module.startswith("var_scaling.")
}
CASES |= OUTSIDE


def test_every_family_has_a_case() -> None:
    assert {case["model"]["family"] for case in CASES.values()} == families().keys()


def study(case: str) -> str:
    """The tiny study with this case's model and tokenizer."""
    raw = yaml.parse(STUDY, "tiny")[0]
    base = raw["base"]
    tokenizer = CASES[case].get("tokenizer", {})
    base["tokenizer"] = tokenizer if "train" in tokenizer else base["tokenizer"] | tokenizer
    base["model"] = CASES[case]["model"]
    return yaml.dump(raw)


@dataclass
class Built:
    """A family with a model, a tokenizer and a batch, all untrained and tiny."""

    family: Family
    half: FamilyModel
    config: TrialConfig
    module: torch.nn.Module
    tokenizer: Any
    batch: Batch


@pytest.fixture(params=CASES)
def built(request: pytest.FixtureRequest) -> Built:
    config = resolve(read_trial(yaml.parse(study(request.param), "tiny")[0]["base"]))
    config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": IMAGES})})
    family = families()[config.model.family]
    half = torch_half(family)
    tokenizer = module_of(config.tokenizer).build(config.tokenizer).eval()
    images = torch.randn(IMAGES, 1, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    latents = tokenizer.latents(images)
    read = {name: latents[name] if name in latents else tokenizer.derive(name, latents) for name in half.reads}
    draws = half.draws(config.model, config.train, 0, np.arange(100, 100 + IMAGES))
    module = half.build(config.model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a fresh block is the identity, and nothing could be told from its gradients
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return Built(family, half, config, module, tokenizer, Batch(torch.arange(IMAGES), read, draws))


def test_parameters_are_the_modules(built: Built) -> None:
    trained = sum(p.numel() for p in built.module.parameters() if p.requires_grad)
    assert flops.params_total(built.config.model) == trained
    grouped = [p for group in built.half.groups(built.module) for p in group["params"]]
    assert sum(p.numel() for p in grouped) == trained == sum(p.numel() for p in set(grouped)), "each in one group"
    assert [group["decayed"] for group in built.half.groups(built.module)] == [True, False]
    make_optimizer(built.half.groups(built.module), built.config.train)


def test_flops_are_the_counters(built: Built) -> None:
    one = built.batch.part(slice(0, 1))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward, torch.no_grad():
        built.half.loss(built.module, built.config.model, built.config.train, one)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as both:
        built.half.loss(built.module, built.config.model, built.config.train, one).backward()
    assert forward.get_total_flops() == flops.forward_flops_visible_per_image(built.config.model)
    assert both.get_total_flops() == flops.train_flops_visible_per_image(built.config.model)
    assert flops.forward_flops_visible_per_image(built.config.model) <= flops.forward_flops_per_image(
        built.config.model
    )


def test_a_batch_in_parts_is_one_batch(built: Built) -> None:
    def gradients(parts: list[slice]) -> list[torch.Tensor]:
        built.module.zero_grad()
        for part in parts:
            some = built.batch.part(part)
            loss = built.half.loss(built.module, built.config.model, built.config.train, some)
            (loss * len(some.labels) / IMAGES).backward()
        return [p.grad.clone() for p in built.module.parameters() if p.grad is not None]

    whole, split = gradients([slice(0, IMAGES)]), gradients([slice(0, 2), slice(2, IMAGES)])
    assert max(float(g.abs().max()) for g in whole) > 1e-4, "the premise: something is learnt"
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_blocks_computed_again_hold_less_and_give_the_same_bits(built: Built) -> None:
    if not isinstance(built.family, Recomputing):
        execution = built.config.execution.model_copy(update={"recompute": "blocks"})
        with pytest.raises(RequestProblem, match="does not say which of its"):
            resolve(built.config.model_copy(update={"execution": execution}))
        return

    def step() -> tuple[list[torch.Tensor], int]:
        built.module.zero_grad()
        held: dict[int, int] = {}

        def hold(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            loss = built.half.loss(built.module, built.config.model, built.config.train, built.batch)
        loss.backward()
        return [p.grad.clone() for p in built.module.parameters() if p.grad is not None], sum(held.values())

    plain, all_held = step()
    recompute_blocks(built.config.model, built.module)
    again, less_held = step()
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True)) and len(plain) == len(again)
    assert less_held < 0.75 * all_held, (less_held, all_held)


def test_a_draw_is_a_function_of_its_address(built: Built) -> None:
    model, train = built.config.model, built.config.train
    whole = built.half.draws(model, train, 3, np.arange(50))
    assert whole, "the premise: something is drawn"
    part = built.half.draws(model, train, 3, np.array([41, 7]))
    other = built.half.draws(model, train, 4, np.arange(50))
    for name, values in whole.items():
        assert torch.equal(values[[41, 7]], part[name]), name
    assert any(not torch.equal(values, other[name]) for name, values in whole.items())


def test_sample_i_depends_on_its_own_address(built: Built) -> None:
    module, sampler = built.module.eval(), built.family.sampler()
    noise = built.half.noise(module, sampler, IMAGES, torch.Generator().manual_seed(5))
    labels_B = torch.arange(IMAGES)

    def draw(rows: slice) -> dict[str, torch.Tensor]:
        some = {name: values[rows] for name, values in noise.items()}
        with torch.no_grad():
            return built.half.draw(module, labels_B[rows], built.tokenizer, sampler, some)

    whole, part = draw(slice(0, IMAGES)), draw(slice(2, 5))
    for name, values in whole.items():
        if values.is_floating_point():
            torch.testing.assert_close(part[name], values[2:5], rtol=1e-3, atol=1e-4)
        else:
            assert torch.equal(part[name], values[2:5])
    assert not torch.equal(next(iter(whole.values()))[0], next(iter(whole.values()))[1])
    with torch.no_grad():
        pictures = built.tokenizer.pictures(whole)
    assert pictures.shape == (IMAGES, 1, 32, 32) and float(pictures.abs().max()) <= 1


@pytest.mark.parametrize("built", OURS, indirect=True)
def test_what_is_known_is_kept_and_the_rest_is_drawn(built: Built) -> None:
    module, sampler = built.module.eval(), built.family.sampler()
    noise = built.half.noise(module, sampler, IMAGES, torch.Generator().manual_seed(5))
    images = torch.rand(IMAGES, 1, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    known, labels_B = built.tokenizer.latents(images), torch.arange(IMAGES)
    mask = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 17:20] = False  # the third of four columns of cells; of two columns the right one

    def draw(kept: torch.Tensor, rows: slice = slice(0, IMAGES)) -> torch.Tensor:
        given = [{name: values[rows] for name, values in some.items()} for some in (noise, known)]
        with torch.no_grad():
            (found,) = built.half.draw(
                module, labels_B[rows], built.tokenizer, sampler, given[0], known=given[1], mask=kept
            ).values()
        return found

    (truth,) = known.values()
    assert torch.equal(draw(torch.ones(1, 1, 32, 32)), truth), "all known: its own reconstruction"
    found = draw(mask)
    if built.family.latents == "tokens":
        kept = torch.cat([kept_by_hand(side) for side in built.tokenizer.patch_nums]).expand_as(truth)
        assert torch.equal(found[kept], truth[kept])
        assert (found[~kept] != truth[~kept]).float().mean() > 0.5
    else:
        side = truth.shape[-1]
        columns = kept_by_hand(side).view(side, side)[0]
        assert torch.equal(found[..., columns], truth[..., columns])
        assert (found[..., ~columns] != truth[..., ~columns]).all()
    part = draw(mask, slice(2, 4))
    if part.is_floating_point():
        torch.testing.assert_close(part, found[2:4], rtol=1e-3, atol=1e-4)
    else:
        assert torch.equal(part, found[2:4])


@pytest.mark.parametrize("built", ["var", "raster", "pyramid"], indirect=True)
def test_what_is_kept_weighs_as_validation_has_it(built: Built) -> None:
    """Of all tokens it is the loss of the image; of a part, of these tokens alone; of none, nothing."""
    module = built.module.eval()
    images = torch.rand(IMAGES, 1, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    known, labels_B = built.tokenizer.latents(images), torch.arange(IMAGES)
    read = {name: known[name] if name in known else built.tokenizer.derive(name, known) for name in built.half.reads}

    def weigh(mask: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return built.half.kept_log_probability(module, labels_B, built.tokenizer, known, mask)

    with torch.no_grad():
        loss_BK = built.half.validate(module, Batch(labels_B, read, {}), np.arange(IMAGES))["loss"]
    whole = weigh(torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(whole, -loss_BK.sum(1).double(), rtol=1e-4, atol=1e-3)
    mask = torch.ones(1, 1, 32, 32)
    mask[..., :16] = 0  # half of the last scale, and nothing of the first
    part = weigh(mask)
    assert (part < 0).all() and (part > whole).all()
    assert not weigh(torch.zeros(1, 1, 32, 32)).any()


def kept_by_hand(side: int) -> torch.Tensor:
    """(p * p) bool: cells without a pixel of columns 17 to 19 of 32."""
    columns = [not any(int(c * 32 / side) <= x < -(-(c + 1) * 32 // side) for x in (17, 18, 19)) for c in range(side)]
    return torch.tensor(columns).repeat(side)


def test_validation_says_what_it_declares_and_draws_nothing(built: Built) -> None:
    module = built.module.eval()
    plain = Batch(built.batch.labels, built.batch.latents, {})
    with torch.no_grad():
        said = built.half.validate(module, plain, np.arange(IMAGES))
        again = built.half.validate(module, plain, np.arange(IMAGES))
    sums = {name: values.double().numpy() for name, values in said.items()}
    assert all(len(values) == IMAGES and torch.equal(values, again[name]) for name, values in said.items())
    columns = built.half.summarise(built.config.model, sums)
    assert {column.name for column in built.family.losses} <= columns.keys()


@pytest.mark.parametrize("built", OURS, indirect=True)
def test_a_token_sees_what_comes_before_it_and_no_more(built: Built) -> None:
    """Gradients as probes: of each output towards each input that the model reads."""
    if built.family.latents != "tokens":
        latents = built.batch.latents["latents"].clone().requires_grad_(True)
        times = torch.full((IMAGES,), 500)
        out = built.module(latents, times, built.batch.labels)
        (gradient,) = torch.autograd.grad(out[0, :, 0, 0].sum(), latents)
        assert (gradient[0].abs().sum(0) > 0).all(), "every position sees every other"
        assert not gradient[1:].any(), "and no other image"
        return
    name = "features" if "features" in built.batch.latents else "codes"
    read = built.batch.latents[name].clone().requires_grad_(True)
    given = read if name == "features" else read[:, :-1]
    logits = built.module.eval()(built.batch.labels, given)
    scale_of = built.module.lvl_1L[0] if name == "features" else torch.arange(logits.shape[1])
    first = int((scale_of == 0).sum())
    for token in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[0, token].sum(), read, retain_graph=True)
        seen = gradient[0].abs().sum(-1) > 0
        for place in range(logits.shape[1] - first):
            belongs = scale_of[place + first]  # what is read at a place serves the token `first` places on
            assert bool(seen[place]) == bool(belongs <= scale_of[token]), (token, place)
        assert not gradient[1:].any()


@pytest.fixture(scope="module", params=["raster", "dit", *OUTSIDE])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, str, Path]:
    """A family's tiny trial, from images to rows, by real workers."""
    from var_scaling.launch.follow import follow
    from var_scaling.launch.local import Local, LocalLauncher
    from var_scaling.launch.order import Order

    tiny, text = Tiny(tmp_path_factory.mktemp(request.param) / "runs"), study(request.param)
    launch = Order(tiny.plan(text=text), text, Local()).write()
    launcher = LocalLauncher(tiny.runs, 2)
    launcher.submit(launch.jobs, launch.folder)
    follow(launch, launcher, lambda view: None)
    assert not launcher.failed, [log(tiny.runs / f) for f in launcher.failed]
    return tiny, text, tiny.runs / launch.plan.trials[0].work.folder


def test_a_killed_trial_ends_in_the_same_bits(trained: tuple[Tiny, str, Path], tmp_path: Path) -> None:
    tiny, text, undisturbed = trained
    again = tiny.copy(tmp_path / "runs")
    folder = again.prepare(text=text)
    for attempt in range(2):
        process = again.worker(folder)
        journal = folder / "attempts" / f"{attempt:03d}" / "journal.jsonl"
        while process.poll() is None and not (journal.exists() and journal.stat().st_size):
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert again.worker(folder).wait(240) == 0, log(folder)
    assert rows(folder) == rows(undisturbed)
    assert len(rows(folder)) == 2, "the premise: two budgets"


def test_a_row_of_training_passes_analysis(trained: tuple[Tiny, str, Path]) -> None:
    tiny, _, folder = trained
    family = families()[json.loads((folder / "identity.json").read_text())["model"]["family"]]
    declared = {column["name"] for column in json.loads((tiny.runs / "columns.json").read_text())[family.name]}
    (row, _) = (json.loads(path.read_text()) for path in sorted(folder.glob("budgets/*/row.json")))
    assert row.keys() <= declared, "every column of a row is declared, with its unit"
    assert columns_of_families()[family.name][0].keys() >= {"name", "unit", "part", "means", "comparable"}
    table = analysis.load_runs(tiny.runs)
    assert len(table) == 2 and set(table["family"]) == {family.name}
    for column in family.losses:
        assert np.isfinite(table[column.name]).all(), column.name
    assert (table["params_total"] == table.filter(regex="^params_(?!total|frozen)").sum(axis=1)).all()
    assert (table["train_flops"] == table["images_seen"] * table["train_flops_per_image"]).all()
