"""The lattice of designs.

N designs, K knobs. A design is a row of level indices; *columns* are many designs by knob. Where a
knob's condition does not hold, it has its idle level: a design has one row, whatever is idle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from codesign.axes import Axis
from codesign.contracts import Columns, Design, Value
from codesign.errors import ConfigError

MAX_COMBINATIONS = 100_000
Indices = np.ndarray[Any, np.dtype[np.int64]]


class Space:
    """The lattice: axes in the order of the spec.

    Raises:
        ConfigError: conditions that go round in a circle.
    """

    def __init__(self, axes: tuple[Axis, ...]) -> None:
        self.axes = axes
        self.levels: Mapping[str, tuple[Value, ...]] = {axis.name: axis.values for axis in axes}
        place = {axis.name: k for k, axis in enumerate(axes)}
        # For each axis with a condition: the axes it looks at, and which of their levels will do.
        self._conditions = {
            k: [
                (place[name], np.array([level in wanted for level in self.levels[name]]))
                for name, wanted in axis.when.items()
            ]
            for k, axis in enumerate(axes)
            if axis.when
        }
        self.order = self._parents_first()

    @property
    def linked(self) -> frozenset[int]:
        """The axes that have conditions, and those that conditions look at."""
        parents = {p for conditions in self._conditions.values() for p, _ in conditions}
        return frozenset(parents | self._conditions.keys())

    @cached_property
    def size(self) -> int:
        """The number of designs."""
        free = math.prod(
            len(axis.values) for k, axis in enumerate(self.axes) if k not in self.linked
        )
        return free * self._linked_size()

    def parents(self, k: int) -> tuple[int, ...]:
        """The axes that the condition of axis `k` looks at."""
        return tuple(p for p, _ in self._conditions.get(k, ()))

    def is_active(self, indices_NK: Indices, k: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether the condition of axis `k` holds, (N,)."""
        active = np.ones(len(indices_NK), dtype=bool)
        for parent, fits in self._conditions.get(k, ()):
            active &= fits[indices_NK[:, parent]]
        return active

    def asleep(self, design: Design) -> list[str]:
        """Return the knobs of a design whose condition does not hold."""
        if not self._conditions:
            return []
        row = self.index_of(design)
        return [self.axes[k].name for k in self._conditions if not self.is_active(row, k)[0]]

    def options(self, k: int) -> Indices:
        """The levels of axis `k` where it is active."""
        return np.array(self.axes[k].active or range(len(self.axes[k].values)), dtype=np.int64)

    def canonical(self, indices_NK: Indices) -> Indices:
        """Set what is idle to its idle level, and what is active to a level it may have."""
        if not self._conditions:
            return indices_NK
        rows = indices_NK.copy()
        for k in self.order:
            if k in self._conditions:
                active, options = self.is_active(rows, k), self.options(k)
                rows[~active, k] = self.axes[k].idle
                rows[active & ~np.isin(rows[:, k], options), k] = options[0]
        return rows

    def columns(self, indices_NK: Indices) -> dict[str, np.ndarray[Any, Any]]:
        """Turn level indices (N, K) into values by knob, each (N,)."""
        return {axis.name: axis.array[indices_NK[:, k]] for k, axis in enumerate(self.axes)}

    def indices(self, columns: Columns) -> Indices:
        """Turn values by knob into level indices (N, K).

        Raises:
            KeyError: a value that is no level of its knob.
        """
        by_knob = [
            [axis.position[value] for value in np.asarray(columns[axis.name]).tolist()]
            for axis in self.axes
        ]
        return np.array(by_knob, dtype=np.int64).T.reshape(-1, len(self.axes))

    def index_of(self, design: Design) -> Indices:
        """Level indices (1, K) of one design."""
        return self.indices({name: np.array([design[name]]) for name in self.levels})

    def encode(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Features in [0, 1], (N, features): ordered knobs by position, others one-hot."""
        features = []
        for axis in self.axes:
            if len(axis.values) == 1:
                continue
            values = np.asarray(columns[axis.name])
            if axis.ordered:
                scale = np.log if axis.log else np.asarray
                low, high = scale(float(axis.values[0])), scale(float(axis.values[-1]))
                features.append((scale(values.astype(float)) - low) / (high - low))
            else:
                features += [(values == level).astype(float) for level in axis.values[:-1]]
        rows = len(next(iter(columns.values())))
        return np.stack(features, axis=1) if features else np.zeros((rows, 0))

    def neighbours(self, design: Design) -> Indices:
        """Level indices of all designs that differ in one knob: by one level, or in the word.

        What such a step wakes or puts to sleep changes with it.
        """
        here = self.index_of(design)[0]
        rows = []
        for k, axis in enumerate(self.axes):
            options = self.options(k).tolist()
            if here[k] not in options:
                continue
            at = options.index(here[k])
            steps = (at - 1, at + 1) if axis.ordered else range(len(options))
            for step in steps:
                if 0 <= step < len(options) and step != at:
                    row = here.copy()
                    row[k] = options[step]
                    rows.append(row)
        found = self.canonical(np.array(rows, dtype=np.int64).reshape(-1, len(self.axes)))
        if not self._conditions:
            return found
        distinct = dict.fromkeys(map(tuple, found.tolist()))
        distinct.pop(tuple(here.tolist()), None)
        return np.array([*distinct], dtype=np.int64).reshape(-1, len(self.axes))

    def _parents_first(self) -> tuple[int, ...]:
        order: dict[int, None] = {}
        while len(order) < len(self.axes):
            ready = [
                k
                for k in range(len(self.axes))
                if k not in order and all(p in order for p in self.parents(k))
            ]
            if not ready:
                waiting = [axis.name for k, axis in enumerate(self.axes) if k not in order]
                raise ConfigError(f"the conditions of {', '.join(waiting)} go round in a circle")
            order.update(dict.fromkeys(ready))
        return tuple(order)

    def _linked_size(self) -> int:
        """Count the settings of the linked axes: the rest follow those that others look at."""
        looked_at = sorted({p for k in self._conditions for p in self.parents(k)})
        combinations = math.prod(len(self.axes[k].values) for k in looked_at)
        if combinations > MAX_COMBINATIONS:
            raise ConfigError(
                f"conditions look at {combinations:,} combinations of values; "
                f"must be at most {MAX_COMBINATIONS:,}"
            )
        rows = np.zeros((combinations, len(self.axes)), dtype=np.int64)
        levels = np.unravel_index(
            np.arange(combinations), [len(self.axes[k].values) for k in looked_at] or [1]
        )
        for k, column in zip(looked_at, levels, strict=False):
            rows[:, k] = column
        possible = np.ones(combinations, dtype=bool)
        counts = np.ones(combinations, dtype=object)  # whole numbers of any size
        for k in self.order:
            active, options = self.is_active(rows, k), self.options(k)
            if k in looked_at:
                allowed = np.where(
                    active, np.isin(rows[:, k], options), rows[:, k] == self.axes[k].idle
                )
                possible &= allowed
            elif k in self._conditions:
                counts[active] *= len(options)
        return int(counts[possible].sum())
