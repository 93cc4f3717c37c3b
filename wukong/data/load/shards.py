"""Rows straight from Parquet files: columns chosen by name, categories hashed as they are read.

Nothing is prepared, and nothing is learned from train: an id is a stable hash of the value (see
`wukong.data.hashing`), dense values are taken as they stand. What is missing is 0: a null category
has id 0, a null or NaN dense value is 0.0; a null label was not observed.

Imports polars; import this module late. R rows that are read at once, T tasks.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from codesign.errors import ConfigError, DataError
from wukong.data.columns import MOST_FLOAT32, UNOBSERVED, SplitColumns, is_file
from wukong.data.hashing import MOST_BUCKETS, ids_of
from wukong.data.load.stream import BlockRows
from wukong.schema import CategoricalFeature, InputSchema, task_mistakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wukong.data.load.order import Runs


@dataclass(frozen=True, kw_only=True)
class ShardColumns:
    """Which columns the files hold; others are not read.

    Attributes:
        labels: of each task, boolean or numbers that are 0 or 1.
        one_hot: integers, booleans or texts → rows of the feature's table, from 2 to 2^31 - 1; ids
            are those of `wukong.data.hashing.ids_of`, as in prepared data with as many buckets.
        multi_hot: lists of those → rows of the table.
        max_length: of a list, only so many of the last values count; None: all do.
        dense: numbers.
        weight: numbers ≥ 0, how much each row counts; None: all alike.
        group: integers; None: there are no groups.

    Raises:
        ConfigError: naming every table that is too small or too large, and where there is no label.
    """

    labels: tuple[str, ...]
    one_hot: Mapping[str, int] = field(default_factory=dict)
    multi_hot: Mapping[str, int] = field(default_factory=dict)
    max_length: int | None = None
    dense: tuple[str, ...] = ()
    weight: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        mistakes = [
            f"{name} has {buckets} buckets; must be from 2 to {MOST_BUCKETS}"
            for name, buckets in {**self.one_hot, **self.multi_hot}.items()
            if not 2 <= buckets <= MOST_BUCKETS
        ]
        mistakes += task_mistakes(self.labels)
        if self.max_length is not None and self.max_length < 1:
            mistakes.append(f"max_length is {self.max_length}; must be ≥ 1")
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        features = (*self.one_hot, *self.multi_hot, *self.dense)
        extra = (name for name in (self.weight, self.group) if name is not None)
        return tuple(dict.fromkeys((*self.labels, *features, *extra)))

    def schema(self) -> InputSchema:
        """The features as models see them: one-hot, multi-hot, dense; a task for each label."""
        categorical = [
            CategoricalFeature(name=name, cardinality=buckets, multi_hot=columns is self.multi_hot)
            for columns in (self.one_hot, self.multi_hot)
            for name, buckets in columns.items()
        ]
        return InputSchema(categorical=tuple(categorical), dense=self.dense, tasks=self.labels)


class ShardRows(BlockRows):
    """The rows of Parquet files, one file after another.

    A row group is decoded whole for any row of it, so the cost of a small block is that of its row
    group; blocks as large as the row groups are the cheapest.

    Args:
        paths: the files, in the order in which their rows count; every reader gives all of them.
        columns: what is read of them.
        block_rows: rows of a block, ≥ 1.

    Raises:
        DataError: naming every file that does not load or lacks a column, and every column of a
            type that it cannot have.
    """

    def __init__(
        self, paths: Sequence[Path], columns: ShardColumns, block_rows: int = 32_768
    ) -> None:
        if not paths:
            raise DataError("no Parquet files", hint="give at least one")
        mistakes = [mistake for path in paths for mistake in _mistakes(path, columns)]
        if mistakes:
            raise DataError("\n".join(mistakes))
        self._paths, self._columns = tuple(paths), columns
        counts = [_collect(path, _scan(path).select(pl.len())).item() for path in paths]
        self._first_row = list(accumulate(counts, initial=0))
        self.rows, self.block_rows = self._first_row[-1], block_rows

    def read(self, runs: Runs) -> SplitColumns:
        """Read these rows; see `BlockRows.read`.

        Raises:
            DataError: naming file and row of a value that cannot be.
        """
        chosen = [part for first, end in runs for part in self._parts(first, end)]
        parts = [self._read_part(*part) for part in chosen or [(self._paths[0], 0, 0)]]
        return _joined(parts) if len(parts) > 1 else parts[0]

    def _parts(self, first: int, end: int) -> Iterator[tuple[Path, int, int]]:
        """Yield file, first row in it and number of rows."""
        while first < end:
            shard = bisect_right(self._first_row, first) - 1
            taken = min(end, self._first_row[shard + 1]) - first
            yield self._paths[shard], first - self._first_row[shard], taken
            first += taken

    def _read_part(self, path: Path, first: int, rows: int) -> SplitColumns:
        chosen = _scan(path).slice(first, rows).select(self._columns.names)
        frame = _collect(path, chosen)
        if len(frame) != rows:
            raise DataError(
                f"{len(frame)} rows from row {first + 1} on; there were {rows}",
                where=str(path),
                hint="the file has changed since it was opened; start again",
            )
        return _encode(_Part(frame=frame, path=path, first_row=first), self._columns)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some rows of one file, and how many rows come before."""

    frame: pl.DataFrame
    path: Path
    first_row: int

    def where(self, row: int, column: str) -> str:
        """Name row (from 1) and column, as preparation does."""
        return f"{self.path}:row {self.first_row + row + 1}:{column}"

    def floats(self, name: str, good: Callable[[pl.Series], pl.Series], allowed: str) -> pl.Series:
        """Cast a column to Float64; null stays.

        Raises:
            DataError: naming the first value that is not null and not `good`.
        """
        values = self.frame[name].cast(pl.Float64)
        bad = (~good(values)).fill_null(False)
        if bad.any():
            row = bad.arg_max() or 0
            raise DataError(
                f"{name} is {self.frame[name][row]!r}; must be {allowed}",
                where=self.where(row, name),
            )
        return values


