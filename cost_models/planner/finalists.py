"""Predicted costs of designs, each under the system that suits it best.

The number of devices and the global batch stay as they are, and no choice changes what a trial
measures: sharding, devices that share the dense weights, recomputation, compiling. N designs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    """Choose for each design the fastest system within the budgets.

    Memory beyond what a device has for training (`usable_gib`) is never within them. Where no
    system keeps them all, the one that is least beyond is chosen. Among equals it is the plainest.

    Args:
        predictor: of the device, with the number of devices.
        columns: fields of WukongConfig and of TrainConfig → one value for all, or an array (N,);
            `batch_size` is an array.
        confidence: of each end of the intervals, in (0.5, 1).
        budgets: predicted metric → limit, held by the worse end of the interval.
        metrics: name → which way a metric is better.
    """
    predictor = remembering(predictor)
    batch_size = np.atleast_1d(columns["batch_size"])
    training = Training.of(columns, ranks=predictor.devices)
    hardware = predictor.model.operations.hardware
    systems = list(Choices.of(training).settings(predictor.devices, training, hardware))
    # A forward pass is the same under all of them.
    alike = predictor.predict(columns, columns, schema, confidence=confidence, metrics=ALIKE)
    found = [
        alike | predictor.predict(on, on, schema, confidence=confidence, metrics=NEEDED)
        for on in ({**columns, **settings} for settings in systems)
    ]
    most_gib = usable_gib(hardware)
    asked_gib = budgets.get("memory_per_device_gib", most_gib)
    limits = {**budgets, "memory_per_device_gib": min(asked_gib, most_gib)}
    over = np.stack([_over(each, limits, metrics, len(batch_size)) for each in found])
    rates = np.stack(
        [np.broadcast_to(each["examples_per_s"].value, over[0].shape) for each in found]
    )
    chosen = _fastest_within(over, rates)
    return [
        BestSystem(
            devices=predictor.devices,
            train={"batch_size": int(batch_size[row]), **systems[place]},
            predicted={name: column[row] for name, column in found[place].items()},
            within_budgets=bool(over[place, row] <= 1),
        )
        for row, place in enumerate(chosen)
    ]


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


def _fastest_within(over_SN: Array, rate_SN: Array) -> Sequence[int]:
    """Return each design's system: the fastest within its limits, else the least beyond them."""
    within = over_SN <= 1
    fastest = np.argmax(np.where(within, rate_SN, -np.inf), axis=0)
    return np.where(within.any(axis=0), fastest, np.argmin(over_SN, axis=0)).tolist()
