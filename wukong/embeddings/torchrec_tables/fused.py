"""torchrec's tables over ranks, updated inside backward.

B examples of this rank, F features, R rows of a table, D its width, W the sum of all widths.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor
from torchrec.distributed import DistributedModelParallel, ShardingEnv
from torchrec.distributed.comm_ops import set_gradient_division
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.fbgemm_qcomm_codec import (
    CommType,
    QCommsConfig,
    get_qcomm_codecs_registry,
)
from torchrec.distributed.types import ShardedTensor

from codesign.errors import ConfigError
from wukong.embeddings.base import TableOptimizer, Tables
from wukong.embeddings.layout import TableLayout
from wukong.embeddings.torchrec_tables.collection import (
    collection,
    keyed_jagged,
    side_by_side,
    table_names,
)
from wukong.embeddings.torchrec_tables.planning import placed, planned
from wukong.parallel.ranks import Ranks
from wukong.train_config import fused_mistakes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wukong.data.batch import Batch
    from wukong.optim import OptimizerLike
    from wukong.shape import TableSpec

# torchrec's tables are ShardedTensors by default, and every access would warn.
warnings.filterwarnings("ignore", "Please use DTensor instead", FutureWarning)
# torchrec asks whether it is traced, and torch would warn each process of what else that may mean.
logging.getLogger("torch.fx._symbolic_trace").addFilter(
    lambda record: not record.getMessage().startswith("is_fx_tracing will return true")
)

_FBGEMM_OPTIMIZERS = {
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    "sgd": EmbOptimType.EXACT_SGD,
}


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A batch whose ids are on their way; while it is held, no other has its identity."""

    batch: Batch
    context: Any
    ids: Any


