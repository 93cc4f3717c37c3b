"""Which design a study trains next."""

from __future__ import annotations

import numpy as np

from codesign.contracts import Design, Feasible, Proposer
from codesign.spec.problem import Problem
from codesign.study.state import StudyState


def next_design(problem: Problem, proposer: Proposer, state: StudyState) -> Design | None:
    """Ask for one design more; None where no feasible one is left.

    What trial i is drawn from depends on the study's seed and i alone, so a study that goes on
    after a kill proposes what an undisturbed one would have.
    """
    seed, number = problem.spec.seed, len(state.trials)
    searched = state.searched
    pending = [trial.design for trial in state.open_trials if trial.kind != "confirm"]
    related = [o for earlier in state.earlier for o in earlier.observations]

    def ask(feasible: Feasible) -> list[Design]:
        return proposer.ask(
            feasible,
            [*related, *(found for trial in searched for found in trial.observations)],
            pending,
            1,
            np.random.default_rng([seed, number]),
        )

    proposed: list[Design] = []
    if explores(problem.spec.search.explore_infeasible, seed, number):
        proposed = ask(problem.near_misses)
    proposed = proposed or ask(problem.feasible)
    return proposed[0] if proposed else None


def explores(share: float, seed: int, number: int) -> bool:
    """Whether a trial is one of the share that near misses have."""
    return bool(np.random.default_rng([seed, number, 1]).random() < share)
