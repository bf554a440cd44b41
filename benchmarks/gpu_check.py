"""What a GPU makes of this project, in at most eight minutes: `make gpu-check`, for whoever has one.

    python -m benchmarks.gpu_check [--out gpu-check.json] [--minutes 8] [--depths 8,16,30]

    numbers    loss and gradients of every family, and a tokenizer's tokens, against this machine's CPU
    training   a step of the paper's models: images a second, MFU, peak memory beside the plan's
    sampling   images a second with guidance, memory beside the plan's
    resume     a state written and read again goes on with the same loss
    nccl       the ranks that are there: two are two micro-batches; the rate of an all-reduce

Prints a table, writes one JSON document. Exit code 0: all as planned; 1: something was not (each said); 3: no GPU here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from var_scaling.errors import EnvironmentProblem, NodeProblem
from var_scaling.families.base import Batch
from var_scaling.families.registry import families, family_of, model_of
from var_scaling.families.var.config import VARConfig, VARSampler
from var_scaling.planning import devices, estimate, flops
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.tokenizers.registry import kind_of, module_of, presets
from var_scaling.tokenizers.vq.config import VQConfig
from var_scaling.training.device import choose_device, set_precision
from var_scaling.training.distributed import Ranks
from var_scaling.training.optimizer import make_optimizer
from var_scaling.training.state import State, fresh_state
from var_scaling.training.step import train_step

SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
RATES = (1e-4, 0.05)
# The most that loss and gradient (its norm) may differ from the CPU's float32, relative.
TOLERANCE = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 3e-2}
PRECISIONS: tuple[devices.Precision, ...] = ("float32", "tf32", "bfloat16")
DONE, NOT_AS_PLANNED, NO_GPU = 0, 1, 3


@dataclass
class Finding:
    """One thing that was looked at; `ok` None: not measured, `said` tells why."""

    section: str
    name: str
    ok: bool | None
    said: str
    values: dict[str, float] = field(default_factory=dict)


def small(family: str) -> TrialConfig:
    """A small model of a family, on the first of the presets that it stands on."""
    latents = families()[family].latents
    preset = next(name for name, kind in presets().items() if kind.latents == latents and name.startswith("tiny"))
    if family == "raster":
        preset = "tiny-raster"
    raw = {"model": {"family": family, "depth": 3}, "tokenizer": {"preset": preset}, "train": {"batch_size": 8}}
    return resolve(read_trial(raw))


def paper(depth: int, precision: str, images: int, **execution: Any) -> TrialConfig:
    """A model of the paper's sizes at 256 pixels."""
    config = resolve(TrialConfig())
    model = VARConfig(
        depth=depth,
        gamma_init=1e-3,
        drop_path=0.1 * depth / 24,
        patch_nums=SIDES,
        vocab_size=4096,
        latent_dim=32,
        num_classes=1000,
    )
    train = config.train.model_copy(update={"precision": precision, "batch_size": images})
    how = config.execution.model_copy(update={"micro_batch": images, **execution})
    return config.model_copy(update={"model": model, "train": train, "execution": how})


def noise_batch(config: TrialConfig, device: torch.device, images: int = 0) -> Batch:
    """A batch of random tokens for a model of the paper's sizes."""
    model, count = config.model, config.train.batch_size
    assert isinstance(model, VARConfig)
    generator = torch.Generator().manual_seed(images)
    length = model.tokens_per_image
    draws = model_of(model).draws(model, config.train, 0, np.arange(images, images + count))
    latents = {
        "tokens": torch.randint(4096, (count, length), generator=generator),
        "features": torch.randn(count, length - 1, 32, generator=generator),
    }
    labels = torch.randint(1000, (count,), generator=generator)
    return moved(Batch(labels, latents, draws), device)


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    return Batch(
        batch.labels.to(device),
        {name: value.to(device) for name, value in batch.latents.items()},
        {name: value.to(device) for name, value in batch.draws.items()},
    )


# ---- numbers --------------------------------------------------------------------------------------------------------


