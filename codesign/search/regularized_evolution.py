"""Aging evolution: the youngest trials are the population, and a good one of them is mutated.

Real et al., "Regularized Evolution for Image Classifier Architecture Search" (2019), algorithm 1.
A mutation is one step of one knob, to a feasible design that is not taken. With several
objectives the tournament goes by the rank of the nondominated front and, within it, by crowding
distance (Deb et al., NSGA-II, 2002), both within the population.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_designs
from codesign.errors import ConfigError
from codesign.pareto import pareto_mask
from codesign.search.candidates import sample_unseen, taken_designs, unseen
from codesign.search.losses import observed_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of regularized evolution.

    Attributes:
        population: the youngest trials, of which parents are chosen; as many designs are drawn at
            random before the first is. ≥ 2. (The paper's 100 is for thousands of trials.)
        sample: trials in a tournament, 1 … `population`.
    """

    population: int = 16
    sample: int = 4

    def __post_init__(self) -> None:
        for name, least in (("population", 2), ("sample", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value}; must be a whole number ≥ {least}")
        if self.sample > self.population:
            raise ConfigError(
                f"sample is {self.sample}; must be at most population, {self.population}"
            )


@dataclass(frozen=True, kw_only=True)
class RegularizedEvolution:
    """Proposes mutations of the better ones among the youngest trials."""

    objectives: tuple[Objective, ...]
    options: Options

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """See `Proposer.ask`.

        Raises:
            ConfigError: a completed trial lacks an objective.
        """
        taken = taken_designs(observed, pending)
        trials, losses_NO = observed_losses(feasible, self.objectives, observed)
        population = [o.design for o in trials[-self.options.population :]]
        order_N = ranking(losses_NO[-self.options.population :])
        proposed: list[Design] = []
        for _ in range(n):
            begun = [*taken, *proposed]
            child: list[Design] = []
            if population and len(begun) >= self.options.population:
                entered = rng.permutation(len(population))[: self.options.sample]
                parent = population[min(entered, key=lambda at: int(order_N[at]))]
                mutations = unseen(as_designs(feasible.neighbours(parent)), begun)
                child = [mutations[rng.integers(len(mutations))]] if mutations else []
            proposed += child or sample_unseen(feasible, begun, 1, rng)
        return proposed


def ranking(losses_NO: Array) -> Array:
    """Place trials by nondominated front, within it by crowding distance, of equals the younger.

    Args:
        losses_NO: finite, less is better, the oldest first.

    Returns:
        int64 (N,): 0 for the best.
    """
    front_N = np.zeros(len(losses_NO), dtype=np.int64)
    crowding_N = np.zeros(len(losses_NO))
    left, front = np.arange(len(losses_NO)), 0
    while left.size and losses_NO.shape[1]:
        best = pareto_mask(losses_NO[left], ["minimize"] * losses_NO.shape[1])
        front_N[left[best]] = front
        crowding_N[left[best]] = _crowding(losses_NO[left[best]])
        left, front = left[~best], front + 1
    order = np.lexsort((-np.arange(len(losses_NO)), -crowding_N, front_N))
    place_N = np.empty(len(losses_NO), dtype=np.int64)
    place_N[order] = np.arange(len(losses_NO))
    return place_N


def make(objectives: Sequence[Objective], options: Options) -> Proposer:
    """Make a search by regularized evolution."""
    return RegularizedEvolution(objectives=tuple(objectives), options=options)


def _crowding(losses_FO: Array) -> Array:
    """Sum over objectives the distance between each trial's neighbours on its front: (F,).

    Distances are shares of the front's range; the ends of a front are infinitely far from others.
    """
    crowding_F = np.zeros(len(losses_FO))
    for values_F in losses_FO.T:
        order = np.argsort(values_F, kind="stable")
        span = float(np.ptp(values_F))
        if span == 0:
            continue
        crowding_F[order[[0, -1]]] = np.inf
        crowding_F[order[1:-1]] += (values_F[order[2:]] - values_F[order[:-2]]) / span
    return crowding_F
