"""Space filling by support points: each design brings the chosen ones closer to the feasible set.

The distance meant is the energy distance between the chosen designs and all feasible ones (Mak
and Joseph, "Support points", 2018); each new design is the one that lowers it most. Unlike a
sequence in the unit cube it follows whatever the budgets left of the space, starts at the middle,
and takes account of every design already tried, however that was chosen.
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

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the search by support points.

    Attributes:
        candidates: feasible designs drawn at each proposal, to choose from and to stand for the
            whole set, ≥ 1; the work grows with its square.
        share: of the drawn ones so many are kept, in (0, 1]; below 1 the seed decides what is
            proposed even where all designs are drawn.
    """

    candidates: int = 512
    share: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.candidates, int) or self.candidates < 1:
            raise ConfigError(f"candidates is {self.candidates}; must be a whole number ≥ 1")
        if not 0 < self.share <= 1:
            raise ConfigError(f"share is {self.share}; must be in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class SupportPoints:
    """Proposes designs that represent the feasible set, without looking at results."""

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
        kept = max(n + len(taken), round(self.options.share * len(everything)))
        everything = everything[:kept]
        designs = unseen(everything, taken)
        if n < 1 or not designs:
            return []
        features_CF = feasible.encode(as_columns(designs))
        to_all_C = _distances(features_CF, feasible.encode(as_columns(everything))).mean(axis=1)
        to_taken_C = np.zeros(len(designs))
        if taken:
            to_taken_C = _distances(features_CF, feasible.encode(as_columns(taken))).sum(axis=1)
        chosen: list[int] = []
        for at in range(len(taken), len(taken) + min(n, len(designs))):
            score_C = to_all_C - to_taken_C / (at + 1)
            score_C[chosen] = np.inf
            chosen.append(int(score_C.argmin()))
            to_taken_C += _distances(features_CF, features_CF[chosen[-1:]])[:, 0]
        return [designs[i] for i in chosen]


def make(objectives: Sequence[Objective], options: Options) -> Proposer:  # noqa: ARG001
    """Make a search by support points; it needs no objective."""
    return SupportPoints(options=options)


def _distances(left_AF: Array, right_BF: Array) -> Array:
    """Measure the Euclidean distance of each pair: (A, B)."""
    squares_AB = (
        np.square(left_AF).sum(axis=1)[:, None]
        + np.square(right_BF).sum(axis=1)
        - 2.0 * left_AF @ right_BF.T
    )
    return np.sqrt(np.maximum(squares_AB, 0.0))
