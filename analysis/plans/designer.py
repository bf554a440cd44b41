"""Which run next: ask and tell, from no run at all to the last one that a sum pays for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.engine.belief import Points
from analysis.errors import BadRequest
from analysis.laws.coupled import fit_coupled
from analysis.laws.parametric import fit_chinchilla
from analysis.laws.power import fit_power_law
from analysis.laws.repeated import fit_repeated
from analysis.laws.tied import fit_tied
from analysis.plans.asked import costs, group_names, known_forms
from analysis.plans.mixture import Group, Mixture, mixture_of, quantile
from analysis.plans.shapes import coordinates, reach_of
from analysis.plans.walk import Walk

# A plan for a sum takes the run that takes most off the variance, over its cost to one of these powers; the plan that
# leaves least of it wins. Over the cost alone it would buy every cheap run there is (farseer at 1 %: R2 0.46 on three
# starts, 0.85 by plans); never over it, the one dearest run.
GREEDS = (0.0, 0.25, 0.5, 0.75, 1.0)
LONGEST_PLAN = 64
AHEAD = 3.0  # a question that names no sum plans for this many times what was spent,
FIRST_RUNS = 8  # and for at least as many of the cheapest runs


class Designer:
    """Picks the runs that tell most about the loss at a target for what they cost, one after the other.

    Every form is believed in with a weak prior, its misfit and the runs' noise learnt from what was told (see
    :mod:`analysis.engine.belief`); forms are weighed by the evidence, so that a run is also worth what it tells about
    which form holds. What is made small is the mean variance of log loss over the target, not the volume of all
    coefficients. A sum is planned as a whole; the cheapest run of the plan comes first, and the rest is planned anew
    with what it told.

    Args:
        candidates: one row a run that may be made, by label: ``params`` and ``data`` (seen), or ``unique`` and
            ``epochs`` where data repeat; the form "power" needs ``params`` alone. Seeds are rows of equal numbers.
        cost: of each candidate, above 0: the name of a column, or one number a row; or, where runs share work, a
            function of the labels made and chosen so far that gives them, as they would be beside those.
        target: the points whose loss is wanted, same columns.
        forms: of "power", "chinchilla", "tied", "repeated", "coupled", those weighed against each other.
        groups: name of a column of both tables; each of its values has a law of its own.
        seed: of the starts of the search, and of ties.

    Raises:
        BadRequest: a table that lacks a column or holds what is not positive, a cost or form that is none.
    """

    def __init__(
        self,
        candidates: pd.DataFrame,
        cost: str | Sequence[float] | np.ndarray | pd.Series | Callable[[Sequence[Hashable]], np.ndarray],
        target: pd.DataFrame,
        forms: Sequence[str] = ("chinchilla", "coupled"),
        groups: str | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.forms = known_forms(forms)
        if not len(candidates) or not len(target):
            raise BadRequest("there are no candidates, or no target; give at least one row of each")
        if not candidates.index.is_unique:
            again = candidates.index[candidates.index.duplicated()][0]
            raise BadRequest(f"two candidates are labelled {again!r}; give each run a label of its own (reset_index)")
        self.candidates, self.target, self.groups = candidates, target, groups
        self._cost = costs(candidates, cost(()) if callable(cost) else cost)
        self._beside = cost if callable(cost) else None
        self._paid: dict[int, float] = {}
        self._place = {label: place for place, label in enumerate(candidates.index)}
        self._told: dict[int, float] = {}
        self._failed: set[int] = set()
        self._rng = np.random.default_rng(seed)
        self._tie = self._rng.random(len(candidates))
        x = coordinates(candidates, self.forms, "candidates")
        self._centre = x.mean(1)
        if len(x) > 2:
            self._centre[2] = 0.0  # log epochs: one pass is the origin
        x = x - self._centre[:, None]
        reach = reach_of(np.concatenate([x, self._coordinates(target)], 1))
        self.groups_of: dict[Hashable, Group] = {}
        names = group_names(candidates, groups, "candidates")
        for name in dict.fromkeys(names):
            places = np.flatnonzero(names == name)
            self.groups_of[name] = Group(places, x[:, places], reach)
        self._wanted(target)
        self._mixtures: dict[Hashable, Mixture] | None = None

    # -- what was told --------------------------------------------------------------------------------------------

    def tell(self, i: Hashable, loss: float | None) -> None:
        """The loss of a run, asked for or not; None or a number that is no loss (NaN, inf) for a run that failed.

        A failed run is paid for and not asked for again. Told once more, a run has its last loss.

        Raises:
            ValueError: no such candidate, or a loss of 0 or below.
        """
        if i not in self._place:
            raise BadRequest(f"no candidate is labelled {i!r}; tell takes a label of the candidates' index")
        loss = None if loss is None else float(loss)
        if loss is not None and loss <= 0:
            raise BadRequest(f"the loss of {i!r} is {loss:g}; it is above 0, or None where the run failed")
        place, self._mixtures = self._place[i], None
        if place not in self._paid:
            self._paid[place] = float(self._cost[place])
            self._cost = self._costs_beside([*self._paid])
        self._told.pop(place, None)
        self._failed.discard(place)
        if loss is None or not np.isfinite(loss):
            self._failed.add(place)
        else:
            self._told[place] = loss

    @property
    def told(self) -> pd.Series:
        """Losses by label, NaN of runs that failed."""
        values = self._told | dict.fromkeys(self._failed, np.nan)
        return pd.Series(list(values.values()), self.candidates.index[list(values)], float, "loss")

    @property
    def spent(self) -> float:
        """What all runs that were told cost, failed ones too."""
        return float(sum(self._paid.values()))

    @property
    def set_aside(self) -> list[Hashable]:
        """Labels of runs whose loss stands far above what all others predict: diverged, so no law counts them."""
        return [self.candidates.index[place] for mix in self.believed.values() for place in mix.set_aside]

    # -- what is believed -----------------------------------------------------------------------------------------

    @property
    def weights(self) -> Mapping[str, float] | Mapping[Hashable, Mapping[str, float]]:
        """How probable each form is after what was told; with groups, of each group."""
        return self._by_group(
            {name: dict(zip(self.forms, map(float, mix.weights), strict=True)) for name, mix in self.believed.items()}
        )

    @property
    def noise(self):
        """Standard deviation of a run's own luck in log loss; with groups, of each group."""
        return self._by_group({name: mix.noise for name, mix in self.believed.items()})

    @property
    def law(self):
        """The most probable form fitted to what was told, by the package's own exact fit; with groups, one of each.

        Raises:
            CannotFit: the rows do not carry it (yet); `predict` and `interval` need no such fit.
        """
        return self._by_group({name: self._fit(group, self.believed[name]) for name, group in self.groups_of.items()})

    def predict(self, target: pd.DataFrame) -> np.ndarray:
        """(m,) losses at the points of a table like the target: the mean of the forms by weight."""
        answer = np.empty(len(target))
        for mix, points, rows in self._points(target):
            answer[rows] = mix.weights @ np.stack([part.mean for part in points])
        return np.exp(answer)

    def interval(self, target: pd.DataFrame, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), each (m,): where the loss of a new run at each point lies.

        Holds the parameters' uncertainty, each form's misfit, the doubt between forms, and one run's noise.
        """
        if not 0 < level < 1:
            raise BadRequest(f"level is {level}; it lies between 0 and 1, 0.95 for 95 %")
        low, high = np.empty(len(target)), np.empty(len(target))
        for mix, points, rows in self._points(target):
            means = np.stack([part.mean for part in points])
            parts = zip(points, mix.beliefs, strict=True)
            spreads = np.sqrt(np.stack([np.maximum(part.variance, 0) + belief.noise**2 for part, belief in parts]))
            low[rows], high[rows] = (
                quantile(means, spreads, mix.weights, mix.freedom, (1 + side * level) / 2) for side in (-1, 1)
            )
        return np.exp(low), np.exp(high)

    # -- what comes next ------------------------------------------------------------------------------------------

    def ask(self, spend: float | None = None, n: int = 1):
        """The label of the run to make next, None where none is left that costs no more than `spend`.

        Args:
            spend: what may still be spent, in the unit of the costs: the run is the first of a plan for all of it. None
                names no limit and plans for a few times what was spent so far.
            n: for more than one, a list of up to n labels, to be run at once, that cost no more than `spend` together.
        """
        if n < 1 or int(n) != n:
            raise BadRequest(f"n is {n}; ask for one run or more")
        if spend is not None and not spend >= 0:
            raise BadRequest(f"the sum to spend is {spend}; give 0 or more, or None for no limit")
        left = np.inf if spend is None else float(spend)
        open_ = self._open(left)
        if not open_.any():
            return None if n == 1 else []
        horizon = left
        if spend is None:
            least = np.sort(self._cost[open_])[: max(FIRST_RUNS, n)].sum()
            horizon = max(AHEAD * self.spent, least)
        plan = sorted(self._plan(open_, horizon)[0], key=lambda place: (self._cost[place], self._tie[place]))
        labels = [self.candidates.index[place] for place in plan[:n]]
        return labels[0] if n == 1 else labels

    def plan(self, spend: float) -> list[Hashable]:
        """Labels of the runs that a sum buys best, all of them, the most telling for its cost first.

        Raises:
            BadRequest: a sum that is not positive.
        """
        if not 0 < spend < np.inf:
            raise BadRequest(f"the sum to plan for is {spend}; give a positive number")
        return [self.candidates.index[place] for place in self._plan(self._open(spend), float(spend))[0]]

    def outlook(self, sums: Sequence[float], level: float = 0.95) -> pd.DataFrame:
        """What the interval is expected to become for each sum spent from now on.

        Returns:
            ``spend``, ``cost`` and ``runs`` of the plan for it, and ``half_width``: of the interval of a new run over
            its value, the root of its mean square over the target. What the runs will say of noise and misfit is not
            foreseen: today's count.
        """
        lines = []
        mixes = list(self.believed.values())
        noise = float(np.mean([mix.noise**2 for mix in mixes]))
        freedom = min(mix.freedom for mix in mixes)
        for spend in map(float, sums):
            places, variance, cost = self._plan(self._open(spend), spend)
            width = stdtrit(freedom + len(places) / len(mixes), (1 + level) / 2) * np.sqrt(variance + noise)
            lines.append((spend, cost, len(places), float(width)))
        return pd.DataFrame(lines, columns=["spend", "cost", "runs", "half_width"])

    # -- inside ---------------------------------------------------------------------------------------------------

    def _open(self, most: float) -> np.ndarray:
        """(c,) bool: candidates that nothing was told about and that cost no more."""
        open_ = self._cost <= most
        open_[[*self._told, *self._failed]] = False
        return open_

    def _plan(self, open_: np.ndarray, horizon: float) -> tuple[list[int], float, float]:
        """What `horizon` buys best: places in the order of picking, mean variance left at the target, their cost."""
        names, at = self._wanted(self.target), self._coordinates(self.target)
        groups = {name: (self.groups_of[name], mix) for name, mix in self.believed.items()}
        walk = Walk(groups, names, at, open_, self._tie)
        best: tuple[list[int], float, float] = [], walk.variance, 0.0
        for greed in GREEDS:
            walk.restart()
            picks, left, can, cost = [], horizon, open_.copy(), self._cost
            while len(picks) < LONGEST_PLAN:
                can &= cost <= left
                if not can.any():
                    break
                place = walk.pick(can, cost, greed)
                picks.append(place)
                left -= cost[place]
                can[place] = False
                cost = self._costs_beside([*self._paid, *picks])
            if picks and (walk.variance < best[1] or not best[0]):
                best = picks, walk.variance, horizon - left
        return best

    def _costs_beside(self, places: Sequence[int]) -> np.ndarray:
        """(c,) what each candidate costs where those are made."""
        if self._beside is None:
            return self._cost
        return costs(self.candidates, self._beside([self.candidates.index[place] for place in places]))

    @property
    def believed(self) -> dict[Hashable, Mixture]:
        """What is believed of each group; of one law, by the name 0."""
        if self._mixtures is None:
            self._mixtures = {
                name: mixture_of(group, self.forms, self._told, self._rng) for name, group in self.groups_of.items()
            }
        return self._mixtures

    def _fit(self, group: Group, mix: Mixture):
        places = [place for place in group.candidates if place in self._told and place not in mix.set_aside]
        rows, loss = self.candidates.iloc[places], np.array([self._told[place] for place in places])
        form, params = self.forms[int(np.argmax(mix.weights))], rows["params"].to_numpy(float)
        if form == "power":
            return fit_power_law(params, loss, offset="fit")
        if form == "repeated":
            return fit_repeated(params, rows["unique"], rows["epochs"], loss, delta=np.inf)
        data = rows["data"] if "data" in rows else rows["unique"] * rows["epochs"]
        if form == "tied":
            return fit_tied(params, data, loss)
        return {"chinchilla": fit_chinchilla, "coupled": fit_coupled}[form](params, data, loss, delta=np.inf)

    def _coordinates(self, table: pd.DataFrame) -> np.ndarray:
        x = coordinates(table, self.forms, "target")
        if len(x) != len(self._centre):
            raise BadRequest(
                "the target lacks columns of the candidates; give both params and data, or unique and epochs"
            )
        return x - self._centre[:, None]

    def _wanted(self, table: pd.DataFrame) -> np.ndarray:
        names = group_names(table, self.groups, "target")
        strange = [name for name in dict.fromkeys(names) if name not in self.groups_of]
        if strange:
            raise BadRequest(f"the target has a group {strange[0]!r} of which there are no candidates")
        return names

    def _points(self, table: pd.DataFrame):
        """Of each group that the table asks about: its mixture, the points of every belief, and the rows' places."""
        names, at = self._wanted(table), self._coordinates(table)
        for name, mix in self.believed.items():
            rows = np.flatnonzero(names == name)
            if len(rows):
                yield mix, [Points(belief, at[:, rows]) for belief in mix.beliefs], rows

    def _by_group(self, each: dict):
        return each if self.groups is not None else next(iter(each.values()))
