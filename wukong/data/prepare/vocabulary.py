"""Ids of categorical values: by a vocabulary of train's values, or by a hash. Imports polars.

Counting keeps the distinct values in memory up to a limit, beyond which counts go to a scratch
folder and are added up again in parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from wukong.data.hashing import ids_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Distinct values that one vocabulary holds in memory while it is counted.
HELD_VALUES = 1_000_000
# Counts that are merged into the others at a time.
_PENDING_VALUES = 500_000


class ValueCounts:
    """Counts the values of a feature, piece by piece.

    Args:
        scratch: a folder of its own for counts that do not fit; made when needed.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._pending: list[pl.DataFrame] = []
        self._spilled = self._pending_values = 0
        self._files: list[Path] = []

    def add(self, values: pl.Series) -> None:
        """Count some values."""
        counted = values.alias("value").value_counts(name="count")
        self._pending.append(counted.with_columns(pl.col("count").cast(pl.UInt32)))
        self._pending_values += len(counted)
        if self._pending_values > _PENDING_VALUES + 2 * len(self._pending[0]):
            self._merge()
            if self._pending_values > HELD_VALUES:
                self._spill()

    def vocabulary(self, minimum_count: int) -> pl.DataFrame:
        """Return `value`, sorted, and `count` of all values that are frequent enough."""
        self._merge()
        if not self._spilled:
            held = self._pending[0] if self._pending else _no_counts()
            return held.filter(pl.col("count") >= minimum_count).sort("value")
        self._spill()
        parts = -(-self._spilled // HELD_VALUES)
        spilled = pl.scan_parquet(self._files, glob=False)
        frequent = [
            spilled.filter(pl.col("value").hash(seed=1) % parts == part)
            .group_by("value")
            .agg(pl.col("count").sum())
            .filter(pl.col("count") >= minimum_count)
            .collect()
            for part in range(parts)
        ]
        return pl.concat(frequent).sort("value")

    def _merge(self) -> None:
        if len(self._pending) > 1:
            together = pl.concat(self._pending, rechunk=False).group_by("value")
            self._pending = [together.agg(pl.col("count").sum())]
            self._pending_values = len(self._pending[0])

    def _spill(self) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        for counted in self._pending:
            self._files.append(self._scratch / f"{self._spilled}.parquet")
            counted.write_parquet(self._files[-1])
            self._spilled += len(counted)
        self._pending, self._pending_values = [], 0


class Vocabulary:
    """Numbers the values of a vocabulary from 1 in their order; 0 is for all others.

    A value is recognised by 64 bits of a hash, under which all values of the vocabulary differ;
    one that is not in it is taken for one that is with probability size / 2^64.

    Args:
        values: distinct, sorted.
    """

    def __init__(self, values: pl.Series) -> None:
        self._seed = 0
        hashes = values.hash(self._seed)
        while hashes.n_unique() < len(values):
            self._seed += 1
            hashes = values.hash(self._seed)
        order = np.argsort(hashes.to_numpy())
        self._hashes = hashes.to_numpy()[order]
        self._ids = (order + 1).astype(np.int32)

    @property
    def cardinality(self) -> int:
        """Rows that a table of these ids has."""
        return len(self._ids) + 1

    def ids(self, values: pl.Series) -> NDArray[np.int32]:
        """Number each value, int32 (values,)."""
        if not len(self._ids):
            return np.zeros(len(values), dtype=np.int32)
        hashes = values.hash(self._seed).to_numpy()
        places = np.searchsorted(self._hashes, hashes)
        places[places == len(self._hashes)] = 0
        return np.where(self._hashes[places] == hashes, self._ids[places], np.int32(0))


class Buckets:
    """Numbers values by a hash that is the same everywhere (see `wukong.data.hashing`).

    Args:
        cardinality: rows of the table, ≥ 2; id 0 is for missing values.
    """

    def __init__(self, cardinality: int) -> None:
        self.cardinality = cardinality

    def ids(self, values: pl.Series) -> NDArray[np.int32]:
        """Number each value, int32 (values,)."""
        return ids_of(values, self.cardinality)


def _no_counts() -> pl.DataFrame:
    return pl.DataFrame(schema={"value": pl.String, "count": pl.UInt32})
