"""A recorded table as a feasible set: its rows are all the designs there are.

So a search can be replayed on runs that were made before, by any proposer and without training.
R rows, K knobs, N designs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.axes import Axis, is_geometric
from codesign.contracts import Columns, Design, LogNormal, Value
from codesign.designs import as_columns, design_at
from codesign.errors import ConfigError
from codesign.space import Indices, Space

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Row = Mapping[str, Value | None]

# Rows that count as near a design, for each knob, besides those that differ in one knob alone.
NEAREST_PER_KNOB = 2


class TableSet:
    """The rows of a table; satisfies `codesign.contracts.Feasible`.

    A knob's levels are its values in the rows. Numbers are ordered, on a logarithmic scale where
    they read as one; words and flags are not. Designs have a plain value of every knob: a word
    that is missing in a row is "", a number is the knob's lowest level there, and a flag of the
    name `KNOB_given` is false.

    Args:
        rows: at least one, all of the same knobs and no two alike; None: the value is missing.
        costs: the exact costs, each (R,).

    Attributes:
        designs: the rows as designs, in their order.
        levels: the lattice that the rows lie on.

    Raises:
        ConfigError: no rows, rows alike, other knobs than the first row's, a knob with both numbers
            and words or without a value, a cost of another length.
    """

    def __init__(self, rows: Sequence[Row], costs: Mapping[str, ArrayLike] | None = None) -> None:
        self.designs: list[Design] = _completed(rows)
        self._columns = as_columns(self.designs)
        self._space = Space(tuple(_axis(n, values) for n, values in self._columns.items()))
        self.levels = self._space.levels
        self._indices_RK = self._space.indices(self._columns)
        self._encoded_RM = self._space.encode(self._columns)
        self._row_of: dict[tuple[Value, ...], int] = {}
        for i, design in enumerate(self.designs):
            first = self._row_of.setdefault(tuple(design.values()), i)
            if first != i:
                raise ConfigError(
                    f"rows {first} and {i} of the table are both {dict(design)}",
                    hint="merge them, for example to their mean",
                )
        self._costs = {n: np.asarray(c, dtype=np.float64) for n, c in (costs or {}).items()}
        for name, cost in self._costs.items():
            if cost.shape != (len(rows),):
                raise ConfigError(
                    f"the cost {name} has shape {cost.shape}; must have one value for each of "
                    f"{len(rows)} rows"
                )

    def sample(self, n: int, rng: np.random.Generator) -> Columns:
        """Draw up to `n` distinct rows, all equally likely."""
        return self._at(rng.permutation(len(self.designs))[:n])

    def neighbours(self, design: Design) -> Columns:
        """All rows that differ in one knob, then the nearest others: two for each knob.

        Where the rows are few of the lattice, none may differ in one knob alone.
        """
        here_K = self._space.index_of(design)[0]
        here_M = self.encode(as_columns([design]))[0]
        differ_R = (self._indices_RK != here_K).sum(axis=1)
        distance_R = np.square(self._encoded_RM - here_M).sum(axis=1)
        order = np.lexsort((distance_R, differ_R != 1))
        wanted = NEAREST_PER_KNOB * len(here_K) + int((differ_R == 1).sum())
        return self._at(order[differ_R[order] > 0][:wanted])

    def encode(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Features in [0, 1], (N, features), of any designs of the lattice."""
        return self._space.encode(columns)

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """The recorded costs of rows, each (N,)."""
        rows = self.rows_of(columns)
        return {name: cost[rows] for name, cost in self._costs.items()}

    def predicted(self, columns: Columns) -> Mapping[str, LogNormal]:  # noqa: ARG002
        """Nothing: all costs are recorded."""
        return {}

    def rows_of(self, columns: Columns) -> Indices:
        """Return which row each design is, (N,).

        Raises:
            ConfigError: a design is no row of the table.
        """
        lists = [np.asarray(columns[name]).tolist() for name in self.levels]
        found = [self._row_of.get(values, -1) for values in zip(*lists, strict=True)]
        if -1 in found:
            stranger = design_at(columns, found.index(-1))
            raise ConfigError(
                f"the table has no row {stranger}", hint="propose designs of the table alone"
            )
        return np.array(found, dtype=np.int64)

    def _at(self, rows: Indices) -> Columns:
        return {name: values[rows] for name, values in self._columns.items()}


def _completed(rows: Sequence[Row]) -> list[Design]:
    """Give every knob a plain value, of one type in all rows.

    Raises:
        ConfigError: see `TableSet`.
    """
    if not rows:
        raise ConfigError("the table has no rows; must have at least one")
    for i, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise ConfigError(
                f"row {i} of the table has the knobs {', '.join(row)}; "
                f"must have those of row 0: {', '.join(rows[0])} (None: missing)"
            )
    columns: dict[str, list[Value]] = {}
    for name in rows[0]:
        columns |= _completed_knob(name, [row[name] for row in rows])
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _completed_knob(name: str, values: Sequence[Value | None]) -> dict[str, list[Value]]:
    """Return a knob's plain values and, where some numbers are missing, the flag that says so."""
    given = [value for value in values if value is not None]
    kinds = {float if type(value) is int else type(value) for value in given}
    if len(kinds) != 1:
        found = " and ".join(sorted(kind.__name__ for kind in kinds)) or "no value"
        raise ConfigError(f"the knob {name} has {found}; must have numbers, words or flags")
    is_missing = len(given) < len(values)
    if kinds == {str} or (kinds == {bool} and is_missing):
        return {name: ["" if value is None else str(value) for value in values]}
    if kinds == {bool}:
        return {name: given}
    number = float if float in map(type, given) else int
    lowest = min(number(value) for value in given)
    plain: list[Value] = [lowest if value is None else number(value) for value in values]
    flags: list[Value] = [value is not None for value in values]
    return {name: plain, f"{name}_given": flags} if is_missing else {name: plain}


def _axis(name: str, values_R: np.ndarray[Any, Any]) -> Axis:
    """Lay out one knob: its values, ascending."""
    levels = tuple(np.unique(values_R).tolist())
    ordered = isinstance(levels[0], int | float) and not isinstance(levels[0], bool)
    return Axis(name=name, values=levels, ordered=ordered, log=ordered and is_geometric(levels))
