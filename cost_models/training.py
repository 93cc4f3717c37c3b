"""How a model is trained, as far as memory and time of a step depend on it. N designs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from cost_models.exact import Columns

FP32_BYTES, HALF_BYTES, ID_BYTES = 4, 2, 8


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of `wukong.train_config.TrainConfig` by their names there, and the number of ranks.

    Attributes:
        ranks: processes that train one model together, each on a device of its own, ≥ 1.
        table_optimizer: one for all designs, or an array (N,).
        on_cpu: whether the devices are CPUs.
    """

    ranks: int = 1
    table_optimizer: str | np.ndarray[Any, Any] = "adam"
    table_backend: str = "plain"
    dense_optimizer: str = "adam"
    precision: str = "fp32"
    compile: bool = False
    gradient_precision: str = "fp32"
    dense_shard_ranks: int = 0
    activation_checkpointing: bool = False
    table_sharding: str = "column_wise"
    table_shard_columns: int = 128
    table_precision: str = "fp32"
    lookup_precision: str = "fp32"
    on_cpu: bool = False

    @classmethod
    def of(cls, columns: Columns, *, ranks: int = 1, on_cpu: bool = False) -> Training:
        """Read the settings among the columns; what is not there has its default."""
        names = [field.name for field in dataclasses.fields(cls) if field.name in columns]
        return cls(ranks=ranks, on_cpu=on_cpu, **{name: columns[name] for name in names})

    @property
    def one_step_layers(self) -> bool:
        """Whether layers are one step of autograd where they can be (`wukong.fused_layer`)."""
        return self.on_cpu and self.precision == "fp32" and not self.compile

    @property
    def as_measured(self) -> bool:
        """Whether peaks of such steps were measured: one rank, FP32, nothing computed again."""
        return self.ranks == 1 and self.precision != "bf16" and not self.activation_checkpointing

    @property
    def summary(self) -> str:
        """What sets it apart from a step of one rank in FP32, for people."""
        said = [f"{self.ranks} ranks" if self.ranks > 1 else "one rank", self.precision]
        return ", ".join([*said, *(["activations computed again"] * self.activation_checkpointing)])

    @property
    def fused(self) -> bool:
        """Whether backward updates the rows looked up, so that no table has a gradient."""
        return self.table_backend == "fused"

    @property
    def shard_ranks(self) -> int:
        """Ranks that share one copy of the dense weights."""
        return self.dense_shard_ranks or self.ranks

    @property
    def table_bytes(self) -> int:
        """Size of one weight of a table."""
        return HALF_BYTES if self.fused and self.table_precision == "fp16" else FP32_BYTES

    @property
    def lookup_bytes(self) -> int:
        """Size of one number of a looked-up vector between ranks."""
        return HALF_BYTES if self.lookup_precision == "fp16" else FP32_BYTES
