"""Which rank holds which part of which table: torchrec's planner, fed with figures of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.enumerators import EmbeddingEnumerator
from torchrec.distributed.planner.estimator import EmbeddingPerfEstimatorFactory
from torchrec.distributed.planner.shard_estimators import EmbeddingStorageEstimator
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import (
    HardwareConfig,
    KernelConfig,
    PlannerError,
    ShardEstimator,
    TopologyFactory,
    TrainerConfig,
)

from codesign.errors import ConfigError
from wukong.device.memory import DoesNotFitError
from wukong.embeddings.layout import PlacedTable
from wukong.embeddings.torchrec_tables.collection import table_names
from wukong.embeddings.torchrec_tables.estimator import ShardTimes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchrec import EmbeddingBagCollection
    from torchrec.distributed.types import EmbeddingModuleShardingPlan, ModuleSharder, ShardingPlan

    from wukong.embeddings.layout import TableLayout
    from wukong.parallel.ranks import Ranks
    from wukong.shape import TableSpec

# Of a device's memory, for everything that is not a table.
RESERVED_SHARE = 0.15
_MS_PER_S = 1000.0
_BYTES_PER_WEIGHT = {"fp32": 4, "fp16": 2}


def planned(
    collection: EmbeddingBagCollection,
    specs: Sequence[TableSpec],
    layout: TableLayout,
    sharder: ModuleSharder[Any],
    ranks: Ranks,
) -> ShardingPlan:
    """Balance the shards over ranks, by the time that their lookups and their sending take.

    Raises:
        ConfigError: the device has no such sharding.
        DoesNotFitError: the tables do not fit.
    """
    if layout.sharding == "row_wise" and ranks.device.type == "cpu":
        raise ConfigError(
            "table_sharding is 'row_wise' on the CPU, where torchrec has no kernel for it; must be "
            "column_wise or table_wise",
            where="tables",
        )
    constraint = ParameterConstraints(
        sharding_types=[layout.sharding],
        compute_kernels=["fused"],
        min_partition=layout.shard_columns,
    )
    topology, batch_size = _topology(layout, ranks), -(-layout.batch_size // ranks.world)
    constraints = dict.fromkeys(table_names(specs).values(), constraint)
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=batch_size,
        enumerator=EmbeddingEnumerator(
            topology=topology,
            batch_size=batch_size,
            constraints=constraints,
            estimator=_estimators(specs, layout, topology, constraints),
        ),
        constraints=constraints,
        storage_reservation=FixedPercentageStorageReservation(percentage=0.0),
        stats=[],
        debug=False,
    )
    try:
        return planner.plan(collection, [sharder])
    except PlannerError as error:
        raise _refusal(specs, layout, ranks) from error


def placed(
    specs: Sequence[TableSpec], plan: ShardingPlan, layout: TableLayout
) -> dict[str, PlacedTable]:
    """Feature → where its table lies."""
    parameters: EmbeddingModuleShardingPlan = plan.plan.get("", {})
    found = {}
    for feature, name in table_names(specs).items():
        parameter = parameters[name]
        shards = parameter.sharding_spec.shards
        found[feature] = PlacedTable(
            sharding=parameter.sharding_type,
            shard_sizes=tuple((s.shard_sizes[0], s.shard_sizes[1]) for s in shards),
            ranks=tuple(s.placement.rank() for s in shards),
            bytes_per_weight=_BYTES_PER_WEIGHT[layout.precision],
        )
    return found


def _estimators(
    specs: Sequence[TableSpec],
    layout: TableLayout,
    topology: Topology,
    constraints: dict[str, ParameterConstraints],
) -> list[ShardEstimator]:
    """Times by our own model, sizes by torchrec's."""
    times = EmbeddingPerfEstimatorFactory.create_with_config(
        ShardTimes(layout.cluster, tables=len(specs)), topology=topology, constraints=constraints
    )
    return [times, EmbeddingStorageEstimator(topology=topology, constraints=constraints)]


def _topology(layout: TableLayout, ranks: Ranks) -> Topology:
    cluster, on_gpu = layout.cluster, ranks.device.type == "cuda"
    memory_bytes = int(_bytes_for_tables(layout, ranks))
    per_ms = cluster.memory_bytes_per_s / _MS_PER_S
    return TopologyFactory.create_topology(
        TrainerConfig(
            world_size=ranks.world,
            local_world_size=min(cluster.ranks_per_node or ranks.world, ranks.world),
        ),
        HardwareConfig(
            hbm_cap_bytes=memory_bytes if on_gpu else 0,
            # Tables in the host's memory, reached over the bus, are no part of a plan for GPUs.
            ddr_cap_bytes=0 if on_gpu else memory_bytes,
            hbm_mem_bw=per_ms,
            ddr_mem_bw=per_ms,
            intra_host_bw=cluster.intra_node_bytes_per_s / _MS_PER_S,
            inter_host_bw=cluster.inter_node_bytes_per_s / _MS_PER_S,
        ),
        KernelConfig(compute_device=ranks.device.type, use_hardware_based_bandwidth=True),
    )


def _bytes_for_tables(layout: TableLayout, ranks: Ranks) -> float:
    cluster = layout.cluster
    memory_bytes = cluster.memory_bytes
    if memory_bytes is None and ranks.device.type == "cuda":
        memory_bytes = torch.cuda.get_device_properties(ranks.device).total_memory
    elif memory_bytes is None:
        machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory_bytes = machine_bytes / min(cluster.ranks_per_node or ranks.world, ranks.world)
    return (1 - RESERVED_SHARE) * memory_bytes


def _refusal(specs: Sequence[TableSpec], layout: TableLayout, ranks: Ranks) -> DoesNotFitError:
    bytes_per_weight = _BYTES_PER_WEIGHT[layout.precision]
    sizes = [spec.cardinality * spec.width * bytes_per_weight for spec in specs]
    free_gb = _bytes_for_tables(layout, ranks) / 1e9
    return DoesNotFitError(
        f"{len(specs)} tables of {sum(sizes) / 1e9:.3g} GB in {layout.precision} (the largest "
        f"{max(sizes) / 1e9:.3g} GB), with accumulators and lookup buffers, cannot be laid "
        f"{layout.sharding} over {ranks.world} ranks with {free_gb:.3g} GB each for tables",
        where="tables",
        hint="more ranks, smaller or narrower tables, narrower column shards, or fp16 tables",
    )
