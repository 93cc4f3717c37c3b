"""What every table backend is: pooled embeddings of one batch, trained by one optimizer.

B examples, R rows of a table, D its width, W the sum of all widths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from codesign.errors import ConfigError
from wukong.optim import OPTIMIZERS, OptimizerLike, build_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wukong.data.batch import Batch
    from wukong.embeddings.layout import PlacedTable
    from wukong.shape import TableSpec


@dataclass(frozen=True, kw_only=True)
class TableOptimizer:
    """How the tables learn.

    Attributes:
        name: `adam`, `rowwise_adagrad` or `sgd`.
        lr: learning rate, > 0.
        l2: coupled weight decay over *all* rows at every step, ≥ 0.
    """

    name: str = "adam"
    lr: float = 1e-3
    l2: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ConfigError(
                f"table optimizer {self.name!r} is unknown; one of {', '.join(OPTIMIZERS)}"
            )
        if not self.lr > 0 or not self.l2 >= 0:
            raise ConfigError(f"table lr is {self.lr} (must be > 0), l2 is {self.l2} (≥ 0)")


class Tables(nn.Module, ABC):
    """One embedding table per categorical feature.

    Args:
        specs: one table each, in the schema's order.
        table_optimizer: how they learn.

    Attributes:
        is_sharded: each rank holds parts of the tables, and they see to it themselves.
        placement: feature → where its table lies; empty where they are not sharded.
    """

    is_sharded = False
    placement: Mapping[str, PlacedTable] = MappingProxyType({})

    def __init__(self, specs: Sequence[TableSpec], table_optimizer: TableOptimizer) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.table_optimizer = table_optimizer

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W), float32, features side by side in the order of the specs.

        A multi-hot feature's row is the sum or the mean of its ids' rows; of no ids, zeros.
        """

    def begin(self, batch: Batch) -> None:
        """Do what of `forward(batch)` needs no weights, where that pays; `forward` follows."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Each feature's table (R, D), detached, on the CPU; may share memory with the module."""

    @abstractmethod
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy one table (R, D) per feature into this module; the inverse of `weights`."""

    def sharded_weights(self) -> dict[str, Tensor]:
        """Name → weights as they lie in this process, sharing their memory.

        Of a table in parts that is a ShardedTensor or a DTensor: names and whole shapes are the
        same at every number of ranks, so that torch.distributed.checkpoint loads at one what it
        saved at another. `clone()` and `copy_()` touch the parts of this process alone.
        """
        return {name: weight.detach() for name, weight in self.named_parameters()}

    def sharded_accumulators(self) -> dict[str, Tensor]:
        """Name → state of an optimizer inside the tables, likewise; empty where there is none."""
        return {}

    def optimizer(self) -> OptimizerLike:
        """Build the optimizer of the tables; its groups' `lr` may be set between steps."""
        chosen = self.table_optimizer
        return build_optimizer(chosen.name, list(self.parameters()), lr=chosen.lr, l2=chosen.l2)


def initial_weights(
    specs: Sequence[TableSpec], *, init_std: float, seed: int
) -> Iterator[tuple[str, Tensor]]:
    """Draw (feature, table (R, D)) from N(0, init_std²), table by table from one generator."""
    generator = torch.Generator().manual_seed(seed)
    for spec in specs:
        table_RD = torch.empty(spec.cardinality, spec.width)
        yield spec.feature, table_RD.normal_(0.0, init_std, generator=generator)
