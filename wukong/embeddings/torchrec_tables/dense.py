"""torchrec's tables with ordinary gradients. B examples, R rows of a table, D its width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wukong.embeddings.base import TableOptimizer, Tables
from wukong.embeddings.torchrec_tables.collection import (
    collection,
    keyed_jagged,
    side_by_side,
    table_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wukong.data.batch import Batch
    from wukong.shape import TableSpec


class DenseTables(Tables):
    """torchrec's EmbeddingBagCollection with ordinary gradients: any optimizer, L2 on all rows.

    Args:
        specs: one table each, in the schema's order.
        table_optimizer: how they learn.
    """

    def __init__(self, specs: Sequence[TableSpec], table_optimizer: TableOptimizer) -> None:
        super().__init__(specs, table_optimizer)
        # Its own initialisation would draw from the global generator, only to be overwritten.
        self.collection = collection(specs).to_empty(device="cpu")

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W); see `Tables.forward`."""
        if not len(batch):  # which torchrec cannot look up; backward still reaches every table
            return torch.cat([self._table(spec.feature)[:0] for spec in self.specs], dim=1)
        pooled = self.collection(keyed_jagged(self.specs, batch))
        return side_by_side(pooled, self.specs)

    def weights(self) -> dict[str, Tensor]:
        """Each feature's table (R, D), sharing memory with the module where it is on the CPU."""
        return {spec.feature: self._table(spec.feature).detach().cpu() for spec in self.specs}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy one table (R, D) per given feature into this module."""
        for feature, table_RD in weights.items():
            self._table(feature).detach().copy_(table_RD)

    def _table(self, feature: str) -> Tensor:
        name = table_names(self.specs)[feature]
        table = self.collection.embedding_bags[name].weight
        assert isinstance(table, Tensor)
        return table
