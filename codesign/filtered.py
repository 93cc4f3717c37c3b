"""Those designs of a feasible set that pass one more test, which no box of designs has a bound of.

Under predicted budgets there are three such sets: the designs that the best system of each keeps
within them; those within them only by the better ends of the intervals; and between the two the
near misses, of which a few are trained, so that a cost model that errs can be found out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from codesign.budgets import FeasibleSet, Size
from codesign.contracts import Columns, Design, LogNormal, Value
from codesign.errors import InfeasibleError

Mask = np.ndarray[Any, np.dtype[np.bool_]]
FEWEST_DRAWN = 512
MOST_DRAWN = 65_536
SIZE_FROM = 4096


class FilteredSet:
    """Satisfies `codesign.contracts.Feasible`.

    Args:
        base: what is drawn from.
        keep: says of each design whether it is meant, (N,).
        believed: predicts costs of designs, for proposers.
    """

    def __init__(
        self,
        base: FeasibleSet,
        keep: Callable[[Columns], Mask],
        believed: Callable[[Columns], Mapping[str, LogNormal]],
    ) -> None:
        self.space, self.levels, self.budgets = base.space, base.levels, base.budgets
        self.costs, self.encode, self.predicted = base.costs, base.encode, believed
        self._base = base
        self._keep = keep

    def contains(self, columns: Columns) -> Mask:
        """Whether each design is one of them, (N,)."""
        inside = self._base.contains(columns)
        if inside.any():
            inside[inside] = self._keep(_at(columns, inside))
        return inside

    def neighbours(self, design: Design) -> Columns:
        """All of them that differ by one step of one knob."""
        return self._kept(self._base.neighbours(design))

    def sample(self, n: int, rng: np.random.Generator) -> Columns:
        """Draw up to `n` distinct designs; fewer where so many are not among `MOST_DRAWN`."""
        wanted = max(2 * n, FEWEST_DRAWN)
        while True:
            drawn = self._base.sample(wanted, rng)
            kept = self._kept(drawn)
            everything = _rows(drawn) < wanted or wanted >= MOST_DRAWN
            if _rows(kept) >= n or everything:
                return {name: values[:n] for name, values in kept.items()}
            wanted = min(4 * wanted, MOST_DRAWN)

    def cheapest(self, cost: str) -> tuple[dict[str, Value], float]:
        """Find the best design of the whole space by one exact cost alone."""
        return self._base.cheapest(cost)

    @cached_property
    def size(self) -> Size:
        """How many there are: by the share of a sample, unless the sample is all there is."""
        base = self._base.size
        drawn = self._base.sample(SIZE_FROM, np.random.default_rng(0))
        share = _rows(self._kept(drawn)) / max(_rows(drawn), 1)
        return Size(count=base.count * share, exact=base.exact and _rows(drawn) == base.count)

    def require_some(self) -> None:
        """Refuse a set of which nothing was found.

        Raises:
            InfeasibleError: says so; or what the base says.
        """
        self._base.require_some()
        if not _rows(self.sample(1, np.random.default_rng(0))):
            raise InfeasibleError(
                "no system was found under which a design keeps its predicted budgets",
                hint="widen them, allow more devices or add smaller values to the space",
            )

    def _kept(self, columns: Columns) -> Columns:
        return _at(columns, self._keep(columns)) if _rows(columns) else columns


def _rows(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _at(columns: Columns, rows: Mask) -> Columns:
    return {name: values[rows] for name, values in columns.items()}
