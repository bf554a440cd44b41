"""How often 95 % intervals cover, by simulation on VAR-like designs.

    python benchmarks/laws_coverage.py > coverage.txt                    # 1,000 studies a design
    python benchmarks/laws_coverage.py --studies 200 --only "6 depths"
    python benchmarks/laws_coverage.py --bias --studies 10000            # exponents alone, 12 depths, noise 0.2 to 1 %

Noise is multiplicative, falls from 1 % at the smallest depth to 0.2 % at the largest, and a trial's budgets share
half of its variance (they share a trunk). Compute and loss move with the budget, so in "compute" and "FID given loss"
one run has rows at several x, and is the cluster; FID's noise is three times, an error rate's a third of, a loss's.
`lack` adds a deviation a depth that no seed averages away. A covered share
of 95 % has a simulation error of 0.7 percentage points at 1,000 studies.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np

import analysis

LADDERS = {
    4: (2, 3, 4, 5),
    5: (2, 3, 4, 5, 6),
    6: (2, 3, 4, 5, 6, 8),
    8: (6, 8, 10, 12, 16, 20, 24, 30),
    12: (6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 30),
}
SHARED = 0.5  # of the noise variance is common to a trial's budgets


@dataclass(frozen=True)
class Design:
    """One simulated study."""

    form: str
    depths: int
    seeds: int
    budgets: int = 1
    lack: float = 0.0
    delta: float = np.inf
    even: float = 0.0  # the same noise at every depth; 0: from 1 % at the smallest to 0.2 % at the largest
    bare: bool = False  # no floor in truth, one fitted

    @property
    def name(self) -> str:
        """For the table."""
        budgets = f" x {self.budgets} budgets" if self.budgets > 1 else ""
        lack = f", lack of fit {100 * self.lack:g} %" if self.lack else ""
        even = f", noise {100 * self.even:g} % everywhere" if self.even else ""
        huber = f", Huber {self.delta:g}" if np.isfinite(self.delta) else ""
        bare = ", no floor" if self.bare else ""
        return f"{self.form}: {self.depths} depths{budgets} x {self.seeds} seeds{lack}{even}{huber}{bare}"


DESIGNS = [
    *(Design("power", depths, seeds) for depths, seeds in ((5, 1), (6, 1), (6, 3), (8, 2), (12, 1), (12, 3))),
    *(Design("power", depths, seeds, even=0.005) for depths, seeds in ((6, 1), (12, 3))),
    *(
        Design("power + offset", depths, seeds)
        for depths, seeds in ((4, 1), (5, 1), (6, 1), (6, 3), (8, 2), (12, 1), (12, 3))
    ),
    *(Design("power + offset", depths, seeds, even=0.005) for depths, seeds in ((6, 1), (12, 3))),
    Design("power + offset", 12, 3, lack=0.001),
    *(Design("power + offset", depths, seeds, bare=True) for depths, seeds in ((6, 1), (12, 1), (12, 3))),
    *(Design("power + offset", depths, 1, even=0.005, bare=True) for depths in (6, 12)),
    Design("chinchilla", 6, 1, 4),
    Design("chinchilla", 6, 1, 4, even=0.005),
    Design("chinchilla", 6, 2, 3),
    Design("chinchilla", 8, 1, 4),
    Design("chinchilla", 12, 1, 4),
    Design("chinchilla", 12, 1, 4, even=0.005),
    Design("chinchilla", 12, 3, 3),
    Design("chinchilla", 12, 3, 3, lack=0.001),
    *(Design("chinchilla", depths, seeds, 4, bare=True) for depths, seeds in ((6, 2), (12, 1))),
    *(Design("chinchilla", depths, seeds, budgets, delta=1e-3) for depths, seeds, budgets in ((6, 2, 3), (12, 1, 4))),
    Design("tied", 5, 1, 2),
    Design("tied", 6, 2, 3),
    Design("tied", 12, 1, 4),
    *(Design("tied", depths, seeds, 4, bare=True) for depths, seeds in ((6, 2), (12, 1))),
    *(Design("compute", depths, seeds, 3) for depths, seeds in ((6, 1), (6, 3), (12, 1))),
    *(Design("saturating", depths, seeds) for depths, seeds in ((6, 1), (6, 3), (12, 1))),
    *(Design("saturating", depths, 1, bare=True) for depths in (6, 12)),
    *(Design("FID given loss", depths, seeds, 3) for depths, seeds in ((6, 1), (6, 3), (12, 1))),
    *(Design("FID given loss", depths, 1, 3, bare=True) for depths in (6, 12)),
]


def parameters_of(depth: int) -> float:
    """Block parameters of a VAR with 64 channels a head, in millions (Tian et al. 2024, Eq. 8)."""
    return 73728 * depth**3 / 1e6


def simulate(design: Design, rng: np.random.Generator) -> tuple[dict, object, float]:
    """Truths, the fitted law, and a new run's true log value with its noise at twice the largest size."""
    depths = np.array(LADDERS[design.depths])
    sizes = np.array([parameters_of(depth) for depth in depths])
    spread = np.full(len(depths), design.even) if design.even else np.geomspace(0.01, 0.002, len(depths))
    lack = rng.normal(size=len(depths)) * design.lack
    budgets = np.array([200.0, 400, 800, 1600, 3200])[: design.budgets]
    rows = [(d, s, b) for d in range(len(depths)) for s in range(design.seeds) for b in range(design.budgets)]
    depth, seed, budget = np.array(rows).T
    run = depth * design.seeds + seed
    luck = rng.normal(size=run.max() + 1)[run] * np.sqrt(SHARED) + rng.normal(size=len(run)) * np.sqrt(1 - SHARED)
    noise = spread[depth] * luck + lack[depth]
    x, images = sizes[depth], budgets[budget]
    if design.form in ("power", "power + offset"):
        truth = {"E": 0.0 if design.bare or design.form == "power" else 4.5, "alpha": -0.23, "beta": 2e-3}

        def mean(x, _images):
            return truth["E"] + (truth["beta"] * x) ** truth["alpha"]

        y = mean(x, images) * np.exp(noise)
        law = analysis.fit_power_law(x, y, "none" if design.form == "power" else "fit", run)
        inputs = (2 * sizes[-1],)
    elif design.form == "compute":
        truth, x = {"E": 3.0, "alpha": -0.2}, x * images / budgets[0]

        def mean(x, _images):
            return 3.0 + (2e-2 * x) ** -0.2

        law = analysis.fit_power_law(x, mean(x, images) * np.exp(noise), "fit", run)
        inputs = (2 * x.max(),)
    elif design.form == "saturating":
        floor = 0.0 if design.bare else 0.7
        truth = {"floor": floor, "alpha": -0.4}

        def mean(x, _images):
            return floor + (1 - floor) / (1 + (2e-2 * x) ** 0.4)

        law = analysis.fit_saturating(x, mean(x, images) * np.exp(noise / 3), 1.0, run)
        inputs = (2 * x.max(),)
    elif design.form == "FID given loss":
        floor = 0.0 if design.bare else 2.0
        truth, x = {"floor": floor, "rate": 1.5}, 3.0 + 2.5 / x**0.3 + 9 / images**0.35

        def mean(x, _images):
            return floor + 0.05 * np.exp(1.5 * x)

        law = analysis.fit_fid_given_loss(x, mean(x, images) * np.exp(3 * noise), run)
        inputs = (3.0 + 0.9 * (x.min() - 3.0),)
    else:
        beta = 0.35 if design.form == "chinchilla" else 0.3
        alpha = 0.3
        floor = 0.0 if design.bare else 3.0
        truth = {"E": floor, "alpha": alpha, "beta": beta, "a_opt": beta / (alpha + beta)}
        if design.form == "tied":
            truth = {"E": floor, "eta": 0.15}

        def mean(x, images):
            return floor + 2.5 / x**alpha + 9 / images**beta

        y = mean(x, images) * np.exp(noise)
        if design.form == "tied":
            law = analysis.fit_tied(x, images, y, run)
        else:
            law = analysis.fit_chinchilla(x, images, y, design.delta, run)
        inputs = (2 * sizes[-1], budgets[-1])
    truth["law at 2 N"] = float(np.log(mean(*inputs, *([None] if len(inputs) == 1 else []))))
    return truth, law, inputs


