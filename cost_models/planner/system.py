"""Systems: how a given model is trained, and which of them may be chosen."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cost_models.hardware import Hardware
from cost_models.training import Training


@dataclass(frozen=True, kw_only=True)
class System:
    """How a given model is trained.

    All fields but `devices` are those of `wukong.train_config.TrainConfig` of the same name.

    Attributes:
        devices: that train one model together, ≥ 1.
        batch_size: examples of a step over all devices, ≥ `devices`.
        dense_shard_ranks: devices that share one copy of the dense weights, a divisor of `devices`.
    """

    devices: int
    batch_size: int
    table_sharding: str
    table_shard_columns: int
    dense_shard_ranks: int
    precision: str
    gradient_precision: str
    lookup_precision: str
    activation_checkpointing: bool
    compile: bool

    @property
    def batch_per_device(self) -> int:
        """Examples of a step on the device that has most of them."""
        return -(-self.batch_size // self.devices)

    def train_settings(self) -> dict[str, Any]:
        """Return what stands in the section `train` of a spec."""
        settings = dataclasses.asdict(self)
        del settings["devices"]
        return settings

    def training(self, base: Training) -> Training:
        """Return `base`, trained on this system."""
        settings = self.train_settings()
        del settings["batch_size"]
        return dataclasses.replace(base, ranks=self.devices, **settings)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What may be chosen: values by field of `System`, the plainest first; a single one is fixed.

    Attributes:
        dense_shard_ranks: of these, the divisors of the number of devices, 0 for all devices;
            None: one device, a node's devices, all devices.
    """

    table_sharding: Sequence[str]
    table_shard_columns: Sequence[int]
    dense_shard_ranks: Sequence[int] | None
    precision: Sequence[str]
    gradient_precision: Sequence[str]
    lookup_precision: Sequence[str]
    activation_checkpointing: Sequence[bool] = (False, True)
    compile: Sequence[bool] = (False, True)

    @classmethod
    def of(cls, training: Training, **opened: Sequence[Any]) -> Choices:
        """Open what changes no result, and what is named; the rest is as `training` has it."""
        own: dict[str, Any] = {
            "table_sharding": _of_one_result(training),
            "table_shard_columns": (training.table_shard_columns,),
            "dense_shard_ranks": None,
            "precision": (training.precision,),
            "gradient_precision": (training.gradient_precision,),
            "lookup_precision": (training.lookup_precision,),
        }
        return cls(**{**own, **opened})

    def fields(
        self, devices: int, training: Training, hardware: Hardware
    ) -> dict[str, Sequence[Any]]:
        """Return what may be chosen on so many devices: field → values, the plainest first.

        All fields of `System` but `devices` and `batch_size`; one of them has no values where
        none of those wanted is possible.
        """
        by_field = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        by_field["dense_shard_ranks"] = self._shard_ranks(devices, hardware)
        if devices == 1:
            by_field |= {name: by_field[name][:1] for name in _BETWEEN_DEVICES}
        if not training.fused:
            by_field |= {name: (getattr(training, name),) for name in _FUSED}
        elif hardware.is_cpu:  # TorchRec has no kernel for it.
            shardings = [name for name in by_field["table_sharding"] if name != "row_wise"]
            by_field["table_sharding"] = shardings
        return by_field

    def settings(
        self, devices: int, training: Training, hardware: Hardware
    ) -> Iterator[dict[str, Any]]:
        """Yield what differs on so many devices, the plainest first; see `fields`."""
        by_field = self.fields(devices, training, hardware)
        for values in itertools.product(*by_field.values()):
            chosen = dict(zip(by_field, values, strict=True))
            if chosen == self.canonical(chosen):
                yield chosen

    def canonical(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the one of these that stands for all that are the same system."""
        cut = settings["table_sharding"] == "column_wise"
        columns = settings["table_shard_columns"] if cut else self.table_shard_columns[0]
        return {**settings, "table_shard_columns": columns}

    def _shard_ranks(self, devices: int, hardware: Hardware) -> list[int]:
        node = hardware.devices_per_node
        usual = (1, *([int(node.value)] if node else []), devices)
        wanted = usual if self.dense_shard_ranks is None else self.dense_shard_ranks
        ranks = dict.fromkeys(count or devices for count in wanted)  # 0: all devices
        return [count for count in ranks if devices % count == 0]


_BETWEEN_DEVICES = (
    "table_sharding", "table_shard_columns", "gradient_precision", "lookup_precision"
)  # fmt: skip
_FUSED = ("table_sharding", "table_shard_columns", "lookup_precision")


def _of_one_result(training: Training) -> tuple[str, ...]:
    """Return the shardings that train alike: row-wise Adagrad has a state for each cut of a row."""
    if not training.fused:
        return (training.table_sharding,)
    every = ("column_wise", "table_wise", "row_wise")
    if isinstance(training.table_optimizer, str) and training.table_optimizer == "sgd":
        return every
    return every[:1] if training.table_sharding == "column_wise" else every[1:]
