"""What designs take on one device: memory, training throughput, latency, each with an interval.

N designs, or boxes of designs, of which the best that any design could have is predicted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from codesign.contracts import HardwareSpec, PredictionColumns
from codesign.errors import ConfigError
from cost_models.artifacts import cost_model
from cost_models.exact import Array, Columns
from cost_models.hardware import DTYPES, load_hardware
from cost_models.memory.peak import training_bytes
from cost_models.operations import wukong_ops
from cost_models.times.cost_model import CostModel
from cost_models.times.step import step_time
from cost_models.times.totals import ASSUMED_SLACK, Spread
from cost_models.training import Training
from wukong.schema import InputSchema

PREDICTED = ("memory_per_device_gib", "examples_per_s", "latency_ms")


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Predicts for one device.

    Attributes:
        latency_batch: examples of the forward pass whose latency is predicted, ≥ 1.
        devices: that train one model together, ≥ 1.
        counts: numbers of devices that a system may have; empty: `devices` alone.
    """

    model: CostModel
    latency_batch: int
    devices: int = 1
    counts: tuple[int, ...] = ()

    @classmethod
    def for_hardware(cls, hardware: HardwareSpec) -> Predictor:
        """Load what predicts for a device.

        Raises:
            ConfigError: the device is unknown, or its files are missing or malformed.
        """
        model = cost_model(load_hardware(hardware.name), hardware.precision or "fp32")
        return cls(
            model=model,
            latency_batch=hardware.latency_batch,
            devices=hardware.devices,
            counts=hardware.counts,
        )

    def predict(
        self,
        low: Columns,
        high: Columns,
        schema: InputSchema,
        *,
        confidence: float,
        metrics: Collection[str] = PREDICTED,
    ) -> dict[str, PredictionColumns]:
        """Predict what is asked for of `memory_per_device_gib`, `examples_per_s`, `latency_ms`.

        Args:
            low, high: ends of boxes of designs, the same for single ones: fields of WukongConfig
                (see `cost_models.exact`), `batch_size`, `table_optimizer` and `table_backend`.
            confidence: of each end of the intervals, in (0.5, 1).
        """
        box = self._box(low, high, schema)
        z = NormalDist().inv_cdf(confidence)
        figures = (self._memory, self._throughput, self._latency)
        by_name = zip(PREDICTED, figures, strict=True)
        return {name: figure(box, z) for name, figure in by_name if name in metrics}

    def step_parts_ms(self, columns: Columns, schema: InputSchema) -> dict[str, float]:
        """Predict the median milliseconds of each part of one design's training step.

        Raises:
            ConfigError: a device would see no example.
        """
        box = self._box(columns, columns, schema)
        if box.low_batch.min() < self.devices:
            raise ConfigError(
                f"batch_size is {box.low_batch.min():g}; {self.devices:,} devices need an example "
                "of each step each"
            )
        found = step_time(self.model, columns, schema, batch=box.low_batch, training=box.training)
        return {part: 1e3 * float(s[0]) for part, s in found.parts_s.items()}

    def _box(self, low: Columns, high: Columns, schema: InputSchema) -> _Box:
        is_cpu = self.model.operations.hardware.is_cpu
        return _Box.of(low, high, schema, devices=self.devices, on_cpu=is_cpu)

    def _memory(self, box: _Box, z: float) -> PredictionColumns:
        peak = training_bytes(
            box.low, box.schema, batch=box.low_batch, training=box.training, high=box.upper
        )
        spread, label = self.model.memory, self.model.memory_label
        if not box.training.as_measured:
            spread = Spread(factor=spread.factor, sigma=max(spread.sigma, ASSUMED_SLACK.sigma))
            label = f"closed form of {box.training.summary}; slack assumed"
        value, low, high = (spread.quantile(peak / 2**30, at) for at in (0.0, -z, z))
        return PredictionColumns(value=value, low=low, high=high, label=label)

    def _throughput(self, box: _Box, z: float) -> PredictionColumns:
        """Seconds per example fall with the batch: a box's least are at its largest batch."""
        batch = box.high_batch
        found = step_time(
            self.model,
            box.low,
            box.schema,
            batch=batch,
            training=box.training,
            zs=(0.0, -z, z),
            high=box.upper,
        )
        value_s, short_s, long_s = found.quantiles_s
        rates = {"value": batch / value_s, "low": batch / long_s, "high": batch / short_s}
        together = f"; {self.devices} devices, what they send each other modelled, not measured"
        label = self.model.total_label("training", compiled=box.training.compile)
        label += together if self.devices > 1 else ""
        return PredictionColumns(**rates, label=label)

    def _latency(self, box: _Box, z: float) -> PredictionColumns:
        """A model that serves drops nothing."""
        batch, serving = self.latency_batch, {**box.low, "dropout": 0.0, "head_dropout": 0.0}
        dtype = DTYPES[self.model.operations.precision]
        operations = wukong_ops.operations(
            serving, box.schema, batch=batch, dtype=dtype, high=box.high
        )
        operations += wukong_ops.lookup_operations(serving, box.schema, batch=batch)
        forward = [op for op in operations if op.phase == "forward"]
        is_box = box.upper is not None
        found = self.model.seconds(forward, "forward", (0.0, -z, z), bound=is_box)
        value, low, high = (1e3 * s for s in found)
        label = self.model.total_label("forward")
        return PredictionColumns(value=value, low=low, high=high, label=label)


@dataclass(frozen=True, kw_only=True)
class _Box:
    """Boxes of designs; see `Predictor.predict`.

    Attributes:
        upper: `high`; None where all boxes are single designs.
    """

    low: Columns
    high: Columns
    upper: Columns | None
    schema: InputSchema
    low_batch: Array
    high_batch: Array
    training: Training

    @classmethod
    def of(
        cls, low: Columns, high: Columns, schema: InputSchema, *, devices: int, on_cpu: bool
    ) -> _Box:
        return cls(
            low=low,
            high=high,
            upper=None if _agree(low, high) else high,
            schema=schema,
            low_batch=np.atleast_1d(low["batch_size"]).astype(float),
            high_batch=np.atleast_1d(high["batch_size"]).astype(float),
            training=Training.of(low, ranks=devices, on_cpu=on_cpu),
        )


def _agree(low: Columns, high: Columns) -> bool:
    if low is high:
        return True
    return all(np.array_equal(low[name], high[name]) for name in low)
