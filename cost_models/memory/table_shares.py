"""What the rank with most of it holds of fused tables that are cut over ranks. N designs.

A table is cut into shards: column-wise, of the smallest width that divides its own, is a multiple
of 4 and not below `table_shard_columns`; table-wise, or where there is none, it stays whole.
TorchRec's planner then deals the shards out, the largest first, each to the rank that has least to
look up. Row-wise, every rank has equal rows of every table. A row of a shard is what the optimizer
keeps a state for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cost_models.exact import Array, Columns, Fields
from cost_models.training import Training
from wukong.schema import InputSchema
from wukong.shape import WukongConfig, table_specs


@dataclass(frozen=True, kw_only=True)
class TableShare:
    """What one rank has of the tables; each figure is that of the rank with most of it.

    Attributes:
        weights: elements, (N,).
        rows: rows of all its shards, (N,).
        columns: of the vectors that it looks up for every example of the global batch, (N,).
        tables: features whose ids it receives, (N,).
    """

    weights: Array
    rows: Array
    columns: Array
    tables: Array


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """How tables are cut over ranks: the settings of `Training` that decide about it."""

    ranks: int
    sharding: str
    least_columns: int


@dataclass(frozen=True)
class _Shard:
    table: int
    rows: int
    columns: int


def largest_share(
    columns: Columns, schema: InputSchema, training: Training, *, high: Columns | None = None
) -> TableShare:
    """Return the largest shares among the ranks.

    Args:
        columns: WukongConfig field → one value for all, or an array (see `cost_models.exact`).
        high: the upper end of boxes of designs whose lower end is `columns`; the result is then a
            lower bound, exact where the two agree.
    """
    low_d = Fields(columns)["d"].astype(int)
    high_d = Fields(columns if high is None else high)["d"].astype(int)
    ends = np.stack(np.broadcast_arrays(low_d, high_d), axis=1)
    unique, place = np.unique(ends, axis=0, return_inverse=True)
    cut = _Cut(
        ranks=training.ranks,
        sharding=training.table_sharding,
        least_columns=training.table_shard_columns,
    )
    found = []
    for low, top in unique.tolist():
        config = Fields(columns).config(low)
        found.append(_share(config, schema, cut, low != top))
    weights, rows, widths, counts = np.array(found, dtype=float).T[:, place.ravel()]
    return TableShare(weights=weights, rows=rows, columns=widths, tables=counts)


@lru_cache(maxsize=1024)
def _share(config: WukongConfig, schema: InputSchema, cut: _Cut, is_box: bool) -> tuple[float, ...]:
    tables = [(spec.cardinality, spec.width) for spec in table_specs(config, schema)]
    if cut.sharding == "row_wise":
        return _by_rows(tables, cut.ranks)
    return _at_least(tables, cut.ranks) if is_box else _dealt(tables, cut)


def _dealt(tables: Sequence[tuple[int, int]], cut: _Cut) -> tuple[float, ...]:
    """Deal the shards as the planner does."""
    shards = sorted(_shards(tables, cut), key=lambda s: -s.rows * s.columns)
    ranks = [(0, rank) for rank in range(cut.ranks)]
    held: list[list[_Shard]] = [[] for _ in ranks]
    for shard in shards:
        looked_up, rank = heapq.heappop(ranks)
        held[rank].append(shard)
        heapq.heappush(ranks, (looked_up + shard.columns, rank))
    return tuple(
        float(max(figure(rank) for rank in held))
        for figure in (
            lambda rank: sum(s.rows * s.columns for s in rank),
            lambda rank: sum(s.rows for s in rank),
            lambda rank: sum(s.columns for s in rank),
            lambda rank: len({s.table for s in rank}),
        )
    )


def _at_least(tables: Sequence[tuple[int, int]], ranks: int) -> tuple[float, ...]:
    """Return what wider tables cannot go below: an equal share of whole tables."""
    weights = sum(rows * width for rows, width in tables)
    # A wider table may have fewer shards, and no fewer than one.
    rows = sum(rows for rows, _ in tables)
    columns = sum(width for _, width in tables)
    return (*(total / ranks for total in (weights, rows, columns)), 0.0)


def _by_rows(tables: Sequence[tuple[int, int]], ranks: int) -> tuple[float, ...]:
    rows = [-(-cardinality // ranks) for cardinality, _ in tables]
    widths = [width for _, width in tables]
    weights = sum(count * width for count, width in zip(rows, widths, strict=True))
    # Each rank looks up its rows for the whole batch; its ids are its share of all.
    return float(weights), float(sum(rows)), float(sum(widths)), len(tables) / ranks


def _shards(tables: Sequence[tuple[int, int]], cut: _Cut) -> Iterator[_Shard]:
    by_column = cut.sharding == "column_wise"
    for table, (rows, width) in enumerate(tables):
        step = _shard_width(width, cut.least_columns) if by_column else width
        for _ in range(width // step):
            yield _Shard(table, rows, step)


def _shard_width(width: int, least: int) -> int:
    divisors = (step for step in range(least, width, 4) if width % step == 0)
    return next(divisors, width)
