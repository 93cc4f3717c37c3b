"""What a shard of a table costs its rank in a step, for torchrec's planner, which evens it out.

The same model as `cost_models` has of lookups, updates and collectives, which a test compares:
bytes at half the memory's rate, two levels of rings at four fifths of the links' rates. A rank's
shards share their collectives, so each bears its part of the latency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchrec.distributed.planner.estimator import (
    EmbeddingPerfEstimatorFactory,
    HardwarePerfConfig,
    ShardPerfContext,
    backward_compute,
    forward_compute,
)
from torchrec.distributed.planner.estimator.annotations import bwd_comms, fwd_comms

from wukong.embeddings.layout import Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "codesign"
_MEMORY_SHARE, _LINK_SHARE = 0.5, 0.8
_ID_BYTES, _VECTOR_BYTES = 8, 4  # of an id; of a number that is looked up, before it is sent
_MS_PER_S = 1000.0


@EmbeddingPerfEstimatorFactory.register(NAME)
class ShardTimes(HardwarePerfConfig):
    """Milliseconds of one shard, of which torchrec asks those that are marked.

    Args:
        cluster: devices and links.
        tables: that are laid out together, ≥ 1.
    """

    name = NAME

    def __init__(self, cluster: Cluster | None = None, *, tables: int = 1) -> None:
        self._cluster, self._tables = cluster or Cluster(), tables

    @forward_compute
    def lookup_ms(self, shard: ShardPerfContext) -> float:
        """Ids and rows read, vectors written."""
        row_bytes = _ID_BYTES + shard.emb_dim * shard.table_data_type_size
        written = _vectors(shard) * shard.emb_dim * _VECTOR_BYTES
        return self._memory_ms(_ids(shard) * row_bytes + written)

    @backward_compute
    def update_ms(self, shard: ShardPerfContext) -> float:
        """Gradients of vectors read, rows read and written."""
        rows = 2 * _ids(shard) * shard.table_data_type_size
        return self._memory_ms(shard.emb_dim * (rows + _vectors(shard) * _VECTOR_BYTES))

    @fwd_comms
    def send_ms(self, shard: ShardPerfContext) -> float:
        """Vectors to the ranks of their examples; row-wise they are summed up on the way."""
        sizes = (shard.fwd_a2a_comm_data_type_size, shard.fwd_sr_comm_data_type_size)
        return self._collective_ms(shard, sizes)

    @bwd_comms
    def send_back_ms(self, shard: ShardPerfContext) -> float:
        """Gradients of vectors to the ranks that hold the rows."""
        sizes = (shard.bwd_a2a_comm_data_type_size, shard.bwd_sr_comm_data_type_size)
        return self._collective_ms(shard, sizes)

    def _memory_ms(self, size_bytes: float) -> float:
        return _MS_PER_S * size_bytes / self._cluster.memory_bytes_per_s / _MEMORY_SHARE

    def _collective_ms(self, shard: ShardPerfContext, number_bytes: Sequence[float]) -> float:
        """Seconds of `cost_models.times.communication`, with this shard's part of the latency.

        Args:
            number_bytes: of a number of a vector, sent all to all, and row-wise.
        """
        by_rows, links = _by_rows(shard), self._cluster
        size_bytes = _vectors(shard) * shard.emb_dim * number_bytes[by_rows]
        on_node = min(shard.local_world_size, shard.world_size)
        nodes = -(-shard.world_size // on_node)
        latency_s = (on_node - 1) * links.intra_node_latency_s
        latency_s += (nodes - 1) * links.inter_node_latency_s
        between_bytes = size_bytes / on_node if by_rows else size_bytes
        busy_s = max(
            size_bytes * (on_node - 1) / on_node / links.intra_node_bytes_per_s,
            between_bytes * (nodes - 1) / nodes / links.inter_node_bytes_per_s,
        )
        part = min(1.0, shard.world_size / self._tables)
        return _MS_PER_S * (part * latency_s + busy_s / _LINK_SHARE)


def _by_rows(shard: ShardPerfContext) -> bool:
    return shard.sharding_type == "row_wise"


def _vectors(shard: ShardPerfContext) -> float:
    """Looked up in a step, for the examples of all ranks."""
    return shard.batch_outputs * shard.world_size


def _ids(shard: ShardPerfContext) -> float:
    """Of these vectors; row-wise, those that a rank holds the rows of."""
    return shard.batch_inputs * (1 if _by_rows(shard) else shard.world_size)
