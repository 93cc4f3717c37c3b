"""For optimizers that know lattices and no feasible sets: the nearest design that is left.

R designs in all, M features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.search.task import Task
from codesign.contracts import Design, Value
from codesign.designs import as_columns, design_at


class DesignsLeft:
    """The designs of a task that were not chosen yet.

    Attributes:
        levels: those of the knobs that differ between designs.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._left_R = np.ones(len(task.values_RO), dtype=bool)
        self._fixed = {n: at[0] for n, at in task.feasible.levels.items() if len(at) == 1}
        self.levels = {n: at for n, at in task.feasible.levels.items() if len(at) > 1}

    def take_nearest(self, proposed: Mapping[str, Value]) -> Design:
        """Choose the design nearest in encoded space to a point of the lattice of `levels`."""
        columns = as_columns([{**self._fixed, **proposed}])
        here_M = self._task.feasible.encode(columns)[0].astype(np.float32)
        distance_R = np.square(self._task.encoded_RM - here_M).sum(axis=1)
        nearest = int(np.where(self._left_R, distance_R, np.inf).argmin())
        self._left_R[nearest] = False
        return design_at(self._task.designs, nearest)


def is_ordered(levels: tuple[Value, ...]) -> bool:
    """Whether a knob's levels are numbers."""
    return isinstance(levels[0], int | float) and not isinstance(levels[0], bool)