def numbers(device: torch.device, precisions: Sequence[str] = PRECISIONS) -> Iterator[Finding]:
    """Loss and gradients of a small model of every family, and tokens, against the CPU's in float32."""
    for family in families():
        config = small(family)
        half, tokenizer = model_of(config.model), module_of(config.tokenizer).build(config.tokenizer).eval()
        channels, side = config.data.channels, config.data.resolution
        assert channels and side
        images = torch.randn(8, channels, side, side, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
        with torch.no_grad():
            latents = tokenizer.latents(images)
            read = {n: latents[n] if n in latents else tokenizer.derive(n, latents) for n in half.reads}
            if "tokens" in latents and family == "var":
                there = tokenizer.to(device).latents(images.to(device))["tokens"].cpu()
                share = float((there == latents["tokens"]).double().mean())
                yield Finding(
                    "numbers", "tokens", share > 0.999, f"{share:.2%} of the CPU's tokens", {"equal_share": share}
                )
        batch = Batch(torch.arange(8) % 10, read, half.draws(config.model, config.train, 0, np.arange(8)))
        truth = _loss_and_norm(config, batch, torch.device("cpu"), "float32")
        for precision in precisions:
            try:
                set_precision(device, precision)
            except EnvironmentProblem as problem:
                yield Finding("numbers", f"{family} {precision}", None, str(problem))
                continue
            found = _loss_and_norm(config, moved(batch, device), device, precision)
            set_precision(device, "float32")
            off = max(_off(a, b) for a, b in zip(found, truth, strict=True))
            said = f"loss and gradient within {off:.1e} of the CPU's (at most {TOLERANCE[precision]:.0e})"
            yield Finding("numbers", f"{family} {precision}", off < TOLERANCE[precision], said, {"relative": off})


def _off(found: float, truth: float) -> float:
    return abs(found - truth) / max(abs(truth), 1e-12)


def _loss_and_norm(config: TrialConfig, batch: Batch, device: torch.device, precision: str) -> tuple[float, float]:
    half = model_of(config.model)
    module = half.build(config.model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a fresh block is the identity, and says nothing of its inside
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    module.to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        loss = half.loss(module, config.model, config.train, batch)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    return float(loss.detach()), float(norm)


# ---- speed and memory -----------------------------------------------------------------------------------------------


def training(device: torch.device, depths: Sequence[int], left: Callable[[], float]) -> Iterator[Finding]:
    """Images a second, MFU and peak memory of a step; the last depth is meant to be the largest."""
    card = torch.cuda.get_device_properties(device).total_memory
    peak_of = torch.cuda.get_device_name(device)
    cases = [(depth, precision, {}) for depth in depths for precision in PRECISIONS[::-1]]
    cases += [(depths[0], "bfloat16", {"compile": True}), (depths[-1], "bfloat16", {"recompute": "blocks"})]
    for depth, precision, execution in cases:
        name = f"d{depth} {precision}" + "".join(f" {key}" for key in execution)
        if left() < 30:
            yield Finding("training", name, None, "no time left (--minutes)")
            continue
        fit = [
            m for m in estimate.fitting(paper(depth, precision, 128, micro_batch=None, **execution), card) if m <= 128
        ]
        if not fit:
            yield Finding("training", name, None, "does not fit this card")
            continue
        try:
            set_precision(device, precision)
            yield _timed(paper(depth, precision, max(fit), **execution), device, name, peak_of, min(20.0, left() - 20))
        except (EnvironmentProblem, RuntimeError) as problem:
            yield Finding("training", name, False, _last_line(problem))
        finally:
            set_precision(device, "float32")
            torch.cuda.empty_cache()


def _timed(config: TrialConfig, device: torch.device, name: str, card: str, seconds: float) -> Finding:
    torch.cuda.reset_peak_memory_stats(device)
    state, batch = fresh_state(config, device), noise_batch(config, device)
    for _ in range(3):
        train_step(state, batch, config, RATES)
    torch.cuda.synchronize(device)
    begin, steps = time.perf_counter(), 0
    while steps < 3 or (time.perf_counter() - begin < min(seconds, 8.0) and steps < 200):
        train_step(state, batch, config, RATES)
        steps += 1
        if steps % 3 == 0:
            torch.cuda.synchronize(device)
    torch.cuda.synchronize(device)
    images = config.train.batch_size
    rate = steps * images / (time.perf_counter() - begin)
    measured = torch.cuda.max_memory_allocated(device)
    planned = estimate.state_bytes(config) + estimate.activation_bytes(config, images)
    peak = devices.peak(card, config.train.precision)
    values = {
        "micro_batch": float(images),
        "images_per_second": rate,
        "peak_bytes": float(measured),
        "planned_bytes": float(planned),
    }
    said = f"{rate:,.0f} images/s at {images}, {measured / 2**30:.1f} of {planned / 2**30:.1f} GiB planned"
    if peak:
        values["mfu"] = rate * flops.train_flops_visible_per_image(config.model) / peak
        said += f", MFU {values['mfu']:.1%}"
    compiled = config.execution.compile
    return Finding("training", name, 0.8 * planned < measured < planned or compiled, said, values)


def sampling(device: torch.device, depth: int) -> Iterator[Finding]:
    """Guided samples of a model of the paper's sizes, tokens alone, in float32 and in bfloat16."""
    config, images = paper(depth, "float32", 50), 50
    half = model_of(config.model)
    module = half.build(config.model, seed=0).to(device).eval()
    kind = kind_of(VQConfig(preset="paper"))
    first_stage = kind.resolve(VQConfig(preset="paper"), resolution=256, channels=3, flip=True)
    tokenizer = module_of(first_stage).build(first_stage).to(device).eval()
    sampler = VARSampler(guidance=1.5, top_k=900, top_p=0.96)
    noise = half.noise(module, sampler, images, torch.Generator().manual_seed(0))
    noise = {name: value.to(device) for name, value in noise.items()}
    labels = torch.arange(images, device=device)
    for precision, number in (("float32", 4), ("bfloat16", 2)):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=number == 2):
            half.draw(module, labels, tokenizer, sampler, noise)
            torch.cuda.synchronize(device)
            begin = time.perf_counter()
            half.draw(module, labels, tokenizer, sampler, noise)
            torch.cuda.synchronize(device)
        rate = images / (time.perf_counter() - begin)
        used = torch.cuda.max_memory_allocated(device) - before
        planned = images * family_of(config.model).sample_bytes(config.model, sampler, number)
        sizes = f"{used / 2**30:.1f} GiB beside the weights ({planned / 2**30:.1f} of keys and values)"
        said = f"{rate:,.1f} images/s, {sizes}"
        yield Finding(
            "sampling",
            f"d{depth} {precision}",
            True,
            said,
            {"images_per_second": rate, "bytes": float(used), "planned_bytes": float(planned)},
        )


def resume(device: torch.device) -> Iterator[Finding]:
    """A state on disk and back."""
    config = paper(4, "bfloat16", 8)
    batch = [noise_batch(config, device, 8 * i) for i in range(4)]
    state = fresh_state(config, device)
    for i in range(3):
        train_step(state, batch[i], config, RATES)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state.dump(), Path(folder) / "state.pt")
        saved = torch.load(Path(folder) / "state.pt", map_location="cpu", weights_only=True)
    fresh = fresh_state(config, device)
    fresh.load(saved)
    same = all(torch.equal(a, b) for a, b in zip(state.model.parameters(), fresh.model.parameters(), strict=True))
    losses = [float(train_step(each, batch[3], config, RATES)[0]) for each in (state, fresh)]
    off = _off(losses[1], losses[0])
    said = f"weights {'equal' if same else 'differ'}, the next loss within {off:.1e}"
    yield Finding("resume", "d4 bfloat16", same and off < 1e-5, said, {"relative": off})


