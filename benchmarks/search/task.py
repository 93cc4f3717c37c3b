"""What a search is replayed on: designs, answers to them, and the values of all of them.

R designs in all, O objectives (all to be minimised), M features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from codesign.contracts import Columns, Design, Feasible, Objective, Observation

Array = np.ndarray[Any, Any]

LOSS = Objective(metric="log_loss", goal="minimize")
COMPUTE = Objective(metric="gflop_per_example", goal="minimize")


@dataclass(frozen=True)
class Task:
    """A search with known answers.

    Attributes:
        family: tasks of one family are scored together.
        feasible: what proposers see.
        designs: all designs of it, by knob.
        values_RO: their objectives' values; NaN where a run failed.
        answer: what training a design shows.
        trials: how long searches are.
        fingerprint: changes with anything that answers depend on.
    """

    name: str
    family: str
    objectives: tuple[Objective, ...]
    feasible: Feasible
    designs: Columns
    values_RO: Array
    answer: Callable[[Design], Observation]
    trials: int
    fingerprint: str

    @cached_property
    def encoded_RM(self) -> Array:
        """Features of all designs, for those that look for the nearest."""
        return self.feasible.encode(self.designs).astype(np.float32)

    def values(self, observation: Observation) -> list[float | None]:
        """The objectives' values that an observation shows; None for each where it failed."""
        if observation.failure is not None:
            return [None for _ in self.objectives]
        return [observation.metrics[objective.metric] for objective in self.objectives]


def fingerprint(*parts: object) -> str:
    """Hash what the text of some values says."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
