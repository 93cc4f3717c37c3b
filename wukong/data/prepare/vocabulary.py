"""Ids of categorical values: by a vocabulary of train's values, or by a hash. Imports polars.

Counting keeps the distinct values in memory up to a limit, beyond which counts go to a scratch
folder and are added up again in parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Distinct values that one vocabulary holds in memory while it is counted.
HELD_VALUES = 1_000_000
# Counts that are merged into the others at a time.
_PENDING_VALUES = 500_000
_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class ValueCounts:
    """Counts the values of a feature, piece by piece.

    Args:
        scratch: a folder of its own for counts that do not fit; made when needed.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._pending: list[pl.DataFrame] = []
        self._spilled = self._pending_values = 0

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
        spilled = pl.scan_parquet(self._scratch / "*.parquet")
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
            counted.write_parquet(self._scratch / f"{self._spilled}.parquet")
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
    """Numbers values by a hash that is the same on every machine: FNV-1a, 64 bits, of UTF-8.

    Args:
        cardinality: number of buckets, ≥ 1.
    """

    def __init__(self, cardinality: int) -> None:
        self.cardinality = cardinality

    def ids(self, values: pl.Series) -> NDArray[np.int32]:
        """Number each value from 0, int32 (values,)."""
        return (stable_hash(values) % np.uint64(self.cardinality)).astype(np.int32)


def stable_hash(values: pl.Series) -> NDArray[np.uint64]:
    """Hash strings by FNV-1a and the finalizer of MurmurHash3, uint64 (values,)."""
    lengths = values.str.len_bytes().to_numpy().astype(np.int64)
    joined = values.str.join("")[0] or ""
    text = np.frombuffer(joined.encode(), dtype=np.uint8)
    hashes = np.full(len(values), _FNV_OFFSET, dtype=np.uint64)
    starts = np.cumsum(lengths) - lengths
    # Longest first, so that those which have a byte at a place are the first ones.
    order = np.argsort(-lengths, kind="stable")
    places = np.arange(lengths.max(initial=0))
    counts = len(lengths) - np.searchsorted(lengths[order][::-1], places, side="right")
    sorted_hashes, sorted_starts = hashes[order], starts[order]
    for place, count in zip(places, counts, strict=True):
        bytes_here = text[sorted_starts[:count] + place]
        sorted_hashes[:count] = (sorted_hashes[:count] ^ bytes_here) * _FNV_PRIME
    # FNV's lowest bits depend on the lowest bits of the bytes alone.
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        sorted_hashes ^= sorted_hashes >> np.uint64(shift)
        sorted_hashes *= np.uint64(factor)
    hashes[order] = sorted_hashes ^ (sorted_hashes >> np.uint64(33))
    return hashes


def _no_counts() -> pl.DataFrame:
    return pl.DataFrame(schema={"value": pl.String, "count": pl.UInt32})