# ---- several ranks --------------------------------------------------------------------------------------------------


def nccl(device: torch.device) -> Iterator[Finding]:
    """An all-reduce over the GPUs of this machine, and two ranks against two micro-batches."""
    count = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_rank, (count, folder), nprocs=count, join=True)
        found = json.loads((Path(folder) / "found.json").read_text(encoding="utf-8"))
    what = "" if count > 1 else "; one GPU: what happens between cards was not seen"
    said = f"{count} ranks, all-reduce of 256 MiB at {found['bytes_per_second'] / 1e9:,.0f} GB/s{what}"
    yield Finding("nccl", "all-reduce", True, said, found)
    if count > 1:
        off = found["relative"]
        yield Finding("nccl", "ranks", off < 1e-3, f"{count} ranks are {count} micro-batches within {off:.1e}")


def _rank(rank: int, count: int, folder: str) -> None:
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    data = torch.ones(64 * 2**20, device=device)
    dist.all_reduce(data)
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    for _ in range(10):
        dist.all_reduce(data)
    torch.cuda.synchronize(device)
    seconds = (time.perf_counter() - begin) / 10
    found = {"ranks": float(count), "bytes_per_second": 4 * data.numel() * 2 * (count - 1) / count / seconds}
    if count > 1:
        config = paper(4, "float32", 4 * count, micro_batch=4)
        whole = noise_batch(config, device)
        ranks = Ranks(rank, count)
        norms = []
        for here, batch in ((ranks, whole.part(slice(4 * rank, 4 * rank + 4))), (Ranks(), whole)):
            half = model_of(config.model)
            model = half.build(config.model, seed=0).to(device)
            state = State(model, here.parallel(model), make_optimizer(half.groups(model), config.train), None)
            norms.append(float(train_step(state, batch, config, RATES, here)[1]))
        found["relative"] = _off(norms[0], norms[1])
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


