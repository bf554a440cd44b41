"""Gaussian diffusion: latents noised by a fixed schedule, losses of what a model makes of them, and samplers.

The schedule is the published one (1,000 steps, variances 1e-4 to 0.02 in even steps), all of it in float64 and rounded
once. Respacing takes fewer steps of it for sampling: the model still reads the times of the full schedule.

Formulas: Ho et al. 2020 (arXiv:2006.11239), learned variances Nichol and Dhariwal 2021 (arXiv:2102.09672), DDIM Song et
al. 2021 (arXiv:2010.02502), velocity Salimans and Ho 2022 (arXiv:2202.00512).

Dimension key: B batch, C latent channels, O output channels = C or 2 C, H = W side of the latent, S steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from var_scaling.families.dit.config import TIMESTEPS, Target

Model = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_BCHW, t_B, labels_B) -> (B, O, H, W)
Method = Literal["ancestral", "ddim"]

FIRST_VARIANCE, LAST_VARIANCE = 1e-4, 0.02
BIN, EDGE = 1 / 255, 0.999  # half a bin of an 8-bit value in [-1, 1]; beyond the edges a bin has no other side
SMALLEST_PROBABILITY = 1e-12


def respaced_timesteps(respacing: str | None) -> tuple[int, ...]:
    """The times of the full schedule that are kept, ascending.

    Args:
        respacing: None for all; "8": so many, evenly spaced from the first to the last; "10,15,20": the schedule in so
            many equal sections, each with its own number; "300,10,15,20": the same of the first 300 times alone (that
            is what a first number means that fits into no section); "ddim8": every n-th from 0 on, n the smallest that
            gives 8.

    Raises:
        ValueError: not one of these forms, or more steps than there are.
    """
    if respacing is None:
        return tuple(range(TIMESTEPS))
    forms = (
        '"250" (evenly spaced), "ddim50" (a fixed stride), "10,15,20" (sections) or "300,10,15,20" (of the first 300)'
    )
    number = str(respacing).strip()
    strided = number.startswith("ddim")
    try:
        counts = [int(part) for part in number.removeprefix("ddim").split(",")]
    except ValueError:
        raise ValueError(f"respacing {respacing!r} is not understood; give {forms}, or None for all steps") from None
    if min(counts) < 1 or (strided and len(counts) > 1):
        raise ValueError(f"respacing {respacing!r} must name at least one step a section; give {forms}")
    if strided:
        for stride in range(1, TIMESTEPS + 1):
            if len(range(0, TIMESTEPS, stride)) == counts[0]:
                return tuple(range(0, TIMESTEPS, stride))
        raise ValueError(
            f"respacing {respacing!r}: no stride gives {counts[0]} of {TIMESTEPS} steps; take a number like 10, 50, 250"
        )
    total = TIMESTEPS
    if len(counts) > 1 and _section(total, 0, len(counts)) < counts[0] <= TIMESTEPS:
        total, *counts = counts
    kept, start = [], 0
    for section, count in enumerate(counts):
        length = _section(total, section, len(counts))
        if count > length:
            raise ValueError(f"respacing {respacing!r} asks for {count} steps of a section of {length}; take fewer")
        gap, place = (length - 1) / (count - 1) if count > 1 else 1.0, 0.0
        for _ in range(count):  # a running sum, rounded half to even: what the published positions come from
            kept.append(start + round(place))
            place += gap
        start += length
    return tuple(kept)


def _section(total: int, section: int, sections: int) -> int:
    """Times of one of several sections; the first ones are longer where they cannot be equal."""
    return total // sections + (section < total % sections)


@dataclass(frozen=True)
class Prediction:
    """What a model says about the step before: a normal of this mean and variance, and the clean latent, (B, C, H, W).

    Without learned variances, variance and its logarithm are the same in all places and broadcast.
    """

    mean: Tensor
    log_variance: Tensor | float
    x_start: Tensor

    @property
    def variance(self) -> Tensor | float:
        """Not its logarithm."""
        if isinstance(self.log_variance, Tensor):
            return self.log_variance.exp()
        return math.exp(self.log_variance)


class GaussianDiffusion:
    """See the head of this file. Times `t` are places in `timesteps`; without respacing the two are the same.

    Args:
        respacing: see `respaced_timesteps`.
        target: what the model's first C channels are: the noise, or the velocity sqrt(a) noise - sqrt(1 - a) x_start,
            where a is the share of the clean latent's variance that is left.
    """

    def __init__(self, respacing: str | None = None, target: Target = "noise"):
        if target not in ("noise", "velocity"):
            raise ValueError(f"target {target!r} is unknown; take noise or velocity")
        self.target = target
        self._tables: dict[tuple[str, torch.device], Tensor] = {}
        self.timesteps = respaced_timesteps(respacing)
        full = np.cumprod(1.0 - np.linspace(FIRST_VARIANCE, LAST_VARIANCE, TIMESTEPS, dtype=np.float64))
        left = full[list(self.timesteps)]
        before = np.append(1.0, left[:-1])
        self.alphas_cumprod, self.alphas_cumprod_before = left, before
        self.betas = 1.0 - left / before
        variance = self.betas * (1.0 - before) / (1.0 - left)  # of the step before, given both ends
        first = variance[1] if len(left) > 1 else self.betas[0]  # in place of a zero, which has no logarithm
        self.posterior_variance = variance
        self.posterior_log_variance = np.log(np.append(first, variance[1:]))
        self.fixed_log_variance = np.log(np.append(first, self.betas[1:]))  # of models that do not learn it
        self.log_betas = np.log(self.betas)
        self.posterior_of_start = self.betas * np.sqrt(before) / (1.0 - left)
        self.posterior_of_noisy = (1.0 - before) * np.sqrt(1.0 - self.betas) / (1.0 - left)
        self.signal, self.noise_share = np.sqrt(left), np.sqrt(1.0 - left)
        self.inverse_signal, self.noise_over_signal = np.sqrt(1.0 / left), np.sqrt(1.0 / left - 1.0)

    def __len__(self) -> int:
        """Steps."""
        return len(self.timesteps)

    # Latents and what they hold

    def q_sample(self, x_start: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """Latents (B, C, H, W) noised up to times `t` (B)."""
        return self._at("signal", t, x_start) * x_start + self._at("noise_share", t, x_start) * noise

    def posterior_mean(self, x_start: Tensor, x_t: Tensor, t: Tensor | int) -> Tensor:
        """Mean of the step before, given the clean latent and the noisy one."""
        return self._at("posterior_of_start", t, x_t) * x_start + self._at("posterior_of_noisy", t, x_t) * x_t

    def truth(self, x_start: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """What a perfect model's first C channels would be."""
        if self.target == "noise":
            return noise
        return self._at("signal", t, noise) * noise - self._at("noise_share", t, noise) * x_start

    def predict(self, output_BOHW: Tensor, x_t: Tensor, t: Tensor | int, clip: bool = False) -> Prediction:
        """A model's output as a distribution over the step before.

        Args:
            output_BOHW: (B, O, H, W): C channels of the target, then C variance values where O is 2 C.
            x_t: (B, C, H, W), what the model read.
            t: (B) places in the schedule, or one for all.
            clip: the clean latent into [-1, 1].
        """
        channels = x_t.shape[1]
        target = output_BOHW[:, :channels]
        if self.target == "noise":
            x_start = self._at("inverse_signal", t, x_t) * x_t - self._at("noise_over_signal", t, x_t) * target
        else:
            x_start = self._at("signal", t, x_t) * x_t - self._at("noise_share", t, x_t) * target
        if clip:
            x_start = x_start.clamp(-1, 1)
        log_variance: Tensor | float
        if output_BOHW.shape[1] == channels:
            log_variance = self._at("fixed_log_variance", t, x_t)
        else:  # between the two bounds that fit a step of no and of all information
            share = (output_BOHW[:, channels:] + 1) / 2
            smallest, largest = self._at("posterior_log_variance", t, x_t), self._at("log_betas", t, x_t)
            log_variance = share * largest + (1 - share) * smallest
        return Prediction(self.posterior_mean(x_start, x_t, t), log_variance, x_start)

    # Training

    def training_losses(
        self, dit: Model, x_start: Tensor, t: Tensor, noise: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Losses of one noised copy of each latent.

        Args:
            dit: called as dit(x_BCHW, t_B, labels_B).
            x_start: (B, C, H, W) clean latents.
            t: (B) int64 places in the schedule, 0 .. len - 1.
            noise: (B, C, H, W) unit normal.
            labels: (B) int64; the caller has dropped those that are dropped.

        Returns:
            "loss", "mse" and, where variances are learned, "vb": (B) each, means over the numbers of a latent. mse: of
            the target. vb: the variational bound's term at t in bits, which teaches the variances only (the mean is
            detached). loss: their sum.
        """
        x_t = self.q_sample(x_start, t, noise)
        return self.losses_of(dit(x_t, self.times(t.device)[t], labels), x_start, x_t, t, noise)

    def losses_of(self, output: Tensor, x_start: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """The losses of a model's output for x_t: see `training_losses`."""
        channels = x_t.shape[1]
        target = output[:, :channels]
        mse = (self.truth(x_start, noise, t) - target).square().flatten(1).mean(1)
        if output.shape[1] == channels:
            return {"loss": mse, "mse": mse}
        vb = self._bound(torch.cat((target.detach(), output[:, channels:]), dim=1), x_start, x_t, t)
        return {"loss": mse + vb, "mse": mse, "vb": vb}

    def _bound(self, output: Tensor, x_start: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """(B) bits: divergence of the model's step from the true one; at t = 0, the cost of the latent itself."""
        ours = self.predict(output, x_t, t)
        true_mean = self.posterior_mean(x_start, x_t, t)
        true_log_variance = self._at("posterior_log_variance", t, x_t)
        difference = true_log_variance - ours.log_variance
        distance = (true_mean - ours.mean).square() * torch.exp(-ours.log_variance)
        divergence = 0.5 * (difference.exp() - difference - 1 + distance)
        cost = -_binned_log_probability(x_start, ours.mean, 0.5 * ours.log_variance)
        bits = torch.where(t == 0, cost.flatten(1).mean(1), divergence.flatten(1).mean(1))
        return bits / math.log(2.0)

    # Sampling

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        x_T: Tensor,
        labels: Tensor,
        method: Method = "ancestral",
        eta: float = 0.0,
        clip: bool = False,
        noise: Tensor | Iterable[Tensor] | None = None,
        generator: torch.Generator | None = None,
        known: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Latents drawn from noise.

        Args:
            model: called as model(x_BCHW, t_B, labels_B); guided: `functools.partial(dit.guided, scale=1.5)`.
            x_T: (B, C, H, W) unit normal.
            labels: (B) int64 class ids.
            method: "ancestral": each step drawn from the model's own distribution. "ddim": straight to the clean latent
                and back to the next time, as noisy as `eta` says.
            eta: of ddim; 0 is deterministic.
            clip: every prediction of the clean latent into [-1, 1].
            noise: (S, B, C, H, W) unit normal in call order, or one (B, C, H, W) after the other; drawn from
                `generator` when None.
            generator: None uses torch's global one.
            known: (B, C, H, W) clean latents of which a part is to be kept (in-painting).
            mask: (1 or B, 1 or C, H, W): 1 where `known` is kept, 0 where it is drawn anew.

        Returns:
            (B, C, H, W).

        Raises:
            ValueError: an unknown method, or noise of another shape.
        """
        x = x_T
        for x in self.trajectory(model, x_T, labels, method, eta, clip, noise, generator, known, mask):  # noqa: B007
            pass
        return x

    @torch.no_grad()
    def trajectory(
        self,
        model: Model,
        x_T: Tensor,
        labels: Tensor,
        method: Method = "ancestral",
        eta: float = 0.0,
        clip: bool = False,
        noise: Tensor | Iterable[Tensor] | None = None,
        generator: torch.Generator | None = None,
        known: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """The latents after each step, largest time first; arguments as `sample`."""
        if method not in ("ancestral", "ddim"):
            raise ValueError(f"method {method!r} is unknown; take ancestral or ddim")
        if (known is None) != (mask is None):
            raise ValueError("in-painting needs both: known, the latents, and mask, 1 where they are kept")
        steps, times = len(self), self.times(x_T.device)
        drawn = self._noise(noise, x_T, generator)
        x = x_T
        if known is not None:
            x = self._keep(known, mask, x, x_T, steps)
        for place in range(steps - 1, -1, -1):
            ours = self.predict(model(x, times[place].expand(len(x)), labels), x, place, clip)
            if method == "ancestral":
                fresh = next(drawn)  # one a step, the unused last one included: that is the published call order
                x = ours.mean
                if place:
                    x = x + _half_exp(ours.log_variance) * fresh
            else:
                x = self._ddim(ours.x_start, x, place, eta, drawn)
            if known is not None:
                x = self._keep(known, mask, x, x_T, place)
            yield x

    def _ddim(self, x_start: Tensor, x: Tensor, place: int, eta: float, drawn: Iterator[Tensor]) -> Tensor:
        left, before = self.alphas_cumprod[place], self.alphas_cumprod_before[place]
        noise = (self.inverse_signal[place] * x - x_start) / self.noise_over_signal[place]
        sigma = eta * math.sqrt((1 - before) / (1 - left)) * math.sqrt(1 - left / before)
        x = math.sqrt(before) * x_start + math.sqrt(1 - before - sigma**2) * noise
        return x + sigma * next(drawn) if eta else x

    def _keep(self, known: Tensor, mask: Tensor | None, x: Tensor, noise: Tensor, steps_left: int) -> Tensor:
        """The known part put back, as noisy as `steps_left` more steps want it, with one noise all the way."""
        assert mask is not None
        noisy = known if steps_left == 0 else self.q_sample(known, steps_left - 1, noise)
        return torch.where(mask > 0, noisy, x)

    def _noise(
        self, noise: Tensor | Iterable[Tensor] | None, x_T: Tensor, generator: torch.Generator | None
    ) -> Iterator[Tensor]:
        if noise is not None:
            expected = (len(self), *x_T.shape)
            if isinstance(noise, Tensor) and tuple(noise.shape) != expected:
                raise ValueError(f"noise has shape {tuple(noise.shape)}; give (steps, *x_T.shape) = {expected}")
            return iter(noise)
        device = x_T.device if generator is None else generator.device

        def draw() -> Tensor:
            return torch.randn(x_T.shape, generator=generator, device=device, dtype=x_T.dtype).to(x_T.device)

        return (draw() for _ in range(len(self)))

    def times(self, device: torch.device) -> Tensor:
        """(S) int64: the times that the model reads, ascending."""
        return self._table("timesteps", device)

    def _at(self, name: str, t: Tensor | int, like: Tensor) -> Tensor | float:
        """The schedule's values at times, to be multiplied with latents: (B, 1, 1, 1) float32, or one number."""
        if isinstance(t, int):
            return float(getattr(self, name)[t])
        return self._table(name, t.device)[t].view(-1, *[1] * (like.ndim - 1))

    def _table(self, name: str, device: torch.device) -> Tensor:
        """An array of the schedule on a device, rounded to float32, moved there once."""
        if (name, device) not in self._tables:
            values = torch.as_tensor(getattr(self, name), device=device)
            self._tables[name, device] = values.float() if values.is_floating_point() else values
        return self._tables[name, device]


def _half_exp(log_variance: Tensor | float) -> Tensor | float:
    """The standard deviation."""
    return torch.exp(0.5 * log_variance) if isinstance(log_variance, Tensor) else math.exp(0.5 * log_variance)


def _binned_log_probability(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log probability of the 8-bit bin around x under a normal, its distribution function in the tanh approximation.

    Latents are neither of 8 bits nor within [-1, 1]; the published loss treats them so.
    """
    centred, inverse_std = x - mean, torch.exp(-log_std)
    upper, lower = _normal_cdf(inverse_std * (centred + BIN)), _normal_cdf(inverse_std * (centred - BIN))
    probability = torch.where(x < -EDGE, upper, torch.where(x > EDGE, 1 - lower, upper - lower))
    return probability.clamp(min=SMALLEST_PROBABILITY).log()


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
