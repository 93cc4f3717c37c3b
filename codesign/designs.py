"""Designs and columns: one value per knob, and many designs at once by knob. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from codesign.contracts import Columns, Design, Value

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


def design_at(columns: Columns, row: int) -> dict[str, Value]:
    """Take one design out of columns, with plain Python values."""
    return {name: np.asarray(values)[row].item() for name, values in columns.items()}
