"""What a pursuing study may choose from: each budget of each trial of its grid, and what it costs beside the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from var_scaling.errors import RequestProblem
from var_scaling.planning import flops
from var_scaling.planning.plan import Plan, new_images
from var_scaling.planning.pursuit import Pursue, asked
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig


@dataclass(frozen=True)
class Candidate:
    """One run that a round may choose: a budget of a trial.

    Attributes:
        trial: the trial's folder.
        images: spent, at the budget.
        params: trainable parameters.
        unit: training FLOPs an image.
        config: resolved.
    """

    trial: str
    images: int
    params: int
    unit: int
    config: TrialConfig

    @property
    def label(self) -> str:
        """Stable, unique within a study."""
        return f"{self.trial.rpartition('/')[2]} at {self.images}"


@dataclass(frozen=True)
class Question:
    """A study's `pursue` with what it may choose from.

    Attributes:
        pursue: as the file has it.
        candidates: in the order of the grid.
        params: of the model that is asked about.
        images: that it sees.
        flops: that its training takes: what asking it directly would cost.
    """

    pursue: Pursue
    candidates: tuple[Candidate, ...]
    params: int
    images: float
    flops: float

    def prices(self, made: Collection[str]) -> list[float]:
        """Training FLOPs of each candidate beside those of the labels `made`, whose trunks it shares."""
        rows: dict[str, list[int]] = {}
        for candidate in self.candidates:
            if candidate.label in made:
                rows.setdefault(candidate.trial, []).append(candidate.images)
        found = []
        for candidate in self.candidates:
            had = rows.get(candidate.trial, [])
            others = [images for images in had if images != candidate.images]
            images = new_images(candidate.config, [candidate.images], others)
            found.append(float(images * candidate.unit))
        return found


def question_of(plan: Plan, configs: Sequence[TrialConfig]) -> Question:
    """What a study pursues, laid out.

    Args:
        plan: of its whole grid.
        configs: its points, unresolved, with the recipe that it is launched with.

    Raises:
        RequestProblem: the model that is asked about cannot be.
    """
    pursue = plan.study.pursue
    assert pursue is not None
    try:
        stands_on = {name: getattr(plan.trials[0].config, name) for name in ("data", "tokenizer")}  # looked up already
        model = resolve(asked(configs[0].model_copy(update=stands_on), pursue.at)).model
    except (ValueError, RequestProblem) as error:
        raise RequestProblem(f"pursue.at: {error}") from None
    unit = flops.train_flops_per_image(model)
    images = float(pursue.at["images"]) if "images" in pursue.at else pursue.at["train_flops"] / unit
    candidates = tuple(
        Candidate(trial.work.folder, spent, flops.params_total(trial.config.model), _unit(trial.config), trial.config)
        for trial in plan.trials
        for spent in trial.spent
    )
    return Question(pursue, candidates, flops.params_total(model), images, images * unit)


def _unit(config: TrialConfig) -> int:
    return flops.train_flops_per_image(config.model)
