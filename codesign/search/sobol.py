"""Space filling: a scrambled Sobol sequence, laid over the feasible designs.

Trial i takes point i of one sequence. Each coordinate of the point is read as a quantile of the
matching feature over a sample of feasible designs, so that the marginals follow what the budgets
left of the space; the design nearest to it, of those not taken, is proposed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns
from codesign.errors import ConfigError
from codesign.search.candidates import sample, taken_designs, unseen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the Sobol search.

    Attributes:
        candidates: feasible designs to choose from at each proposal, ≥ 1.
        scramble_seed: which scrambling of the sequence. It is a setting and not drawn, since all
            trials of a study must follow one sequence; the candidates are drawn.
    """

    candidates: int = 1024
    scramble_seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.candidates, int) or self.candidates < 1:
            raise ConfigError(f"candidates is {self.candidates}; must be a whole number ≥ 1")


@dataclass(frozen=True, kw_only=True)
class SobolSearch:
    """Proposes designs that cover the feasible set evenly, without looking at results."""

    options: Options

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """See `Proposer.ask`."""
        taken = taken_designs(observed, pending)
        everything = sample(feasible, max(n, self.options.candidates) + len(taken), rng)
        designs = unseen(everything, taken)
        if n < 1 or not designs:
            return []
        features_CF = feasible.encode(as_columns(designs))
        ranked_SF = np.sort(feasible.encode(as_columns(everything)), axis=0)
        points_NF = _sobol_points(
            features_CF.shape[1], len(taken), n, seed=self.options.scramble_seed
        )
        chosen: list[int] = []
        for point_F in points_NF[: len(designs)]:
            rank_F = (point_F * len(ranked_SF)).astype(np.int64)
            target_F = np.take_along_axis(ranked_SF, rank_F[None, :], axis=0)
            distance_C = np.square(features_CF - target_F).sum(axis=1)
            distance_C[chosen] = np.inf
            chosen.append(int(distance_C.argmin()))
        return [designs[i] for i in chosen]


def make(objectives: Sequence[Objective], options: Options) -> Proposer:  # noqa: ARG001
    """Make a Sobol search; it needs no objective."""
    return SobolSearch(options=options)


def _sobol_points(
    dimensions: int, first: int, n: int, *, seed: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return points `first` … `first + n - 1` of the scrambled sequence, each in [0, 1)."""
    from scipy.stats import qmc

    if dimensions == 0:
        return np.zeros((n, 0))
    # Powers of two keep the sequence's balance; a longer draw begins with the shorter one.
    doublings = (first + n - 1).bit_length()
    points = qmc.Sobol(dimensions, scramble=True, rng=seed).random_base2(doublings)
    return np.asarray(points[first : first + n])
