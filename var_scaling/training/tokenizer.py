"""Training of a tokenizer: encoder, bottleneck, decoder. What the bottleneck is, its kind knows (`tokenizers`).

Every random choice (order, flips, restarted codes, posterior samples) is addressed by (seed, images seen), so a run
that was stopped and resumed gives the same bits as one that was not.

Dimension key: B batch, 3 image channels (or 1), H height, W width, Z latent channels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.runs import layout, store
from var_scaling.runs.failures import Diverged
from var_scaling.tokenizers.autoencoder_config import AutoencoderTrainConfig, GanConfig, PerceptualConfig
from var_scaling.tokenizers.bottleneck import Judge, Make
from var_scaling.tokenizers.discriminator import build_critic
from var_scaling.tokenizers.losses import adaptive_weight, hinge_for_critic, perceptual_network, psnr
from var_scaling.training.device import threads_of_torch
from var_scaling.training.loop import resume, train
from var_scaling.training.optimizer import load_optimizer

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt

PHASE = "tokenizer"
JOURNAL_IMAGES = 1_280  # a line of the journal about this often
CHECKPOINT_SECONDS = 30.0
VALIDATION_IMAGES = 5_000  # at most, for the report
SCALE_IMAGES = 20_000  # at most, of the training set, for the scale of continuous latents


class ImageSource(Protocol):
    """What training needs of an image set (`data.images.Images` is one)."""

    def count(self, split: str) -> int:
        """Images of "train" or "validation"."""

    def batch(self, indices: Any, views: Any = 0, split: str = "train") -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]; view 0 is the plain one."""


class ArraySource:
    """An image source over two uint8 arrays (N, H, W, C)."""

    def __init__(self, train: Any, validation: Any) -> None:
        self.splits = {"train": np.asarray(train), "validation": np.asarray(validation)}

    def count(self, split: str) -> int:
        return len(self.splits[split])

    def batch(self, indices: Any, views: Any = 0, split: str = "train") -> Tensor:
        images_BHWC = torch.from_numpy(self.splits[split][np.asarray(indices)])
        return images_BHWC.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0).contiguous()


def train_tokenizer(
    config: Any,
    images: ImageSource | Any,
    *,
    attempt: Attempt,
    out: Path,
    device: torch.device | str = "cpu",
    threads: int = 1,
    make: Make,
) -> dict[str, Any]:
    """Trains a tokenizer and writes weights.safetensors and report.json into `out`.

    Args:
        config: of a kind of tokenizer, resolved.
        images: an `ImageSource`, or anything with uint8 arrays `train` and `validation` of shape (N, H, W, C).
        attempt: journal, checkpoints, stop flag; an earlier attempt's checkpoint is resumed.
        out: an existing folder.
        device: where it runs.
        threads: of torch, while it trains.
        make: the kind of tokenizer that the config is of.

    Returns:
        The report: PSNR (dB, mean over validation images), what the kind has to say (usage and perplexity of codes;
        scale of latents), the perceptual network used, images, seconds.

    Raises:
        Stopped: asked to stop; a checkpoint was saved at this step.
        Diverged: a loss is not finite.
    """
    source = images if hasattr(images, "batch") else ArraySource(images.train, images.validation)
    with threads_of_torch(threads):
        training = Training(config, source, torch.device(device), make)
        resume(training, attempt, PHASE)
        train(
            training,
            attempt,
            training.end,
            PHASE,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            progress=lambda: attempt.progress(training.images, training.end, "tokenizer images"),
        )
        return _finish(training, out)


def _batches(train: AutoencoderTrainConfig, source: ImageSource, images: int, end: int) -> Iterator[Tensor]:
    """The batches from `images` images seen on; where files have to be decoded, one batch ahead of the training."""
    starts = range(images, end, train.batch_size)
    if not hasattr(source, "workers"):
        yield from (_draw(train, source, start) for start in starts)
        return
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = None
        for start in starts:
            following = reader.submit(_draw, train, source, start)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _draw(train: AutoencoderTrainConfig, source: ImageSource, images: int) -> Tensor:
    """The batch that follows after `images` images."""
    items, _ = randomness.order(train.seed, source.count("train"), images, train.batch_size)
    batch_B3HW = source.batch(items)
    if train.flip:
        positions = np.arange(images, images + train.batch_size)
        flip_B = torch.from_numpy(randomness.uniform(train.seed, "tokenizer-flip", positions) < 0.5)
        batch_B3HW = torch.where(flip_B.view(-1, 1, 1, 1), batch_B3HW.flip(-1), batch_B3HW)
    return batch_B3HW