BIAS_DESIGNS = [
    Design(form, 12, seeds, even=even)
    for form in ("power", "power + offset")
    for even in (0.002, 0.005, 0.01, 0.0)
    for seeds in (1, 3)
]


def measure_bias(design: Design, studies: int, seed: int) -> tuple[float, float, float, float, int]:
    """Of the exponent over its value: bias of the median, of the mean, their simulation error, spread; refusals."""
    rng = np.random.default_rng(seed)
    errors, refused = [], 0
    for _ in range(studies):
        try:
            truth, law, _ = simulate(design, rng)
            errors.append(law.coefficients["alpha"] / truth["alpha"] - 1)
        except analysis.CannotFit:
            refused += 1
    found = np.array(errors)
    spread = float(np.diff(np.quantile(found, [0.1587, 0.8413]))[0] / 2)
    return float(np.median(found)), float(found.mean()), spread / np.sqrt(len(found)), spread, refused


def measure(design: Design, studies: int, resamples: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Quantity -> (covered share, median width, relative bias of the median)."""
    rng = np.random.default_rng(seed)
    covered: dict[str, list] = {}
    refused: dict[str, int] = {}
    for _ in range(studies):
        try:
            truth, law, inputs = simulate(design, rng)
            law = replace(law, resamples=resamples)
            for name, true in truth.items():
                if name == "law at 2 N":
                    low, high = (float(np.log(value[0])) for value in law.mean_interval(*inputs))
                    estimate = float(np.log(law.predict(*inputs)[0]))
                else:
                    low, high = law.interval(name)
                    estimate = law.coefficients.get(name, np.median([low, high]))
                    if low == high:
                        continue
                error = estimate / true - 1 if true else 0.0
                covered.setdefault(name, []).append((low <= true <= high, high - low, error))
        except analysis.CannotFit as refusal:
            refused[refusal.code] = refused.get(refusal.code, 0) + 1
    result = {}
    for name, values in covered.items():
        hits, widths, errors = np.array(values, float).T
        result[name] = (float(hits.mean()), float(np.median(widths)), float(np.median(errors)))
    result["refused"] = (sum(refused.values()) / studies, 0.0, 0.0)
    return result


def main() -> None:
    """Print one line a design and quantity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=399)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--bias", action="store_true")
    arguments = parser.parse_args()
    if arguments.bias:
        for design in BIAS_DESIGNS:
            if arguments.only in design.name:
                *shares, refused = measure_bias(design, arguments.studies, arguments.seed)
                median, mean, error, spread = (100 * share for share in shares)
                print(
                    f"{design.name}: median {median:+.2f} %, mean {mean:+.2f} % (each +- {error:.2f}), "
                    f"spread of one study {spread:.1f} %, refused {refused}",
                    flush=True,
                )
        return
    print(f"{arguments.studies} studies, {arguments.resamples} resamples each")
    for design in DESIGNS:
        if arguments.only not in design.name:
            continue
        began = time.perf_counter()
        result = measure(design, arguments.studies, arguments.resamples, arguments.seed)
        cells = "  ".join(
            f"{name} {100 * hit:.1f} % (bias {100 * bias:+.1f} %, width {width:.3g})"
            for name, (hit, width, bias) in result.items()
            if name != "refused"
        )
        refused = 100 * result["refused"][0]
        print(f"{design.name}: {cells}; refused {refused:.1f} %; {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
