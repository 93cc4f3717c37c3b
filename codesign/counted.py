"""The feasible set of a task that knows no bound of its costs: designs are counted one by one.

A count takes milliseconds here (a model is built and traced), where a formula counts a million
designs in a second. So at most `MOST_COUNTED` settings of the knobs that costs depend on are
counted: all of them, where there are no more, and else a random share, which is then all there is
to draw from. Neighbours of a design are counted when they are asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from codesign.budgets import FeasibleSet
from codesign.contracts import Columns, Task, Value
from codesign.designs import design_at
from codesign.space import Indices, Space

MOST_COUNTED = 500
AT_ONCE = 20
SAY_EVERY_S = 2.0


class CountedSet(FeasibleSet):
    """See `FeasibleSet`.

    Args:
        say: takes lines of progress.
        clock: seconds.
    """

    def __init__(
        self,
        space: Space,
        task: Task,
        budgets: Mapping[str, float],
        *,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(space, task, budgets)
        self._say = say
        self._clock = clock

    def cheapest(self, cost: str) -> tuple[dict[str, Value], float]:
        """Find the design with the least of one cost among all that were counted."""
        columns = self.space.columns(self._drawn)
        values = self.costs(columns)[cost]
        least = int(values.argmin())
        return design_at(columns, least), float(values[least])

    @property
    def _is_listed(self) -> bool:
        return True

    def _floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray[Any, Any]]:
        assert low is high, "boxes have no bound here"
        return self.costs(low)

    @cached_property
    def _all_prefixes(self) -> tuple[Indices, float]:
        rows = self._drawn
        inside = np.zeros(len(rows), dtype=bool)
        said = self._clock()
        for start in range(0, len(rows), AT_ONCE):
            end = min(start + AT_ONCE, len(rows))
            inside[start:end] = self.contains(self.space.columns(rows[start:end]))
            if self._clock() - said >= SAY_EVERY_S:
                said = self._clock()
                self._say(f"counted the costs of {end:,} of {len(rows):,} designs")
        return rows[inside], self._settings / len(rows)

    @cached_property
    def _drawn(self) -> Indices:
        """The settings that are counted, (N, K), free knobs at level 0."""
        rng = np.random.default_rng(0)
        rows, _ = self._enumerate(rng, self._max_children)
        return rows[rng.permutation(len(rows))[:MOST_COUNTED]]

    @property
    def _settings(self) -> int:
        """How many settings the knobs have that costs depend on."""
        return self.space.size // math.prod(self._level_count(k) for k in self._free_axes)

    def _affordable(self, rows_NK: Indices, k: int, depth: int) -> Indices:  # noqa: ARG002
        return self._extend(rows_NK, k)
