"""The toy task with a predicted throughput; the module is its own task family.

Predicted is 10,000 / (width × depth) examples/s, within a factor of 2 at confidence .9. Measured is
that times the `bias` of the training settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.contracts import (
    Columns,
    Design,
    HardwareSpec,
    Knob,
    Metric,
    Outcome,
    PredictionColumns,
    Progress,
)
from tests.support import toy_task

RATE = 10_000.0
LOG_SD = np.log(2.0) / NormalDist().inv_cdf(0.9)

BIAS = Knob(kind="float", meaning="measured over predicted", low=0.01, high=100.0)
KNOBS = toy_task.KNOBS
SETTINGS = {**toy_task.SETTINGS, "train": {**toy_task.SETTINGS["train"], "bias": BIAS}}
SOURCES = toy_task.SOURCES
METRICS: Mapping[str, Metric] = {
    **toy_task.METRICS,
    "examples_per_s": Metric(
        name="examples_per_s", unit="1/s", goal="maximize", source="predicted", meaning="throughput"
    ),
}
NOT_YET_PREDICTED = ()


class PredictedTask(toy_task.ToyTask):
    """See the module."""

    metrics = METRICS

    def predict(
        self, predictor: HardwareSpec, low: Columns, high: Columns, *, confidence: float
    ) -> dict[str, PredictionColumns]:
        """See `Task`: the fastest design of a box is its least."""
        value = RATE / (low["width"] * low["depth"]).astype(float)
        factor = np.exp(NormalDist().inv_cdf(confidence) * LOG_SD)
        label = f"law of {predictor.name}"
        ends = {"low": value / factor, "high": value * factor}
        return {"examples_per_s": PredictionColumns(value=value, **ends, label=label)}

    def run(
        self,
        design: Design,
        *,
        seed: int,
        folder: Path,
        earlier: Sequence[Path],
        report: Callable[[Progress], None],
    ) -> Outcome:
        """Measure the throughput, too."""
        outcome = super().run(design, seed=seed, folder=folder, earlier=earlier, report=report)
        bias = float(self._fixed.get("bias", 1.0))
        rate = bias * RATE / (float(design["width"]) * float(design["depth"]))
        metrics = {**outcome.metrics, "examples_per_s": rate}
        return dataclasses.replace(outcome, metrics=metrics)


def predictor(hardware: HardwareSpec) -> HardwareSpec:
    """The device is all there is to know."""
    return hardware


def make(
    *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
) -> PredictedTask:
    """Make the task; nothing to prepare."""
    return PredictedTask({**model, **train})
