"""Random search: the baseline that every other proposer has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.search.candidates import sample_unseen, taken_designs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Random search has no settings."""


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """Proposes designs drawn from the feasible set, without looking at results."""

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
        return sample_unseen(feasible, taken, n, rng)


def make(objectives: Sequence[Objective], options: Options) -> Proposer:  # noqa: ARG001
    """Make a random search; it needs no objective."""
    return RandomSearch()
