"""The toy task with a predicted throughput; the module is its own task family.

Predicted is 10,000 / (width × depth) examples/s, within a factor of 2 at confidence .9; with the
training setting `turbo`, twice that where depth is 1, and half of it elsewhere. Measured is what is
predicted of the settings, times `bias`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.contracts import (
    BestSystem,
    Columns,
    Design,
    HardwareSpec,
    Knob,
    Metric,
    Outcome,
    PredictionColumns,
    Progress,
)
from codesign.designs import as_designs
from codesign.space import Space
from tests.support import toy_task

RATE = 10_000.0
LOG_SD = np.log(2.0) / NormalDist().inv_cdf(0.9)

TURBO = Knob(kind="flag", meaning="another system")
BIAS = Knob(kind="float", meaning="measured over predicted", low=0.01, high=100.0)
KNOBS = toy_task.KNOBS
SETTINGS = {
    **toy_task.SETTINGS,
    "train": {**toy_task.SETTINGS["train"], "bias": BIAS, "turbo": TURBO},
}
SOURCES = toy_task.SOURCES
METRICS: Mapping[str, Metric] = {
    **toy_task.METRICS,
    "examples_per_s": Metric(
        name="examples_per_s", unit="1/s", goal="maximize", source="predicted", meaning="throughput"
    ),
}
NOT_YET_PREDICTED = ()


def rate(width: Any, depth: Any, turbo: bool) -> Any:
    """Examples per second of designs."""
    factor = np.where(np.asarray(depth) == 1, 2.0, 0.5) if turbo else 1.0
    return RATE / (np.asarray(width) * depth).astype(float) * factor


def every_design(space: Space) -> list[Design]:
    """List the lattice."""
    counts = [len(axis.values) for axis in space.axes]
    rows = np.stack(np.unravel_index(np.arange(space.size), counts), axis=1)
    return as_designs(space.columns(rows))


class PredictedTask(toy_task.ToyTask):
    """See the module."""

    metrics = METRICS

    def predict(
        self, predictor: HardwareSpec, low: Columns, high: Columns, *, confidence: float
    ) -> dict[str, PredictionColumns]:
        """See `Task`: the fastest design of a box is its least."""
        value = rate(low["width"], low["depth"], bool(self._fixed.get("turbo", False)))
        factor = np.exp(NormalDist().inv_cdf(confidence) * LOG_SD)
        label = f"law of {predictor.name}"
        ends = {"low": value / factor, "high": value * factor}
        return {"examples_per_s": PredictionColumns(value=value, **ends, label=label)}

    def best_systems(
        self,
        predictor: HardwareSpec,
        columns: Columns,
        *,
        confidence: float,
        budgets: Mapping[str, float],
    ) -> list[BestSystem]:
        """See `Task`: with or without turbo, whichever is faster."""
        found = [
            PredictedTask({**self._fixed, "turbo": turbo}).predict(
                predictor, columns, columns, confidence=confidence
            )["examples_per_s"]
            for turbo in (False, True)
        ]
        return [
            BestSystem(
                devices=predictor.devices,
                train={"turbo": turbo},
                predicted={"examples_per_s": found[turbo][row]},
                within_budgets=found[turbo][row].low >= budgets.get("examples_per_s", 0.0),
            )
            for row, turbo in enumerate((found[1].value > found[0].value).tolist())
        ]

    def run(
        self,
        design: Design,
        *,
        seed: int,
        folder: Path,
        earlier: Sequence[Path],
        report: Callable[[Progress], None],
        until: float = 1.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Measure the throughput, too."""
        outcome = super().run(
            design,
            seed=seed,
            folder=folder,
            earlier=earlier,
            report=report,
            until=until,
            stop=stop,
        )
        bias = float(self._fixed.get("bias", 1.0))
        turbo = bool(self._fixed.get("turbo", False))
        measured = bias * rate(np.array(design["width"]), np.array(design["depth"]), turbo)
        metrics = {**outcome.metrics, "examples_per_s": float(measured)}
        return dataclasses.replace(outcome, metrics=metrics)


def predictor(hardware: HardwareSpec) -> HardwareSpec:
    """The device is all there is to know."""
    return hardware


def make(
    *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
) -> PredictedTask:
    """Make the task; nothing to prepare."""
    return PredictedTask({**model, **train})
