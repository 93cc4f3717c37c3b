"""What a proposer is told at the next proposal of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codesign.contracts import Design, Feasible, Observation
from codesign.spec.problem import load_problem
from codesign.study.proposals import next_design
from tests.support.studies import state_of


@dataclass(kw_only=True)
class Recorder:
    """A proposer that keeps what it was told last, and proposes nothing."""

    observed: tuple[Observation, ...] = ()
    pending: tuple[Design, ...] = ()

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """See `Proposer.ask`."""
        self.observed, self.pending = tuple(observed), tuple(pending)
        return []


def told(spec: Path, study: Path) -> Recorder:
    """Read a study and ask for one design more."""
    recorder = Recorder()
    next_design(load_problem(spec), recorder, state_of(study))
    return recorder
