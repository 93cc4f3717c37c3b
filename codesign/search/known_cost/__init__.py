"""Bayesian optimization that models only what has to be learned.

An exact cost needs no model: it enters the hypervolume as the number it is, and its logarithm is
a feature of the models of quality. A predicted cost needs none either: it enters as its prediction
with its own uncertainty. The first trials fill the space (`support_points`), unless curves or
earlier studies tell enough; then each proposal maximises the expected gain, in closed form where
one objective is learned, over a sample of feasible designs, the neighbours of the best ones so
far, and what local search finds from there.

Trials that diverged or ran out of memory tell how probable that is of a design, and the expected
gain is weighed by it; they also count as the worst result seen. Other failures say nothing of
their design and are left out (they are not proposed again all the same).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns
from codesign.errors import ConfigError
from codesign.search import support_points
from codesign.search.candidates import final, sample_unseen, taken_designs
from codesign.search.gains import ABOUT_THE_DESIGN, is_success
from codesign.search.known_cost.pool import Pool
from codesign.search.known_cost.problem import build, near_best
from codesign.search.known_cost.related import leading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer
    from codesign.search.known_cost.problem import Problem

Array = np.ndarray[Any, Any]

_FEWEST_TO_MODEL = 2
# Own results from which on what is related is put on their scale; it has its own before.
_FEWEST_TO_LINK = 3
# Of the designs, by chance, that the first trials represent: searches of one small table differ.
_FILLED_SHARE = 0.5
_BEAM = 8
# Where no more designs than these are feasible, and scores are cheap, each one is scored.
_FEW = 4096


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of known-cost Bayesian optimization.

    Attributes:
        initial: space-filling trials before the first model, ≥ 1.
        candidates: feasible designs drawn for each proposal, ≥ 1; all, where there are 4,096 at
            most and one objective is learned against at most one cost.
        mc_samples: posterior samples of what has to be beaten, over which the expected gain is
            averaged, ≥ 1.
    """

    initial: int = 3
    candidates: int = 512
    mc_samples: int = 64

    def __post_init__(self) -> None:
        for name in ("initial", "candidates", "mc_samples"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
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
        ended = final(observed)
        related = [o for o in observed if o.task or o.fidelity < 1.0]
        drawn = sample_unseen(feasible, taken, max(n, self.options.candidates), rng)
        if not drawn:
            return []
        learned = self._learned(feasible, drawn[0])
        trained = [o for o in ended if is_success(o, learned)]
        basis = leading(learned, related)
        if len(trained) < (_FEWEST_TO_LINK if basis else _FEWEST_TO_MODEL):
            trained = []
        earlier = sum(bool(o.task) for o in basis)
        filling = self._filling(len(taken) + earlier, n) if trained or basis else n
        first: list[Design] = []
        if filling:
            settings = support_points.Options(share=_FILLED_SHARE)
            space_filling = support_points.SupportPoints(options=settings)
            first = space_filling.ask(feasible, observed, pending, filling, rng)
        if filling == n:
            return first
        if len(learned) == 1 and len(self.objectives) <= 2 and _are_few(feasible):
            drawn = sample_unseen(feasible, taken, _FEW, rng)
        problem, inputs = build(
            feasible,
            self.objectives,
            trained=trained,
            others=drawn,
            failed=[o.design for o in ended if o.failure in ABOUT_THE_DESIGN],
            related=related,
            leading=basis,
        )
        pool = Pool(feasible, inputs.of, [*taken, *first])
        pool.add([*drawn, *near_best(feasible, self.objectives, trained)])
        unscaled = [] if trained else [o.design for o in ended if is_success(o, learned)]
        waiting = [*pending, *first, *unscaled]
        pending_PX = inputs.of(waiting) if waiting else problem.trained_NX[:0]
        return first + self._by_model(problem, pool, pending_PX, n - filling, rng)

    def _by_model(
        self, problem: Problem, pool: Pool, pending_PX: Array, n: int, rng: np.random.Generator
    ) -> list[Design]:
        """Choose up to `n` designs by their expected gain, each knowing the ones before it."""
        from codesign.search.known_cost.scores import scores_of
        from codesign.search.known_cost.surrogate import learn

        draws = self.options.mc_samples
        beliefs = learn(problem)
        scores = scores_of(problem, beliefs, problem.to_beat_BX, draws=draws, rng=rng)

        def score(inputs_CX: Array) -> Array:
            return scores.score(inputs_CX) + beliefs.log_success(inputs_CX)

        chosen: list[Design] = []
        waiting_PX = pending_PX
        while len(chosen) < n and pool.designs:
            scores.draw(waiting_PX)
            design, waiting_PX = pool.take(pool.best(score, beam=_BEAM, steps=scores.steps))
            chosen.append(design)
        return chosen

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

    def _filling(self, begun: int, n: int) -> int:
        """Return how many of the next `n` trials fill the space, 0 … n, after those begun."""
        return min(max(self.options.initial - begun, 0), n)


def _are_few(feasible: Feasible) -> bool:
    """Whether there are 4,096 feasible designs at most: then no more can be drawn."""
    drawn = feasible.sample(_FEW + 1, np.random.default_rng(0))
    return all(len(values) <= _FEW for values in drawn.values())


LEARNS_RELATED_TASKS = True
"""Observations of other studies enter its models; see `codesign.registry`."""


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