class Training:
    """A `loop.Trainee`."""

    def __init__(self, config: Any, source: ImageSource, device: torch.device, make: Make) -> None:
        self.config, self.source, self.device = config, source, device
        train = config.train
        self.end = math.ceil(train.images / train.batch_size) * train.batch_size
        self.model, self.bottleneck = make(config, device)
        self.optimizer = _adamw(self.model, train.betas, train.weight_decay)
        self.perceptual: nn.Module | None = None
        if isinstance(train.perceptual, PerceptualConfig):
            self.perceptual = perceptual_network(train.perceptual.network, config.image_channels).to(device)
        self.critic: nn.Module | None = None
        if isinstance(train.gan, GanConfig):
            gan = train.gan
            self.critic = build_critic(config.image_channels, gan.channels, gan.layers, train.seed + 1).to(device)
            self.critic_optimizer = _adamw(self.critic, gan.betas, 0.0)
        self.images, self.seconds = 0, 0.0
        self._open_window()

    def batches(self, until: int) -> Iterator[Tensor]:
        """Images (B, 3, H, W) in [-1, 1], a batch a step."""
        return _batches(self.config.train, self.source, self.images, until)

    def line_due(self, until: int) -> bool:
        """About every `JOURNAL_IMAGES`."""
        size = self.config.train.batch_size
        return self.images % (max(1, JOURNAL_IMAGES // size) * size) == 0 or self.images >= until

    def step(self, batch: Tensor) -> None:
        """One optimizer step of the tokenizer, and one of the critic where it has set in."""
        train, model = self.config.train, self.model
        batch_B3HW = batch.to(self.device)
        if self.images == 0:
            self.bottleneck.start(torch.no_grad()(lambda: self._features(batch_B3HW)))
        squeezed = self.bottleneck(self._features(batch_B3HW), self.images)
        with self._autocast():
            ours_B3HW = model.decode_picture(squeezed.picture_BZhw)
        ours_B3HW = ours_B3HW.float()
        losses = self._reconstruction_losses(ours_B3HW, batch_B3HW)
        losses |= squeezed.losses
        total = torch.stack(list(losses.values())).sum()
        if self.critic is not None and self.images >= train.gan.start * self.end:
            losses |= self._against_critic(total - sum(squeezed.losses.values()), ours_B3HW)
            total = total + losses["gan"]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if train.gradient_clip != "off":
            norm = nn.utils.clip_grad_norm_(model.parameters(), train.gradient_clip)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        rate = learning_rate(train, self.images, self.end)
        _set_rate(self.optimizer, train.learning_rate * rate)
        self.optimizer.step()
        if "gan" in losses:
            losses["critic"] = self._train_critic(ours_B3HW.detach(), batch_B3HW, rate)
        self.images += len(batch_B3HW)
        self.bottleneck.after(squeezed, self.images, len(batch_B3HW))
        self._measure(losses, norm, ours_B3HW, batch_B3HW)

    def _features(self, batch_B3HW: Tensor) -> Tensor:
        with self._autocast():
            return self.model.features(batch_B3HW).float()

    def _reconstruction_losses(self, ours_B3HW: Tensor, truth_B3HW: Tensor) -> dict[str, Tensor]:
        train, losses = self.config.train, {}
        if train.l1:
            losses["l1"] = train.l1 * F.l1_loss(ours_B3HW, truth_B3HW)
        if train.l2:
            losses["l2"] = train.l2 * F.mse_loss(ours_B3HW, truth_B3HW)
        if self.perceptual is not None:
            losses["perceptual"] = train.perceptual.weight * self.perceptual(ours_B3HW, truth_B3HW)
        return losses

    def _against_critic(self, others: Tensor, ours_B3HW: Tensor) -> dict[str, Tensor]:
        self.critic.requires_grad_(False)
        loss = -self.critic(ours_B3HW).mean()
        scale = adaptive_weight(others, loss, self.model.decoder.conv_out.weight)
        return {"gan": self.config.train.gan.weight * scale * loss}

    def _train_critic(self, ours_B3HW: Tensor, truth_B3HW: Tensor, rate: float) -> Tensor:
        self.critic.requires_grad_(True)
        real, fake = self.critic(torch.cat((truth_B3HW, ours_B3HW))).chunk(2)
        loss = hinge_for_critic(real, fake)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _set_rate(self.critic_optimizer, self.config.train.gan.learning_rate * rate)
        self.critic_optimizer.step()
        return loss

    def _autocast(self) -> torch.autocast:
        half = self.config.train.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half)

    # Sums since the last journal line; part of the state, so that a resumed run writes the same lines.

    def _open_window(self) -> None:
        self.window: dict[str, Tensor] = {}
        self.window_images = 0
        self.first_bad = torch.zeros((), dtype=torch.int64, device=self.device)  # step of the first loss not finite
        self.bottleneck.open_window()

    @torch.no_grad()
    def _measure(self, losses: dict[str, Tensor], norm: Tensor, ours_B3HW: Tensor, truth_B3HW: Tensor) -> None:
        count = len(truth_B3HW)
        values = {**losses, "gradient_norm": norm, "psnr": psnr(ours_B3HW, truth_B3HW).mean()}
        for name, value in values.items():
            before = self.window.get(name, torch.zeros(2, dtype=torch.float64, device=self.device))
            value = value.detach().double()
            self.window[name] = before + torch.stack((value, torch.ones_like(value))) * count
        step, finite = (
            self.images // count,
            torch.stack([v.detach() for v in (*losses.values(), norm)]).isfinite().all(),
        )
        self.first_bad = torch.where(finite | (self.first_bad > 0), self.first_bad, step)
        self.window_images += count

    def close_window(self, opened: float) -> dict[str, float]:
        """Means since the last call, by name; loss terms carry their weights.

        Raises:
            Diverged: one of them is not finite.
        """
        means = {name: float(total / weight) for name, (total, weight) in self.window.items()}
        if self.first_bad > 0:
            bad = [name for name, value in means.items() if not math.isfinite(value)]
            raise Diverged(f"the tokenizer's {', '.join(bad)} are not finite", step=int(self.first_bad))
        measured = {f"train/{name}": value for name, value in means.items()}
        measured["train/learning_rate"] = self.optimizer.param_groups[0]["lr"]
        measured |= self.bottleneck.measured()
        measured["train/images_per_second"] = self.window_images / (time.perf_counter() - opened)
        self._open_window()
        return measured

    def state_dict(self) -> dict[str, Any]:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **self.bottleneck.state_dict(),
            "images": self.images,
            "seconds": self.seconds,
            "window": self.window,
            "window_images": self.window_images,
            "first_bad": self.first_bad,
        }
        if self.critic is not None:
            state |= {"critic": self.critic.state_dict(), "critic_optimizer": self.critic_optimizer.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.bottleneck.load_state_dict(state)
        self.images, self.seconds = state["images"], state["seconds"]
        self.window = {name: value.to(self.device) for name, value in state["window"].items()}
        self.window_images = state["window_images"]
        self.first_bad = state["first_bad"].to(self.device)
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
            load_optimizer(self.critic_optimizer, state["critic_optimizer"])


def learning_rate(train: AutoencoderTrainConfig, images: int, end: int) -> float:
    """Share of the peak for the step that starts at `images`: linear warm-up, then a cosine to the final share."""
    if images < train.warmup_images:
        return (images + train.batch_size) / (train.warmup_images + train.batch_size)
    share = (images - train.warmup_images) / max(end - train.warmup_images, 1)
    return train.final_learning_rate + (1 - train.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * share))


