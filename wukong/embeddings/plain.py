"""Tables in torch alone, made for one CPU thread and tables that fit in memory.

Tables that are looked up alike (width, pooling) share one weight matrix, so a batch costs one
lookup per *group* of features. B examples, G features of a group, D its width, V ids.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wukong.embeddings.base import TableOptimizer, Tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wukong.data.batch import Batch
    from wukong.shape import TableSpec


class _Group(nn.Module):
    """Tables of one width and one pooling, stacked by rows.

    Args:
        specs: the tables.
        columns: where each one's feature is in its part of the batch (one-hot or multi-hot).
    """

    first_row_G: Tensor

    def __init__(self, specs: Sequence[TableSpec], columns: Sequence[int]) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.columns = list(columns)
        rows = [spec.cardinality for spec in specs]
        first_row_G = torch.tensor([0, *rows[:-1]]).cumsum(0)
        self.register_buffer("first_row_G", first_row_G, persistent=False)
        self.weight = nn.Parameter(torch.empty(sum(rows), specs[0].width))

    def forward(self, batch: Batch) -> Tensor:
        """Embeddings (B, G, D) of the group's features."""
        return self._bags(batch) if self.specs[0].multi_hot else self._rows(batch)

    def tables(self) -> dict[str, Tensor]:
        """Views (R, D) of each table, detached."""
        rows = [spec.cardinality for spec in self.specs]
        parts = torch.split_with_sizes(self.weight.detach(), rows)
        return {spec.feature: part for spec, part in zip(self.specs, parts, strict=True)}

    def _rows(self, batch: Batch) -> Tensor:
        ids_BF = batch.one_hot_BF
        ids_BG = ids_BF if len(self.columns) == ids_BF.shape[1] else ids_BF[:, self.columns]
        return F.embedding(ids_BG + self.first_row_G, self.weight)

    def _bags(self, batch: Batch) -> Tensor:
        lengths_FB = batch.bag_lengths_FB
        ids_of_feature = lengths_FB.sum(dim=1).tolist()
        values = torch.split_with_sizes(batch.bag_values.long(), ids_of_feature)
        ids_V = torch.cat(
            [values[c] + first for c, first in zip(self.columns, self.first_row_G, strict=True)]
        )
        ends = lengths_FB[self.columns].flatten().cumsum(0)
        offsets = F.pad(ends, (1, 0))
        bags = F.embedding_bag(
            ids_V, self.weight, offsets, mode=self.specs[0].pooling, include_last_offset=True
        )
        return bags.view(len(self.columns), len(batch), bags.shape[1]).transpose(0, 1)


class PlainTables(Tables):
    """Tables with ordinary gradients: any optimizer, L2 over all rows.

    Args:
        specs: one table each, in the schema's order.
        table_optimizer: how they learn.
    """

    def __init__(self, specs: Sequence[TableSpec], table_optimizer: TableOptimizer) -> None:
        super().__init__(specs, table_optimizer)
        members: dict[tuple[object, ...], list[tuple[TableSpec, int]]] = {}
        seen = {False: 0, True: 0}
        for spec in self.specs:
            members.setdefault(_kind(spec), []).append((spec, seen[spec.multi_hot]))
            seen[spec.multi_hot] += 1
        kinds = list(members)
        self.groups = nn.ModuleList(
            _Group([s for s, _ in members[kind]], [c for _, c in members[kind]]) for kind in kinds
        )
        self._runs = _runs([kinds.index(_kind(spec)) for spec in self.specs])

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W); see `Tables.forward`."""
        rows_BGD = [group(batch) for group in self.groups]
        parts = [rows_BGD[g][:, start:stop].flatten(1) for g, start, stop in self._runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def weights(self) -> dict[str, Tensor]:
        """Views (R, D) of each feature's table, in the order of the specs."""
        found = self._tables()
        return {spec.feature: found[spec.feature].cpu() for spec in self.specs}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy one table (R, D) per given feature into this module."""
        found = self._tables()
        for feature, table_RD in weights.items():
            found[feature].copy_(table_RD)

    def _tables(self) -> dict[str, Tensor]:
        tables: dict[str, Tensor] = {}
        for group in self.groups:
            assert isinstance(group, _Group)
            tables |= group.tables()
        return tables


def _kind(spec: TableSpec) -> tuple[object, ...]:
    return (spec.width, spec.multi_hot, spec.pooling if spec.multi_hot else None)


def _runs(group_of_feature: Sequence[int]) -> list[tuple[int, int, int]]:
    """Split features, in order, into runs (group, first, end) of neighbours within a group."""
    taken: dict[int, int] = {}
    runs = []
    for group, run in groupby(group_of_feature):
        start = taken.get(group, 0)
        taken[group] = start + len(list(run))
        runs.append((group, start, taken[group]))
    return runs