# ---- all of it ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"), help="the JSON document")
    parser.add_argument("--minutes", type=float, default=8.0, help="no measurement begins that may not fit")
    parser.add_argument("--depths", default="8,16,30", help="of the paper's models, the largest last")
    given = parser.parse_args()
    depths = [int(depth) for depth in given.depths.split(",")]
    try:
        device = choose_device("cuda")
    except NodeProblem:
        print("No GPU that torch can use is here, so nothing was checked (nvidia-smi, driver, a torch with CUDA?).")
        return NO_GPU
    end = time.monotonic() + 60 * given.minutes
    sections: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("numbers", lambda: numbers(device)),
        ("resume", lambda: resume(device)),
        ("nccl", lambda: nccl(device)),
        ("sampling", lambda: sampling(device, depths[min(1, len(depths) - 1)])),
        ("training", lambda: training(device, depths, lambda: end - time.monotonic())),
    ]
    card = torch.cuda.get_device_name(device)
    memory = torch.cuda.get_device_properties(device).total_memory
    print(f"{card}, {memory / 2**30:.1f} GiB, {torch.cuda.device_count()} of them; torch {torch.__version__}")
    findings: list[Finding] = []
    for name, section in sections:
        if time.monotonic() > end:
            findings.append(Finding(name, "", None, "no time left (--minutes)"))
            continue
        try:
            for finding in section():
                findings.append(finding)
                _tell(finding)
        except Exception as error:  # one section that fails keeps none of the others
            findings.append(Finding(name, "", False, f"{type(error).__name__}: {_last_line(error)}"))
            _tell(findings[-1])
        torch.cuda.empty_cache()
    failed = [f for f in findings if f.ok is False]
    document = {
        "schema": 1,
        "card": card,
        "memory_bytes": memory,
        "gpus": torch.cuda.device_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "capability": list(torch.cuda.get_device_capability(device)),
        "findings": [asdict(f) for f in findings],
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    skipped = sum(f.ok is None for f in findings)
    print(f"{len(findings) - len(failed) - skipped} as planned, {len(failed)} not, {skipped} not measured; {given.out}")
    return NOT_AS_PLANNED if failed else DONE


def _last_line(error: BaseException) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _tell(finding: Finding) -> None:
    word = {True: "ok", False: "NOT", None: "-"}[finding.ok]
    print(f"{word:>4}  {finding.section:<9} {finding.name:<26} {finding.said}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