def _encode(part: _Part, columns: ShardColumns) -> SplitColumns:
    frame, rows = part.frame, len(part.frame)
    one_hot = np.empty((rows, len(columns.one_hot)), dtype=np.int32)
    for i, (name, buckets) in enumerate(columns.one_hot.items()):
        one_hot[:, i] = ids_of(frame[name], buckets)
    dense = np.empty((rows, len(columns.dense)), dtype=np.float32)
    for i, name in enumerate(columns.dense):
        finite = part.floats(name, _is_dense, f"finite, of at most {MOST_FLOAT32:g}")
        dense[:, i] = finite.fill_null(0.0).fill_nan(0.0).to_numpy()
    labels = np.empty((rows, len(columns.labels)), dtype=np.uint8)
    for i, name in enumerate(columns.labels):
        label = part.floats(name, lambda v: (v == 0) | (v == 1), "0 or 1")
        labels[:, i] = label.fill_null(UNOBSERVED).to_numpy()
    bags = [_bags(frame[name], b, columns.max_length) for name, b in columns.multi_hot.items()]
    return SplitColumns(
        one_hot=one_hot,
        bag_values=tuple(values for values, _ in bags),
        bag_offsets=tuple(offsets for _, offsets in bags),
        dense=dense,
        labels=labels,
        weight=None if columns.weight is None else _weight(part, columns.weight),
        group=None if columns.group is None else _group(part, columns.group),
    )


def _is_dense(values: pl.Series) -> pl.Series:
    return values.is_nan() | (values.abs() <= MOST_FLOAT32)


