"""How the fused tables lie over the devices of a run. Standard library only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wukong.train_config import TableSharding


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the planner of tables knows of devices and links; it balances lookups by it.

    The defaults are round figures of no device in particular: they order the plans of equal
    devices on one node as the true rates do, and say nothing about seconds.

    Attributes:
        memory_bytes: of one rank's device, > 0; None: what the device reports (on the CPU the
            machine's memory, divided by its ranks).
        memory_bytes_per_s: of that memory, > 0.
        intra_node_bytes_per_s, inter_node_bytes_per_s: from one rank to the others of its node and
            to those of other nodes, each way, > 0.
        ranks_per_node: ≥ 1; None: all ranks are on one node.
    """

    memory_bytes: float | None = None
    memory_bytes_per_s: float = 1e12
    intra_node_bytes_per_s: float = 1e11
    inter_node_bytes_per_s: float = 1e10
    intra_node_latency_s: float = 2e-6
    inter_node_latency_s: float = 5e-6
    ranks_per_node: int | None = None


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """How the fused tables are cut, stored and sent; the other backends have none of it.

    Attributes:
        sharding: `column_wise`, `table_wise` or, on GPUs, `row_wise`.
        shard_columns: a column-wise shard has the smallest width that divides the table's, is a
            multiple of 4 and not below this; a table without such a width is left whole.
        precision: of the stored weights; vectors are looked up as float32, accumulators stay so.
        lookup_precision: of vectors sent between ranks; `fp16` sends their gradients as bfloat16.
        batch_size: examples a step, over all ranks.
        cluster: what the plan is made for.
    """

    sharding: TableSharding = "column_wise"
    shard_columns: int = 128
    precision: str = "fp32"
    lookup_precision: str = "fp32"
    batch_size: int = 4096
    cluster: Cluster = field(default_factory=Cluster)


@dataclass(frozen=True, kw_only=True)
class PlacedTable:
    """Where one table lies: plain values, so that a result can hold it.

    Attributes:
        sharding: as in `TableLayout`.
        shard_sizes: (rows, columns) of each shard, in the order of the table.
        ranks: of each shard.
        bytes_per_weight: as stored.
    """

    sharding: str
    shard_sizes: tuple[tuple[int, int], ...]
    ranks: tuple[int, ...]
    bytes_per_weight: int = 4


def summary(tables: Iterable[PlacedTable], world: int) -> dict[str, Any]:
    """Say in a few plain values how tables lie over ranks.

    Returns:
        `shardings`: sharding → tables; `shards`: in all; `mib_per_rank`: weights that each rank
        holds, in MiB, without accumulators.
    """
    bytes_of_rank = [0] * world
    shardings: Counter[str] = Counter()
    shards = 0
    for table in tables:
        shardings[table.sharding] += 1
        shards += len(table.ranks)
        for (rows, columns), rank in zip(table.shard_sizes, table.ranks, strict=True):
            bytes_of_rank[rank] += rows * columns * table.bytes_per_weight
    mib_per_rank = [size / 2**20 for size in bytes_of_rank]
    return {"shardings": dict(shardings), "shards": shards, "mib_per_rank": mib_per_rank}
