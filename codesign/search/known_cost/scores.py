"""How candidates are scored: in closed form where that is possible, else by sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from codesign.search.known_cost.closed_form import ClosedForm

if TYPE_CHECKING:
    from codesign.search.known_cost.problem import Problem
    from codesign.search.known_cost.surrogate import Beliefs

Array = np.ndarray[Any, Any]

_MOST_KNOWN = 2  # known gains that the closed form divides into cells


class Scores(Protocol):
    """Expected gains, given the trials that ended or are pending.

    Attributes:
        steps: of local search that this kind of score is cheap enough for.
    """

    steps: int

    def draw(self, inputs_AX: Array) -> None:
        """Add pending trials, (A, X): what they may turn out to be has to be beaten, too."""

    def score(self, inputs_CX: Array) -> Array:
        """Return the log of each candidate's expected gain: (C,)."""


def scores_of(
    problem: Problem,
    beliefs: Beliefs,
    baseline_BX: Array,
    *,
    draws: int,
    rng: np.random.Generator,
) -> Scores:
    """Make the scores that suit what has to be learned.

    Args:
        baseline_BX: inputs of this study's finished trials: the designs to beat.
        draws: of their true values.
    """
    learned = [process for process in beliefs.processes if process is not None]
    if len(learned) == 1 and len(problem.known_column) <= 1 + _MOST_KNOWN:
        return ClosedForm(problem, learned[0], baseline_BX, draws=draws, rng=rng)
    from codesign.search.known_cost.monte_carlo import MonteCarlo
    from codesign.search.known_cost.surrogate.models import model_of

    seed = int(rng.integers(2**31))
    return MonteCarlo(problem, model_of(problem, beliefs), baseline_BX, draws=draws, seed=seed)