def _bags(
    lists: pl.Series, buckets: int, max_length: int | None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Hash the values of all lists, and say where each list's begin; a null list is empty."""
    if max_length is not None:
        lists = lists.list.tail(max_length)
    lengths = lists.list.len().fill_null(0)
    values = lists.filter(lengths > 0).explode()
    ends = np.cumsum(lengths.to_numpy(), dtype=np.int64)
    return ids_of(values, buckets), np.concatenate([np.zeros(1, np.int64), ends])


def _weight(part: _Part, name: str) -> NDArray[np.float32]:
    allowed = f"finite and ≥ 0, of at most {MOST_FLOAT32:g}"
    weight = part.floats(name, lambda v: (v >= 0) & (v <= MOST_FLOAT32), allowed)
    _refuse_nulls(part, weight, name)
    return weight.to_numpy().astype(np.float32)


def _group(part: _Part, name: str) -> NDArray[np.int64]:
    found = part.frame[name]
    _refuse_nulls(part, found, name)
    group = found.cast(pl.Int64, strict=False)
    if group.has_nulls():
        row = group.is_null().arg_max() or 0
        raise DataError(f"{name} is {found[row]}; must be below 2^63", where=part.where(row, name))
    return group.to_numpy()


def _refuse_nulls(part: _Part, values: pl.Series, name: str) -> None:
    if values.has_nulls():
        row = values.is_null().arg_max() or 0
        raise DataError(f"{name} is missing", where=part.where(row, name))


def _joined(parts: Sequence[SplitColumns]) -> SplitColumns:
    def join(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
        return None if arrays[0] is None else np.concatenate([a for a in arrays if a is not None])

    features = range(len(parts[0].bag_values))
    lengths = [[np.diff(part.bag_offsets[f]) for part in parts] for f in features]
    zero = np.zeros(1, dtype=np.int64)
    return SplitColumns(
        one_hot=np.concatenate([part.one_hot for part in parts]),
        bag_values=tuple(np.concatenate([part.bag_values[f] for part in parts]) for f in features),
        bag_offsets=tuple(np.concatenate([zero, *lengths[f]]).cumsum() for f in features),
        dense=np.concatenate([part.dense for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        weight=join([part.weight for part in parts]),
        group=join([part.group for part in parts]),
    )


def _mistakes(path: Path, columns: ShardColumns) -> Iterator[str]:
    """Say what is wrong with a file, from its footer alone."""
    if not is_file(path):
        yield f"{path}: no such file"
        return
    try:
        found = _scan(path).collect_schema()
    except (OSError, pl.exceptions.PolarsError) as error:
        yield f"{path}: does not load as Parquet: {error}"
        return
    missing = [name for name in columns.names if name not in found]
    if missing:
        yield f"{path}: no column {', '.join(missing)}; there are {', '.join(found)}"
    numbers = (*columns.labels, *columns.dense, *([columns.weight] if columns.weight else []))
    wanted: list[tuple[str, str, Callable[[pl.DataType], bool]]] = [
        *((name, "numbers", _is_number) for name in numbers),
        *((name, "integers, booleans or texts", _is_category) for name in columns.one_hot),
        *((name, "lists of those", _is_list) for name in columns.multi_hot),
        *((name, "integers", _is_integer) for name in ([columns.group] if columns.group else [])),
    ]
    for name, kind, is_right in wanted:
        if name in found and not is_right(found[name]):
            yield f"{path}: {name} is {found[name]}; must be {kind}"


def _is_integer(dtype: pl.DataType) -> bool:
    return dtype.is_integer()


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _is_category(dtype: pl.DataType) -> bool:
    texts = (pl.String, pl.Categorical, pl.Enum)
    return dtype.is_integer() or dtype == pl.Boolean or isinstance(dtype, texts)


def _is_list(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.List) and _is_category(pl.Series([], dtype=dtype.inner).dtype)


def _scan(path: Path) -> pl.LazyFrame:
    # A name that holds [ ] * or ? means one file.
    return pl.scan_parquet(path, glob=False)


def _collect(path: Path, query: pl.LazyFrame) -> pl.DataFrame:
    try:
        return query.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"does not load: {error}", where=str(path)) from error
