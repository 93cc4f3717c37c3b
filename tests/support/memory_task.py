"""The toy task on devices whose memory is really bounded; the module is its own task family.

Predicted is that a design of a width takes `MIB_PER_WIDTH` × width, shared out evenly over its
devices, each within a twentieth; that n devices are n^0.9 times as fast as one; and that `thrifty`
training takes half the memory at half the speed. What a process really takes is `bias` times that,
and more than `ROOM_MIB` it is not given.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
    Prediction,
    PredictionColumns,
    Progress,
)
from tests.support import predicted_task, toy_task

MIB = 2**20
MIB_PER_WIDTH = 64
ROOM_MIB = 512

KNOBS = toy_task.KNOBS
THRIFTY = Knob(kind="flag", meaning="half the memory, half the speed")
SETTINGS = {
    **toy_task.SETTINGS,
    "train": {**toy_task.SETTINGS["train"], "bias": predicted_task.BIAS, "thrifty": THRIFTY},
}
SOURCES = toy_task.SOURCES
METRICS: Mapping[str, Metric] = {
    **predicted_task.METRICS,
    "memory_per_device_gib": Metric(
        name="memory_per_device_gib", unit="GiB", goal="minimize", source="predicted",
        meaning="of the device with most",
    ),
}  # fmt: skip
NOT_YET_PREDICTED = ()


def memory_mib(width: float, devices: int, thrifty: bool) -> float:
    """What each device is predicted to hold, in MiB."""
    return MIB_PER_WIDTH * width / devices / (2 if thrifty else 1)


def rate(devices: int, thrifty: bool) -> float:
    """Examples per second of all devices."""
    return 1000.0 * devices**0.9 / (2 if thrifty else 1)


class MemoryTask(toy_task.ToyTask):
    """See the module."""

    metrics = METRICS

    def predict(
        self,
        predictor: HardwareSpec,
        low: Columns,
        high: Columns,
        *,
        confidence: float,
    ) -> dict[str, PredictionColumns]:
        """See `Task`: on all devices, as the settings say."""
        thrifty = bool(self._fixed.get("thrifty", False))
        found = [_predicted(width, predictor.devices, thrifty) for width in low["width"]]
        return {
            name: PredictionColumns(
                **{
                    end: np.array([getattr(each[name], end) for each in found])
                    for end in ("value", "low", "high")
                },
                label="law",
            )
            for name in found[0]
        }

    def best_systems(
        self,
        predictor: HardwareSpec,
        columns: Columns,
        *,
        confidence: float,
        budgets: Mapping[str, float],
    ) -> list[BestSystem]:
        """See `Task`."""
        limit_gib = budgets.get("memory_per_device_gib", np.inf)
        chosen = []
        for width in columns["width"]:
            systems = [
                BestSystem(
                    devices=devices,
                    train={"thrifty": thrifty},
                    predicted=(found := _predicted(width, devices, thrifty)),
                    within_budgets=found["memory_per_device_gib"].high <= limit_gib,
                )
                for devices in predictor.counts or (predictor.devices,)
                for thrifty in (False, True)
            ]
            chosen.append(
                max(
                    systems,
                    key=lambda each: (
                        each.within_budgets,
                        each.predicted["examples_per_s"].value / each.devices,
                    ),
                )
            )
        return chosen

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
        """Hold the memory while it trains."""
        devices = int(os.environ.get("WORLD_SIZE", "1"))
        thrifty = bool(self._fixed.get("thrifty", False))
        held_mib = self._fixed["bias"] * memory_mib(float(design["width"]), devices, thrifty)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        was = resource.getrlimit(resource.RLIMIT_AS)
        most = pages * resource.getpagesize() + ROOM_MIB * MIB
        resource.setrlimit(resource.RLIMIT_AS, (most, was[1]))
        try:
            held = bytearray(int(held_mib * MIB))
            outcome = super().run(
                design, seed=seed, folder=folder, earlier=earlier, report=report, until=until,
                stop=stop,
            )  # fmt: skip
            del held
        finally:
            resource.setrlimit(resource.RLIMIT_AS, was)
        measured = {"examples_per_s": rate(devices, thrifty)}
        return Outcome(metrics={**outcome.metrics, **measured})


def _predicted(width: Any, devices: int, thrifty: bool) -> dict[str, Prediction]:
    values = {
        "memory_per_device_gib": memory_mib(float(width), devices, thrifty) / 1024,
        "examples_per_s": rate(devices, thrifty),
    }
    return {
        name: Prediction(value=value, low=value / 1.05, high=value * 1.05, label="law")
        for name, value in values.items()
    }


def predictor(hardware: HardwareSpec) -> HardwareSpec:
    """The device is all there is to know."""
    return hardware


def make(
    *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
) -> MemoryTask:
    """Make the task; nothing to prepare."""
    return MemoryTask({**model, **train})