def _adamw(model: nn.Module, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """Biases, norms and codes do not decay."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decays = [p for name, p in named if p.ndim > 1 and "embedding" not in name]
    rest = [p for name, p in named if p.ndim <= 1 or "embedding" in name]
    groups = [{"params": decays, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def evaluate_reconstruction(judge: Judge, source: ImageSource, device: torch.device | str = "cpu") -> dict[str, Any]:
    """PSNR on the validation images (at most `VALIDATION_IMAGES`, the first ones), and what the kind has to say."""
    count = min(source.count("validation"), VALIDATION_IMAGES)
    values = []
    for rows in _chunks(count, 250):
        truth_B3HW = source.batch(rows, split="validation").to(device)
        values.append(psnr(judge(truth_B3HW), truth_B3HW))
    return {"psnr": float(torch.cat(values).double().mean()), "validation_images": count, **judge.report()}


def _finish(training: Training, out: Path) -> dict[str, Any]:
    model, perceptual, source = training.model.eval(), training.config.train.perceptual, training.source
    plain = _chunks(min(source.count("train"), SCALE_IMAGES), 250)
    training.bottleneck.finish(source.batch(rows).to(training.device) for rows in plain)
    report = {
        **evaluate_reconstruction(training.bottleneck.judge(), source, training.device),
        "perceptual_network": perceptual.network if isinstance(perceptual, PerceptualConfig) else "off",
        "images": training.images,
        "seconds": training.seconds,
        "images_per_second": training.images / training.seconds,
    }
    store.write_weights(layout.weights(out), model.state_dict())
    store.write_json(layout.report(out), report)
    return report


def _chunks(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
