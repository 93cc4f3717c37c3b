"""Tables in torchrec: the only module that imports it.

B examples, F features, R rows of a table, D its width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from codesign.errors import ConfigError, MissingPackageError
from wukong.embeddings.base import TableOptimizer, Tables
from wukong.train_config import fused_mistakes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wukong.data.batch import Batch
    from wukong.optim import OptimizerLike
    from wukong.shape import TableSpec

try:
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType
    from torchrec.distributed import DistributedModelParallel, ShardingEnv
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.planner import (
        EmbeddingShardingPlanner,
        ParameterConstraints,
        Topology,
    )
    from torchrec.distributed.planner.storage_reservations import (
        FixedPercentageStorageReservation,
    )
    from torchrec.distributed.types import ModuleSharder, ShardedTensor
except (ImportError, OSError) as error:
    raise MissingPackageError(
        f"the table backends dense and fused need torchrec, which does not load: {error}",
        hint="install torchrec with fbgemm-gpu (CUDA) or fbgemm-gpu-cpu of the matching release, "
        "or choose the table backend plain, which needs torch only",
    ) from error

_FBGEMM_OPTIMIZERS = {
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    "sgd": EmbOptimType.EXACT_SGD,
}


class DenseTables(Tables):
    """torchrec's EmbeddingBagCollection with ordinary gradients: any optimizer, L2 on all rows.

    Args:
        specs: one table each, in the schema's order.
        table_optimizer: how they learn.
    """

    def __init__(self, specs: Sequence[TableSpec], table_optimizer: TableOptimizer) -> None:
        super().__init__(specs, table_optimizer)
        # Its own initialisation would draw from the global generator, only to be overwritten.
        self.collection = _collection(specs).to_empty(device="cpu")

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W); see `Tables.forward`."""
        pooled = self.collection(keyed_jagged(self.specs, batch))
        return torch.cat([pooled[spec.feature] for spec in self.specs], dim=1)

    def weights(self) -> dict[str, Tensor]:
        """Each feature's table (R, D), sharing memory with the module where it is on the CPU."""
        return {spec.feature: self._table(spec.feature).detach().cpu() for spec in self.specs}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy one table (R, D) per given feature into this module."""
        for feature, table_RD in weights.items():
            self._table(feature).detach().copy_(table_RD)

    def _table(self, feature: str) -> Tensor:
        name = _table_names(self.specs)[feature]
        table = self.collection.embedding_bags[name].weight
        assert isinstance(table, Tensor)
        return table


class FusedTables(Tables):
    """torchrec's DistributedModelParallel; the tables are updated inside backward.

    Works at any world size. Where no process group is initialised, one of a single process is
    made (gloo, no port).

    Args:
        specs: one table each, in the schema's order.
        table_optimizer: how they learn: `rowwise_adagrad` or `sgd`, without L2.

    Raises:
        ConfigError: for any other optimizer, and for L2.
    """

    is_sharded = True

    def __init__(self, specs: Sequence[TableSpec], table_optimizer: TableOptimizer) -> None:
        mistakes = list(fused_mistakes(table_optimizer.name, table_optimizer.l2))
        if mistakes:
            raise ConfigError("\n".join(mistakes))
        super().__init__(specs, table_optimizer)
        if not dist.is_initialized():
            store = dist.HashStore()
            dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        self.parallel = _sharded(specs, table_optimizer)

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W) of this process's batch; see `Tables.forward`."""
        pooled = self.parallel(keyed_jagged(self.specs, batch)).wait()
        return torch.cat([pooled[spec.feature] for spec in self.specs], dim=1)

    def weights(self) -> dict[str, Tensor]:
        """Each feature's whole table (R, D), a copy, on every process; all must call it."""
        shards = self._shards()
        tables = {}
        for spec in self.specs:
            table_RD = torch.zeros(spec.cardinality, spec.width)
            for rows, columns, local in shards[spec.feature]:
                table_RD[rows, columns] = local.cpu()
            if dist.get_world_size() > 1:
                dist.all_reduce(table_RD)
            tables[spec.feature] = table_RD
        return tables

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy one whole table (R, D) per given feature into the shards of this process."""
        shards = self._shards()
        for feature, table_RD in weights.items():
            for rows, columns, local in shards[feature]:
                local.copy_(table_RD[rows, columns])

    def optimizer(self) -> OptimizerLike:
        """Return a stand-in that only hands the learning rate to the fused optimizer."""
        return _FusedLearningRate(self.parallel.fused_optimizer, self.table_optimizer.lr)

    def _shards(self) -> dict[str, list[tuple[slice, slice, Tensor]]]:
        """Return, per feature, the (rows, columns, weights) that live in this process."""
        found: dict[str, list[tuple[slice, slice, Tensor]]] = {s.feature: [] for s in self.specs}
        state = self.parallel.state_dict()
        for feature, name in _table_names(self.specs).items():
            sharded = state[f"embedding_bags.{name}.weight"]
            assert isinstance(sharded, ShardedTensor)
            for shard in sharded.local_shards():
                (row, column), (rows, columns) = (
                    shard.metadata.shard_offsets,
                    shard.metadata.shard_sizes,
                )
                where = slice(row, row + rows), slice(column, column + columns)
                found[feature].append((*where, shard.tensor.detach()))
        return found


class _FusedLearningRate:
    """Looks like an optimizer; passes `lr` and state on, and steps nothing."""

    def __init__(self, fused: Any, lr: float) -> None:
        self._fused = fused
        self.param_groups: list[dict[str, Any]] = [{"params": [], "lr": lr}]

    def zero_grad(self) -> None:
        """Hand the learning rate over before the backward pass that will use it."""
        for group in self._fused.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self._fused.zero_grad()

    def step(self) -> None:
        """Do nothing: backward has updated the tables."""

    def state_dict(self) -> dict[str, Any]:
        """Return the learning rate and a copy of the accumulators of this process's shards."""
        state = {name: [t.clone() for t in tensors] for name, tensors in self._local().items()}
        return {"lr": self.param_groups[0]["lr"], "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the optimizer of equally sharded tables stood."""
        self.param_groups[0]["lr"] = state_dict["lr"]
        for name, tensors in self._local().items():
            for tensor, stored in zip(tensors, state_dict["state"][name], strict=True):
                tensor.copy_(stored)

    def _local(self) -> dict[str, list[Tensor]]:
        """Return, by name, the accumulators that live in this process, sharing their memory."""
        found = {}
        for accumulators in self._fused.state_dict()["state"].values():
            for name, value in accumulators.items():
                assert isinstance(value, ShardedTensor)
                found[name] = [shard.tensor.detach() for shard in value.local_shards()]
        return found


def keyed_jagged(specs: Sequence[TableSpec], batch: Batch) -> KeyedJaggedTensor:
    """Join the one-hot and the multi-hot ids: one-hot features first, each with length 1.

    Where ids are feature-major in memory and no feature is multi-hot, nothing is copied.
    """
    keys = [s.feature for s in specs if not s.multi_hot] + [s.feature for s in specs if s.multi_hot]
    one_hot_FB = batch.one_hot_BF.t()
    values, lengths = one_hot_FB.flatten(), torch.ones_like(one_hot_FB).flatten()
    if len(batch.bag_lengths_FB):
        values = torch.cat([values, batch.bag_values])
        lengths = torch.cat([lengths, batch.bag_lengths_FB.flatten()])
    return KeyedJaggedTensor(keys=keys, values=values, lengths=lengths)


def _table_names(specs: Sequence[TableSpec]) -> dict[str, str]:
    """Feature → name of its table: a feature's own name may hold a dot, a module's may not."""
    return {spec.feature: f"table_{i}" for i, spec in enumerate(specs)}


def _collection(specs: Sequence[TableSpec]) -> EmbeddingBagCollection:
    """Build the collection without memory (on `meta`), one table per feature."""
    pooling = {"sum": PoolingType.SUM, "mean": PoolingType.MEAN}
    names = _table_names(specs)
    configs = [
        EmbeddingBagConfig(
            name=names[spec.feature],
            feature_names=[spec.feature],
            num_embeddings=spec.cardinality,
            embedding_dim=spec.width,
            pooling=pooling[spec.pooling] if spec.multi_hot else PoolingType.SUM,
        )
        for spec in specs
    ]
    return EmbeddingBagCollection(tables=configs, device=torch.device("meta"))


def _sharded(specs: Sequence[TableSpec], chosen: TableOptimizer) -> DistributedModelParallel:
    fused_params = {"optimizer": _FBGEMM_OPTIMIZERS[chosen.name], "learning_rate": chosen.lr}
    sharders: list[ModuleSharder[Any]] = [EmbeddingBagCollectionSharder(fused_params=fused_params)]
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    # Not data parallel: its copies would be updated by an ordinary optimizer.
    ways = ["table_wise", "column_wise"] + (["row_wise"] if device.type == "cuda" else [])
    constraint = ParameterConstraints(sharding_types=ways)
    constraints = dict.fromkeys(_table_names(specs).values(), constraint)
    collection = _collection(specs)
    topology = Topology(world_size=dist.get_world_size(), compute_device=device.type)
    planner = EmbeddingShardingPlanner(
        topology=topology,
        constraints=constraints,
        storage_reservation=FixedPercentageStorageReservation(percentage=0.15),
    )
    group = dist.group.WORLD
    assert group is not None
    return DistributedModelParallel(
        collection,
        env=ShardingEnv.from_process_group(group),
        device=device,
        plan=planner.collective_plan(collection, sharders, group),
        sharders=sharders,
        init_data_parallel=False,
    )