class FusedTables(Tables):
    """torchrec's DistributedModelParallel; the tables are updated inside backward.

    Gradients are summed over ranks, so each rank's loss is its part of the whole batch's. Every
    rank must call forward and backward equally often, with an empty batch where it has no example.
    Where no process group is initialised, one of a single process is made (no port).

    Args:
        specs: one table each, in the schema's order.
        table_optimizer: how they learn: `rowwise_adagrad` or `sgd`, without L2.
        layout: how they are cut, stored and sent.
        ranks: the processes that train together; None: those of the default process group.

    Attributes:
        placement: feature → where its table lies.

    Raises:
        ConfigError: another optimizer, L2, a sharding that the device has not, or tables that do
            not fit.
    """

    is_sharded = True

    def __init__(
        self,
        specs: Sequence[TableSpec],
        table_optimizer: TableOptimizer,
        layout: TableLayout | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        layout, ranks = layout or TableLayout(), ranks or Ranks.present()
        mistakes = list(fused_mistakes(table_optimizer.name, table_optimizer.l2))
        if mistakes:
            raise ConfigError("\n".join(mistakes))
        super().__init__(specs, table_optimizer)
        self._ranks = ranks
        # A rank's loss is its part of the batch's, not a loss of its own to be averaged. torchrec
        # asks in backward, and has one answer for the whole process.
        set_gradient_division(False)
        sharder = _sharder(table_optimizer, layout)
        tables = collection(specs, layout.precision)
        plan = ranks.on_first(lambda: planned(tables, specs, layout, sharder, ranks))
        self.placement = placed(specs, plan, layout)
        self.parallel = DistributedModelParallel(
            tables,
            env=ShardingEnv.from_process_group(_process_group(ranks)),
            device=ranks.device,
            plan=plan,
            sharders=[sharder],
            init_data_parallel=False,
        )
        self._begun: dict[int, _Begun] = {}

    def begin(self, batch: Batch) -> None:
        """Send the ids to the ranks that hold their rows; every rank must call it."""
        sharded: Any = self.parallel.module
        context = sharded.create_context()
        # The first wait is for the numbers of ids, the second, in forward, for the ids.
        ids = sharded.input_dist(context, keyed_jagged(self.specs, batch)).wait()
        self._begun[id(batch)] = _Begun(batch=batch, context=context, ids=ids)

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W) of this rank's examples; see `Tables.forward`."""
        if id(batch) not in self._begun:
            self.begin(batch)
        begun = self._begun.pop(id(batch))
        ids = begun.ids.wait()
        if self._ranks.device.type == "cuda":
            for made_on_another_stream in (begun.context, ids):
                made_on_another_stream.record_stream(torch.cuda.current_stream())
        sharded: Any = self.parallel.module
        pooled = sharded.compute_and_output_dist(begun.context, ids).wait()
        return side_by_side(pooled, self.specs)

    def weights(self) -> dict[str, Tensor]:
        """Each feature's whole table (R, D), a float32 copy, on every rank; all must call it."""
        tables = {}
        for feature, sharded in self.sharded_weights().items():
            table_RD = torch.zeros(sharded.shape, device=self._ranks.device)
            for rows, columns, local in _parts(sharded):
                table_RD[rows, columns] = local.float()
            tables[feature] = self._ranks.sum(table_RD).cpu()
        return tables

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy one whole table (R, D) per given feature into the shards of this rank."""
        sharded = self.sharded_weights()
        for feature, table_RD in weights.items():
            for rows, columns, local in _parts(sharded[feature]):
                local.copy_(table_RD[rows, columns])

    def sharded_weights(self) -> dict[str, Tensor]:
        """Feature → its table, a ShardedTensor (R, D) that holds this rank's shards."""
        state = self.parallel.state_dict()
        names = table_names(self.specs).items()
        return {feature: state[f"embedding_bags.{name}.weight"] for feature, name in names}

    def sharded_accumulators(self) -> dict[str, Tensor]:
        """Feature → its accumulators, a ShardedTensor (column shards · R,), float32.

        A table of which this rank holds nothing is left out. Empty for SGD.
        """
        states = self.parallel.fused_optimizer.state_dict()["state"]
        names = table_names(self.specs).items()
        keys = [(f, f"embedding_bags.{name}.weight", f"{name}.momentum1") for f, name in names]
        return {f: states[w][key] for f, w, key in keys if key in states.get(w, {})}

    def optimizer(self) -> OptimizerLike:
        """Return a stand-in that only hands the learning rate to the fused optimizer."""
        return _FusedLearningRate(self)


class _FusedLearningRate:
    """Looks like an optimizer; passes `lr` on, and steps nothing."""

    def __init__(self, tables: FusedTables) -> None:
        self._tables = tables
        self._fused: Any = tables.parallel.fused_optimizer
        self.param_groups: list[dict[str, Any]] = [{"params": [], "lr": tables.table_optimizer.lr}]

    def zero_grad(self) -> None:
        """Hand the learning rate over before the backward pass that will use it."""
        for group in self._fused.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self._fused.zero_grad()

    def step(self) -> None:
        """Do nothing: backward has updated the tables."""


def _parts(sharded: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the (rows, columns, weights) of a table that live in this process."""
    assert isinstance(sharded, ShardedTensor)
    for shard in sharded.local_shards():
        (row, column), (rows, columns) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
        yield slice(row, row + rows), slice(column, column + columns), shard.tensor.detach()


def _process_group(ranks: Ranks) -> dist.ProcessGroup:
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    group = dist.group.WORLD
    assert group is not None
    return group


def _sharder(chosen: TableOptimizer, layout: TableLayout) -> EmbeddingBagCollectionSharder:
    codecs = None
    if layout.lookup_precision == "fp16":
        codecs = get_qcomm_codecs_registry(
            QCommsConfig(forward_precision=CommType.FP16, backward_precision=CommType.BF16)
        )
    return EmbeddingBagCollectionSharder(
        fused_params={
            "optimizer": _FBGEMM_OPTIMIZERS[chosen.name],
            "learning_rate": chosen.lr,
        },
        qcomm_codecs_registry=codecs,
    )
