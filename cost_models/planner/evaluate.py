"""What a model takes on a system, and how far that is beyond budgets. N systems.

N systems that differ in the batch alone are one evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from codesign.contracts import PlanRequest, PredictionColumns
from cost_models.artifacts import cost_model
from cost_models.exact import Array, Columns
from cost_models.hardware import Hardware, Precision
from cost_models.planner.remembered import remembering
from cost_models.planner.system import Choices, System
from cost_models.predict import Predictor
from cost_models.training import Training
from wukong.schema import InputSchema

GIB = 2**30
# Of a device's memory, what training may hold; the rest is the driver's and libraries'.
MEMORY_SHARE = 0.9
NEEDED = ("memory_per_device_gib", "examples_per_s")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model and how it is trained, but for the system.

    Attributes:
        columns: WukongConfig field → its value.
        base: settings that no system changes; the rest of it is a choice's first guess.
        batch_size: the design's own.
        gflop_per_example: forward + backward of the dense part.
    """

    columns: Columns
    schema: InputSchema
    base: Training
    batch_size: int
    gflop_per_example: float


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Systems with what is predicted of them.

    Attributes:
        systems: N of them, which differ in the batch alone.
        figures: name → prediction, (N,): `memory_per_device_gib`, `examples_per_s`, `step_ms`, and
            `hours` and `gpu_hours` of all examples.
        over: budget → factor by which the worse end of the interval passes it, (N,).
    """

    systems: Sequence[System]
    figures: Mapping[str, PredictionColumns]
    over: Mapping[str, Array]

    @property
    def worst_over(self) -> Array:
        """The largest factor by which any budget is passed, (N,)."""
        return np.max(np.stack(list(self.over.values())), axis=0)


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Predicts one workload on the systems of a request.

    Attributes:
        predictors: precision → what predicts in it, on one device.
    """

    workload: Workload
    request: PlanRequest
    hardware: Hardware
    predictors: Mapping[str, Predictor]

    @classmethod
    def of(cls, workload: Workload, request: PlanRequest, hardware: Hardware) -> Evaluator:
        """Load what predicts.

        Raises:
            ConfigError: the device has no rate of a precision, or its artifact cannot be read.
        """
        choices = Choices.of(workload.base, **request.choices)
        precisions: Sequence[Any] = choices.precision
        return cls(
            workload=workload,
            request=request,
            hardware=hardware,
            predictors={name: _predictor(hardware, name) for name in precisions},
        )

    @property
    def batch_sizes(self) -> Sequence[int]:
        """Global batches to choose from."""
        return self.request.batch_sizes or (self.workload.batch_size,)

    def evaluate(self, devices: int, settings: Mapping[str, Any]) -> Evaluated:
        """Predict every batch that gives each device an example.

        Args:
            settings: the other fields of `System`.
        """
        sizes = [size for size in self.batch_sizes if size >= devices]
        systems = [System(devices=devices, batch_size=size, **settings) for size in sizes]
        base = {name: getattr(self.workload.base, name) for name in _KEPT}
        batch_size = np.array(sizes, dtype=float)
        on = {**self.workload.columns, **base, **settings, "batch_size": batch_size}
        predictor = replace(self.predictors[settings["precision"]], devices=devices)
        schema, confidence = self.workload.schema, self.request.confidence
        found = predictor.predict(on, on, schema, confidence=confidence, metrics=NEEDED)
        found = {name: _full(each, len(sizes)) for name, each in found.items()}
        rate = found["examples_per_s"]
        hours = self.request.examples / 3600
        figures = {
            **found,
            "step_ms": _per(rate, 1e3 * batch_size),
            "hours": _per(rate, np.array([hours])),
            "gpu_hours": _per(rate, np.array([hours * devices])),
        }
        over = {name: figures[name].high / limit for name, limit in self._limits().items()}
        return Evaluated(systems=systems, figures=figures, over=over)

    def _limits(self) -> dict[str, float]:
        asked = {name: getattr(self.request, name) for name in ("step_ms", "hours", "gpu_hours")}
        limits = {name: limit for name, limit in asked.items() if limit is not None}
        return {"memory_per_device_gib": self.memory_limit_gib, **limits}

    @property
    def memory_limit_gib(self) -> float:
        """Most that a device may hold: what was asked for, or a share of its memory."""
        asked = self.request.memory_per_device_gib
        return usable_gib(self.hardware) if asked is None else asked


# Of `Training`, what no system changes.
_KEPT = ("table_optimizer", "table_backend", "dense_optimizer", "table_precision")


def usable_gib(hardware: Hardware) -> float:
    """Return what training may hold of a device's memory."""
    return MEMORY_SHARE * hardware.memory_bytes.value / GIB


def _predictor(hardware: Hardware, precision: Precision) -> Predictor:
    return remembering(Predictor(model=cost_model(hardware, precision), latency_batch=1))


def _full(found: PredictionColumns, rows: int) -> PredictionColumns:
    ends = {end: np.broadcast_to(getattr(found, end), (rows,)) for end in ("value", "low", "high")}
    return PredictionColumns(**ends, label=found.label)


def _per(rate: PredictionColumns, amount: Array) -> PredictionColumns:
    """Return what `amount` takes at a rate: the slowest rate takes the longest."""
    return PredictionColumns(
        value=amount / rate.value, low=amount / rate.high, high=amount / rate.low, label=rate.label
    )
