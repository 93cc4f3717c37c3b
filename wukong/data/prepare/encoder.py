"""Checked rows to columns of numbers, with vocabularies and statistics of train. Imports polars.

N rows of a piece, F1 one-hot features, D dense features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from codesign.errors import DataError
from wukong.data.columns import MOST_FLOAT32, SplitColumns, deviation_or_one
from wukong.data.hashing import hashes_of
from wukong.data.prepare.rows import as_text
from wukong.data.prepare.vocabulary import Buckets, ValueCounts, Vocabulary
from wukong.schema import CategoricalFeature, InputSchema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wukong.data.prepare.description import Column, Description
    from wukong.data.prepare.rows import Rows
    from wukong.data.writer import PreparedWriter

_ID_TYPES = ("categorical", "multi_hot", "sequence")


@dataclass(kw_only=True)
class _Moments:
    """Counts, means and sums of squared deviations of columns, (D,), merged piece by piece."""

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def add(self, values_ND: NDArray[np.float64]) -> None:
        """Merge further rows (Chan, Golub and LeVeque 1979)."""
        known_ND = ~np.isnan(values_ND)
        count = known_ND.sum(axis=0)
        mean = np.where(known_ND, values_ND, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(known_ND, (values_ND - mean) ** 2, 0.0).sum(axis=0)
        total = np.maximum(self.count + count, 1)
        delta = mean - self.mean
        self.squares += squares + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count += count

    def deviation(self) -> NDArray[np.float64]:
        """Standard deviations, 1 where a column is constant or has no values."""
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        return deviation_or_one(self.mean, deviation)


class Encoder:
    """Learns from train, then encodes every split.

    Args:
        files: name → path, those of vectors among them.
        scratch: a folder for counts that do not fit in memory.
    """

    def __init__(self, description: Description, files: Mapping[str, Path], scratch: Path) -> None:
        self._description = description
        self._ids = description.of_type(*_ID_TYPES)
        self._dense = description.of_type("dense")
        self._owner = {column.name: column.shares or column.name for column in self._ids}
        self._counts = {
            column.name: ValueCounts(scratch / str(i))
            for i, column in enumerate(self._ids)
            if not column.shares and not column.hash
        }
        zeros = [np.zeros(len(self._dense)) for _ in range(3)]
        self._moments = _Moments(count=zeros[0], mean=zeros[1], squares=zeros[2])
        self._files = files
        self._vectors = {c.name: _matrix(files[c.file]) for c in description.of_type("vector")}
        self._numbering: dict[str, Vocabulary | Buckets] = {}

    @property
    def needs_train(self) -> bool:
        """Whether there is anything to learn from train."""
        return bool(self._counts) or any("standardize" in c.transform for c in self._dense)

    def observe(self, rows: Rows) -> None:
        """Learn from rows of train."""
        self._moments.add(self._transformed(rows))
        for column in self._ids:
            if self._owner[column.name] in self._counts:
                self._counts[self._owner[column.name]].add(_values(column, rows.frame)[0])

    def fit(self, writer: PreparedWriter) -> dict[str, str]:
        """End learning: number the values and save the vocabularies; return their files."""
        minimum = {column.name: column.minimum_count for column in self._ids}
        found: dict[str, str] = {}
        for i, (name, counts) in enumerate(self._counts.items()):
            frame = counts.vocabulary(minimum[name])
            found[name] = f"vocabularies/{i}.csv"
            frame.write_csv(writer.path(found[name]))
            self._numbering[name] = Vocabulary(frame["value"])
        self._counts.clear()
        for column in self._ids:
            if column.hash:
                found[column.name] = f"hashed:{column.hash}"
                self._numbering[column.name] = Buckets(column.hash)
        return {column.name: found[self._owner[column.name]] for column in self._ids}

    def schema(self) -> InputSchema:
        """Describe the columns, once `fit` was called."""
        vectors = [
            f"{name}_{i}" for name, matrix in self._vectors.items() for i in range(matrix.shape[1])
        ]
        return InputSchema(
            categorical=tuple(
                CategoricalFeature(
                    name=column.name,
                    cardinality=self._numbering[self._owner[column.name]].cardinality,
                    multi_hot=column.type != "categorical",
                    pooling="mean" if column.pooling == "mean" else "sum",
                )
                for column in self._ids
            ),
            dense=(*(column.name for column in self._dense), *vectors),
            tasks=tuple(column.name for column in self._description.of_type("label")),
        )

    def encode(self, rows: Rows) -> SplitColumns:
        """Encode rows, once `fit` was called."""
        one_hot, bags = [], []
        for column in self._ids:
            values, lengths = _values(column, rows.frame)
            ids = self._numbering[self._owner[column.name]].ids(values)
            if lengths is None:
                one_hot.append(ids)
            else:
                bags.append((ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])))
        groups = [hashes_of(rows.frame[c.source]) for c in self._of_type("group")]
        return SplitColumns(
            one_hot=_stacked(one_hot, len(rows), np.int32),
            bag_values=tuple(ids for ids, _ in bags),
            bag_offsets=tuple(offsets for _, offsets in bags),
            dense=self._encoded_dense(rows),
            labels=rows.labels,
            weight=rows.weight,
            group=groups[0].view(np.int64) if groups else None,
        )

    def _of_type(self, kind: str) -> tuple[Column, ...]:
        return self._description.of_type(kind)

    def _transformed(self, rows: Rows) -> NDArray[np.float64]:
        """Apply what needs no statistics."""
        values_ND = rows.dense_ND.copy()
        for i, column in enumerate(self._dense):
            if column.transform.startswith("log"):
                values = values_ND[:, i]
                values_ND[:, i] = np.sign(values) * np.log1p(np.abs(values))
        return values_ND

    def _encoded_dense(self, rows: Rows) -> NDArray[np.float32]:
        scaled = np.array(["standardize" in column.transform for column in self._dense], dtype=bool)
        values_ND = self._transformed(rows)
        shift_D = np.where(scaled, self._moments.mean, 0.0)
        scale_D = np.where(scaled, self._moments.deviation(), 1.0)
        scaled_ND = (values_ND - shift_D) / scale_D
        scaled_ND[np.isnan(scaled_ND)] = 0.0
        beyond_D = (np.abs(scaled_ND) > MOST_FLOAT32).any(axis=0)
        if beyond_D.any():
            name = self._dense[int(beyond_D.argmax())].name
            raise DataError(
                f"{name} has a value that is too large for float32 beside those of train",
                hint="describe it with another `transform`",
            )
        parts = [scaled_ND.astype(np.float32)]
        parts += [
            _rows_of(
                self._vectors[column.name], rows.frame[column.source], self._files[column.file]
            )
            for column in self._of_type("vector")
        ]
        return np.concatenate(parts, axis=1)


def _values(column: Column, frame: pl.DataFrame) -> tuple[pl.Series, NDArray[np.int64] | None]:
    """Return the values of all rows, one row after another, and how many each row has.

    The second is None for a column with exactly one value in every row.
    """
    if column.type == "categorical":
        return as_text(frame, column.source), None
    raw = frame[column.source]
    if isinstance(raw.dtype, (pl.List, pl.Array)):
        bags = raw.cast(pl.List(pl.String))
    else:
        text = as_text(frame, column.source)
        empty = text.str.len_bytes() == 0
        bags = text.set(empty, None).str.split(column.separator)
    if column.max_length:
        bags = bags.list.tail(column.max_length)
    lengths = bags.list.len().fill_null(0)
    values = bags.filter(lengths > 0).explode().fill_null("")
    return values, lengths.to_numpy().astype(np.int64)


def _stacked(columns: list[NDArray[np.int32]], rows: int, dtype: type) -> NDArray[np.int32]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0), dtype=dtype)


def _matrix(path: Path) -> NDArray[np.float32]:
    hint = "save the matrix with numpy.save, one row per key from 0"
    try:
        matrix = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"does not load: {error}", where=str(path), hint=hint) from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise DataError("is no matrix of floats", where=str(path), hint=hint)
    return matrix


def _rows_of(matrix: NDArray[np.float32], keys: pl.Series, path: Path) -> NDArray[np.float32]:
    """Look up rows, float32 (N, width); zeros where there is none.

    Raises:
        DataError: naming the first number that is not finite as float32.
    """
    places = keys.cast(pl.Float64).cast(pl.Int64).to_numpy()
    known = places < len(matrix)
    found = np.zeros((len(places), matrix.shape[1]), dtype=np.float32)
    looked_up = matrix[places[known]]
    bad = ~(np.abs(looked_up) <= MOST_FLOAT32)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"holds {looked_up[row, column]}; must be finite, of at most {MOST_FLOAT32:g}",
            where=f"{path}:row {places[known][row]}:column {column}",
        )
    found[known] = looked_up
    return found
