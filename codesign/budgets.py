"""The feasible set: the designs of a space whose costs lie within every budget.

Designs are built knob by knob. A prefix (some knobs set, the others open) is dropped as soon as a
lower bound of its cost exceeds a budget, so nothing infeasible is ever completed. Where they
would outgrow `MAX_CHILDREN` they are thinned at random, which turns enumeration into stochastic
enumeration (Rubinstein 2013): an almost uniform sample, and an unbiased estimate of the count.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from codesign.axes import Axis
from codesign.contracts import Columns, Costs, Design, LogNormal, Value
from codesign.designs import design_at
from codesign.errors import InfeasibleError
from codesign.space import Indices, Space

MAX_CHILDREN = 500_000
FEWEST_PREFIXES = 64
LINKED_BOUNDS = 1_000_000
CHUNK_ROWS = 50_000
BARREN_DRAWS = 20


@dataclass(frozen=True)
class Size:
    """How many designs are feasible: exact, or an estimate from random thinning."""

    count: float
    exact: bool


class FeasibleSet:
    """What a study may launch; satisfies `codesign.contracts.Feasible`.

    Args:
        costs: what designs cost.
        budgets: cost → the most that a design may have of it; the least, where more is better.
        believed: predicts other costs of designs, for proposers; None: none is predicted.
        max_children: prefixes that one more knob may make before thinning begins.
    """

    def __init__(
        self,
        space: Space,
        costs: Costs,
        budgets: Mapping[str, float],
        *,
        believed: Callable[[Columns], Mapping[str, LogNormal]] | None = None,
        max_children: int = MAX_CHILDREN,
    ) -> None:
        self.space = space
        self.levels = space.levels
        self.budgets = budgets
        self._costs = costs
        self._believed = believed
        # Every cost is compared as one to be minimized: what is to be maximized changes its sign.
        self._sign = {n: 1 if m.goal == "minimize" else -1 for n, m in costs.metrics.items()}
        self._max_children = max_children
        if space.linked:  # many axes, and costs layer by layer: as many bounds in all
            self._max_children = min(max_children, max(LINKED_BOUNDS // len(space.axes), 4096))
        # What a cost depends on, and what conditions link to it, is set axis by axis.
        self._set_axes = self._setting_order()
        self._free_axes = [k for k in range(len(space.axes)) if k not in self._set_axes]

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """The exact costs of each design."""
        return self._costs.costs(columns)

    def predicted(self, columns: Columns) -> Mapping[str, LogNormal]:
        """Predict the other costs of each design that objectives may name."""
        return {} if self._believed is None else self._believed(columns)

    def encode(self, columns: Columns) -> np.ndarray[Any, Any]:
        """Features in [0, 1], (N, features)."""
        return self.space.encode(columns)

    def contains(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each design is within every budget, (N,)."""
        rows = len(next(iter(columns.values())))
        return self._within(self._floor(columns, columns), rows) if rows else np.zeros(0, bool)

    def neighbours(self, design: Design) -> Columns:
        """All feasible designs that differ by one step of one knob."""
        columns = self.space.columns(self.space.neighbours(design))
        inside = self.contains(columns)
        return {name: values[inside] for name, values in columns.items()}

    @cached_property
    def size(self) -> Size:
        """How many designs are feasible."""
        free = math.prod(self._level_count(k) for k in self._free_axes)
        rows, weight = self._all_prefixes
        count = min(len(rows) * weight * free, float(self.space.size))
        return Size(count=count, exact=weight == 1.0)

    def sample(self, n: int, rng: np.random.Generator) -> Columns:
        """Draw up to `n` distinct designs (fewer only where no more exist)."""
        known, _ = self._all_prefixes
        free = math.prod(self._level_count(k) for k in self._free_axes)
        if self._is_listed and len(known) * free <= 4 * n + 1000:
            chosen = rng.permutation(len(known) * free)[:n]
            return self.space.columns(self._complete(known[chosen // free], chosen % free))
        distinct: dict[bytes, None] = {}
        barren = 0  # draws of `n` in a row that found nothing new
        while barren < BARREN_DRAWS and len(distinct) < n:
            before = len(distinct)
            if self._is_listed or not distinct:
                picked = known[rng.integers(len(known), size=n)]
            if not self._is_listed:
                picked = self._stirred(picked, rng)
            spare = [rng.integers(self._level_count(k), size=n) for k in self._free_axes]
            picked[:, self._free_axes] = np.array(spare, dtype=np.int64).reshape(len(spare), n).T
            distinct.update(dict.fromkeys(row.tobytes() for row in picked))
            barren = barren + 1 if len(distinct) == before else 0
        drawn = np.frombuffer(b"".join(distinct), dtype=np.int64).reshape(-1, len(self.levels))
        return self.space.columns(drawn[:n])

    def _stirred(self, rows_NK: Indices, rng: np.random.Generator) -> Indices:
        """Redraw one knob after the other, but where that would break a budget.

        Uniform designs stay uniform (Metropolis-Hastings), and from the thinned share that is
        known the moves reach the others.
        """
        for k in self._set_axes:
            moved_NK, log_odds_N = self._redrawn(rows_NK, k, rng)
            moves = self.contains(self.space.columns(moved_NK))
            moves &= -rng.exponential(size=len(moves)) <= log_odds_N
            rows_NK = np.where(moves[:, None], moved_NK, rows_NK)
        return rows_NK

    def _redrawn(
        self, rows_NK: Indices, k: int, rng: np.random.Generator
    ) -> tuple[Indices, np.ndarray[Any, np.dtype[np.float64]]]:
        """Draw one knob anew, and the knobs that this wakes.

        Returns:
            The designs, and how much likelier the way back is, as a logarithm, (N,).
        """
        moved_NK, log_odds_N = rows_NK.copy(), np.zeros(len(rows_NK))
        active = self.space.is_active(rows_NK, k)
        moved_NK[active, k] = rng.choice(self.space.options(k), size=int(active.sum()))
        for j in self.space.order:
            if j == k or j not in self.space.linked:
                continue
            was, now = self.space.is_active(rows_NK, j), self.space.is_active(moved_NK, j)
            options = self.space.options(j)
            moved_NK[was & ~now, j] = self.space.axes[j].idle
            moved_NK[now & ~was, j] = rng.choice(options, size=int((now & ~was).sum()))
            log_odds_N += np.log(len(options)) * (now.astype(float) - was)
        return moved_NK, log_odds_N

    def cheapest(self, cost: str) -> tuple[dict[str, Value], float]:
        """Find the best design of the whole space by one cost alone, by best-first search."""
        order = itertools.count()
        start = np.zeros((1, len(self.space.axes)), dtype=np.int64)
        # Of equal bounds the deepest prefix comes first, or ties would be searched in full.
        heap: list[tuple[float, int, int, Indices]] = [(0.0, 0, next(order), start)]
        while True:
            least, minus_depth, _, row = heapq.heappop(heap)
            depth = -minus_depth
            if depth == len(self._set_axes):
                return design_at(self.space.columns(row), 0), self._sign[cost] * least
            children = self._extend(row, self._set_axes[depth])
            bounds = self._bounds(children, depth + 1)[cost]
            for child, lower in zip(children, bounds.tolist(), strict=True):
                heapq.heappush(heap, (lower, -depth - 1, next(order), child[None]))

    def require_some(self) -> None:
        """Refuse a set that is proven empty, or of which nothing was found.

        Raises:
            InfeasibleError: names the budgets that exclude everything, and the cheapest design.
        """
        rows, weight = self._all_prefixes
        if len(rows):
            return
        if weight != 1.0:
            raise InfeasibleError(
                "no design within the budgets was found by drawing at random, which proves nothing",
                hint="make the space smaller or raise the budgets",
            )
        lines = []
        for cost, limit in self.budgets.items():
            design, best = self.cheapest(cost)
            if self._sign[cost] * (best - limit) > 0:
                knobs = ", ".join(f"{name} {value}" for name, value in design.items())
                has = "cheapest design needs" if self._sign[cost] > 0 else "best design reaches"
                lines.append(f"budgets.{cost} is {limit:g}; the {has} {best:.6g} ({knobs})")
        if not lines:
            lines.append(
                "no design meets all budgets together, though each alone can be met: "
                + ", ".join(map(self._bounded, self.budgets))
            )
        raise InfeasibleError(
            "\n".join(lines), hint="widen the budget or add smaller values to the space"
        )

    @property
    def _is_listed(self) -> bool:
        """Whether `_all_prefixes` holds all there is to draw from."""
        return self._all_prefixes[1] == 1.0

    @cached_property
    def _all_prefixes(self) -> tuple[Indices, float]:
        """Every feasible setting of those knobs, or a thinned share with its weight."""
        rows, weight = self._enumerate(np.random.default_rng(0), self._max_children)
        if not self._set_axes:
            rows = rows[self.contains(self.space.columns(rows))]
        return rows, weight

    def _enumerate(self, rng: np.random.Generator, max_children: int) -> tuple[Indices, float]:
        """Set these knobs one after the other, dropping what cannot become feasible.

        Returns:
            Level indices (N, K), free knobs at level 0; and how many designs each row stands for.
        """
        rows = np.zeros((1, len(self.space.axes)), dtype=np.int64)
        weight = 1.0
        for depth, k in enumerate(self._set_axes, start=1):
            limit = max(FEWEST_PREFIXES, max_children // self._level_count(k))
            if len(rows) > limit:
                weight *= len(rows) / limit
                rows = rows[rng.permutation(len(rows))[:limit]]
            at_once = max(1, CHUNK_ROWS // self._level_count(k))
            pieces = (rows[i : i + at_once] for i in range(0, len(rows), at_once))
            rows = np.concatenate([rows[:0], *(self._affordable(p, k, depth) for p in pieces)])
        return rows, weight

    def _affordable(self, rows_NK: Indices, k: int, depth: int) -> Indices:
        """Set knob `k` to each of its levels; keep what may still fit the budgets."""
        extended = self._extend(rows_NK, k)
        return extended[self._within(self._bounds(extended, depth), len(extended))]

    def _setting_order(self) -> list[int]:
        """Words have no lower and upper end, so they come first: a box is over ordered knobs.

        But a knob comes after those that its condition looks at.
        """
        axes, linked = self.space.axes, self.space.linked
        waiting = sorted(
            (k for k, axis in enumerate(axes) if self._matters(axis) or k in linked),
            key=lambda k: (axes[k].ordered, len(axes[k].values)),
        )
        order: list[int] = []
        while waiting:
            ready = next(k for k in waiting if not set(self.space.parents(k)) & set(waiting))
            waiting.remove(ready)
            order.append(ready)
        return order

    def _extend(self, rows_NK: Indices, k: int) -> Indices:
        """Set knob `k` to each level it may have: where it is idle, to one."""
        active, options = self.space.is_active(rows_NK, k), self.space.options(k)
        counts = np.where(active, len(options), 1)
        extended = np.repeat(rows_NK, counts, axis=0)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        choice = options[np.arange(len(extended)) - first]
        extended[:, k] = np.where(np.repeat(active, counts), choice, self.space.axes[k].idle)
        return extended

    def _bounds(self, rows_NK: Indices, depth: int) -> dict[str, np.ndarray[Any, Any]]:
        """Lower bounds of the costs where only the first `depth` of them are set."""
        low, high = rows_NK.copy(), rows_NK.copy()
        for k in self._set_axes[depth:]:
            if self.space.axes[k].ordered:
                high[:, k] = self._level_count(k) - 1
        unset_words = [k for k in self._set_axes[depth:] if not self.space.axes[k].ordered]
        lowest: dict[str, np.ndarray[Any, Any]] = {}
        for words in itertools.product(*(range(self._level_count(k)) for k in unset_words)):
            for side in (low, high):
                side[:, unset_words] = words
            bounds = self._floor(self.space.columns(low), self.space.columns(high))
            for cost, values in bounds.items():
                lowest[cost] = np.minimum(lowest[cost], values) if cost in lowest else values
        return lowest

    def _floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Lower bounds of what budgets hold, with the sign that makes less better."""
        assert self._costs.cost_floor is not None, "see codesign.counted"
        floor = self._costs.cost_floor(low, high)
        return {cost: self._sign[cost] * values for cost, values in floor.items()}

    def _within(
        self, costs: Mapping[str, np.ndarray[Any, Any]], rows: int
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        inside = np.ones(rows, dtype=bool)
        for cost, limit in self.budgets.items():
            inside &= costs[cost] <= self._sign[cost] * limit
        return inside

    def _matters(self, axis: Axis) -> bool:
        """Whether a cost that a budget may hold depends on this knob."""
        predicted = any(
            m.source == "predicted" for m in map(self._costs.metrics.get, self.budgets) if m
        )
        return axis.affects_cost or (predicted and axis.affects_prediction)

    def _bounded(self, cost: str) -> str:
        return f"{cost} {'≤' if self._sign[cost] > 0 else '≥'} {self.budgets[cost]:g}"

    def _complete(self, rows_NK: Indices, free_N: np.ndarray[Any, Any]) -> Indices:
        """Set the free knobs from one mixed-radix number per row."""
        completed = rows_NK.copy()
        for k in self._free_axes:
            free_N, completed[:, k] = np.divmod(free_N, self._level_count(k))
        return completed

    def _level_count(self, k: int) -> int:
        axis: Axis = self.space.axes[k]
        return len(axis.values)
