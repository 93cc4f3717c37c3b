"""Predicted costs of designs, each under the system that suits it best.

The global batch stays as it is, and no choice changes what a trial measures: devices, sharding,
devices that share the dense weights, recomputation, compiling. N designs, S systems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from codesign.contracts import BestSystem, Metric, PredictionColumns
from cost_models.exact import Array, Columns
from cost_models.planner.evaluate import NEEDED, usable_gib
from cost_models.planner.remembered import remembering
from cost_models.planner.system import Choices
from cost_models.predict import Predictor
from cost_models.training import Training
from wukong.schema import InputSchema

ALIKE = ("latency_ms",)


def best_systems(
    predictor: Predictor,
    columns: Columns,
    schema: InputSchema,
    *,
    confidence: float,
    budgets: Mapping[str, float],
    metrics: Mapping[str, Metric],
) -> list[BestSystem]:
    """Choose for each design the system with the fewest GPU-hours within the budgets.

    Memory beyond what a device has for training (`usable_gib`) is never within them. Where no
    system keeps them all, the one that is least beyond is chosen. Among equals it is the one with
    the fewest devices, and of these the plainest.

    Args:
        predictor: of the device, with the numbers of devices.
        columns: fields of WukongConfig and of TrainConfig → one value for all, or an array (N,);
            `batch_size` is an array.
        confidence: of each end of the intervals, in (0.5, 1).
        budgets: predicted metric → limit, held by the worse end of the interval.
        metrics: name → which way a metric is better.
    """
    predictor = remembering(predictor)
    batch_N = np.atleast_1d(columns["batch_size"])
    hardware = predictor.model.operations.hardware
    systems = list(_systems(predictor, columns))
    # A forward pass is the same under all of them.
    alike = predictor.predict(columns, columns, schema, confidence=confidence, metrics=ALIKE)
    found = [
        alike | on.predict(with_it, with_it, schema, confidence=confidence, metrics=NEEDED)
        for on, settings in systems
        for with_it in ({**columns, **settings},)
    ]
    most_gib = usable_gib(hardware)
    asked_gib = budgets.get("memory_per_device_gib", most_gib)
    limits = {**budgets, "memory_per_device_gib": min(asked_gib, most_gib)}
    devices_S1 = np.array([[on.devices] for on, _ in systems])
    over_SN = np.stack([_over(each, limits, metrics, len(batch_N)) for each in found])
    over_SN = np.where(batch_N >= devices_S1, over_SN, np.inf)  # Each needs an example of a step.
    rate_SN = np.stack(
        [np.broadcast_to(each["examples_per_s"].value, batch_N.shape) for each in found]
    )
    chosen = _best_within(over_SN, rate_SN / devices_S1)
    return [
        BestSystem(
            devices=systems[place][0].devices,
            train={"batch_size": int(batch_N[row]), **systems[place][1]},
            predicted={name: column[row] for name, column in found[place].items()},
            within_budgets=bool(over_SN[place, row] <= 1),
        )
        for row, place in enumerate(chosen)
    ]


def _systems(
    predictor: Predictor, columns: Columns
) -> Iterator[tuple[Predictor, Mapping[str, Any]]]:
    """Yield what predicts for each number of devices, with the settings of each system there."""
    for devices in predictor.counts or (predictor.devices,):
        training = Training.of(columns, ranks=devices)
        hardware = predictor.model.operations.hardware
        for settings in Choices.of(training).settings(devices, training, hardware):
            yield replace(predictor, devices=devices), settings


def over_budget(prediction: PredictionColumns, limit: float, metric: Metric) -> Array:
    """Return how far a prediction's worse end is beyond a limit: a factor, ≤ 1 where it is not."""
    held = prediction.bound(metric.goal)
    return held / limit if metric.goal == "minimize" else limit / held


def _over(
    found: Mapping[str, PredictionColumns],
    limits: Mapping[str, float],
    metrics: Mapping[str, Metric],
    rows: int,
) -> Array:
    """Return the largest factor by which any limit is passed, (N,)."""
    each = [over_budget(found[name], limit, metrics[name]) for name, limit in limits.items()]
    return np.broadcast_to(np.max(np.broadcast_arrays(*each), axis=0), (rows,))


def _best_within(over_SN: Array, rate_SN: Array) -> Sequence[int]:
    """Return each design's system: the best rate a device in limits, else the least beyond them."""
    within = over_SN <= 1
    best = np.argmax(np.where(within, rate_SN, -np.inf), axis=0)
    return np.where(within.any(axis=0), best, np.argmin(over_SN, axis=0)).tolist()
