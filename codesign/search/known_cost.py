"""Bayesian optimization that models only what has to be learned.

An exact cost needs no model: it enters the hypervolume as the number it is, and its logarithm is
a feature of the models of quality. A predicted cost needs none either: it enters as its prediction
with its own uncertainty. The first trials fill the space (`support_points`); then each proposal
maximises the expected gain over a sample of feasible designs and the neighbours of the best ones so
far.

A trial that diverged or ran out of memory counts as the worst value seen; other failures say
nothing of their design and are left out (they are not proposed again all the same).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.designs import as_columns
from codesign.errors import ConfigError
from codesign.search import support_points
from codesign.search.candidates import final, sample_unseen, taken_designs, unseen
from codesign.search.gains import is_informative, is_success
from codesign.search.problem import build, near_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer

_LARGEST_INITIAL = 16
_FEWEST_TO_MODEL = 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of known-cost Bayesian optimization.

    Attributes:
        initial: space-filling trials before the first model, ≥ 1; None: one more than twice the
            number of features, at most 16.
        candidates: feasible designs drawn for each proposal, ≥ 1.
        mc_samples: posterior samples that estimate the expected gain, ≥ 1 (a power of two fits
            the quasi-random sampler best).
    """

    initial: int | None = None
    candidates: int = 512
    mc_samples: int = 128

    def __post_init__(self) -> None:
        for name in ("initial", "candidates", "mc_samples"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name} is {value}; must be a whole number ≥ 1")


@dataclass(frozen=True, kw_only=True)
class KnownCostSearch:
    """See the module. A trained model lives within one call of `ask` only."""

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
            ConfigError: nothing has to be learned, or a completed trial lacks an objective.
        """
        taken = taken_designs(observed, pending)
        observed = final(observed)
        drawn = sample_unseen(feasible, taken, max(n, self.options.candidates), rng)
        if not drawn:
            return []
        learned = self._learned(feasible, drawn[0])
        filling = self._filling(feasible, drawn[0], observed, len(taken), learned, n)
        space_filling = support_points.SupportPoints(options=support_points.Options())
        first = space_filling.ask(feasible, observed, pending, filling, rng)
        if filling == n:
            return first
        trained = [o for o in observed if is_informative(o, learned)]
        near = near_best(feasible, self.objectives, trained)
        candidates = unseen([*drawn, *near], [*taken, *first])
        later = self._by_model(feasible, trained, candidates, [*pending, *first], n - filling, rng)
        return first + later

    def _by_model(
        self,
        feasible: Feasible,
        trained: Sequence[Observation],
        candidates: Sequence[Design],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """Choose up to `n` of the candidates by their expected gain."""
        if not candidates:
            return []
        from codesign.search.acquisition import choose

        problem = build(
            feasible, self.objectives, trained=trained, candidates=candidates, pending=pending
        )
        samples, seed = self.options.mc_samples, int(rng.integers(2**31))
        return [candidates[i] for i in choose(problem, n, mc_samples=samples, seed=seed)]

    def _learned(self, feasible: Feasible, design: Design) -> list[Objective]:
        """Return the objectives that neither a count nor a prediction answers."""
        columns = as_columns([design])
        known = {*feasible.costs(columns), *feasible.predicted(columns)}
        learned = [o for o in self.objectives if o.metric not in known]
        if not learned:
            names = ", ".join(o.metric for o in self.objectives)
            raise ConfigError(
                f"every objective ({names}) is known without training: there is nothing to learn",
                hint="add a metric of the trained model to the objectives",
            )
        return learned

    def _filling(
        self,
        feasible: Feasible,
        design: Design,
        observed: Sequence[Observation],
        taken: int,
        learned: Sequence[Objective],
        n: int,
    ) -> int:
        """Return how many of the next `n` trials fill the space: 0 … n."""
        if sum(is_success(o, learned) for o in observed) < _FEWEST_TO_MODEL:
            return n
        features = feasible.encode(as_columns([design])).shape[1]
        initial = self.options.initial or min(2 * features + 1, _LARGEST_INITIAL)
        return min(max(initial - taken, 0), n)


def make(objectives: Sequence[Objective], options: Options) -> Proposer:
    """Make a known-cost search, held by an Ax experiment (importing Ax takes seconds).

    Raises:
        ConfigError: no objective is given.
    """
    if not objectives:
        raise ConfigError("known_cost needs at least one objective; none is given")
    from codesign.search.ax_experiment import AxExperiment

    search = KnownCostSearch(objectives=tuple(objectives), options=options)
    return AxExperiment(search, objectives)
