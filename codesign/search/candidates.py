"""Designs and columns: what every proposer does with them. NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from codesign.contracts import Columns, Design, Feasible, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Key = frozenset[tuple[str, Value]]


def key_of(design: Design) -> Key:
    """Return what makes two designs the same: their values, whatever the order of the knobs."""
    return frozenset(design.items())


def count(columns: Columns) -> int:
    """Count the designs in columns."""
    return len(next(iter(columns.values()))) if columns else 0


def as_designs(columns: Columns) -> list[Design]:
    """Split columns into designs of plain Python values."""
    lists = [np.asarray(column).tolist() for column in columns.values()]
    names = tuple(columns)
    return [
        dict(zip(names, cast("tuple[Value, ...]", row), strict=True))
        for row in zip(*lists, strict=True)
    ]


def as_columns(designs: Sequence[Design]) -> Columns:
    """Join designs (at least one, all of the same knobs) into columns."""
    return {name: np.array([design[name] for design in designs]) for name in designs[0]}


def unseen(designs: Iterable[Design], taken: Iterable[Design]) -> list[Design]:
    """Leave out what is taken and what came before, keeping the order."""
    seen = {key_of(design) for design in taken}
    fresh: list[Design] = []
    for design in designs:
        key = key_of(design)
        if key not in seen:
            seen.add(key)
            fresh.append(design)
    return fresh


def sample(feasible: Feasible, n: int, rng: np.random.Generator) -> list[Design]:
    """Draw up to `n` distinct designs, in random order."""
    drawn = as_designs(feasible.sample(n, rng))
    return [drawn[i] for i in rng.permutation(len(drawn))]


def sample_unseen(
    feasible: Feasible, taken: Sequence[Design], n: int, rng: np.random.Generator
) -> list[Design]:
    """Draw `n` distinct designs that are not taken, in random order.

    Asking for as many more as are taken leaves `n`, so fewer come back only where no more exist.
    """
    return unseen(sample(feasible, n + len(taken), rng), taken)[:n]
