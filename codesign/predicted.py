"""Predicted costs beside exact ones: what budgets on a device hold, and what a trial records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.contracts import Columns, Design, LogNormal, Metric, PredictionColumns, Task
from codesign.designs import as_columns

CONFIDENCE = 0.9


@dataclass(frozen=True, kw_only=True)
class PredictedCosts:
    """A task's costs on one device; satisfies `codesign.contracts.Costs`.

    Attributes:
        predictor: what the task's family made of the device.
        confidence: with which a budget is kept: memory and latency are held by the upper ends of
            their intervals, throughput by the lower end.
    """

    task: Task
    predictor: Any
    confidence: float = CONFIDENCE

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The task's metrics."""
        return self.task.metrics

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """The exact costs of each design."""
        return self.task.costs(columns)

    def cost_floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Bound exact costs, and the ends of intervals that budgets hold, over boxes."""
        assert self.task.cost_floor is not None, "a family that predicts has bounds"
        rows = len(next(iter(low.values())))
        found = self.task.predict(self.predictor, low, high, confidence=self.confidence)
        bounds = {
            name: np.broadcast_to(prediction.bound(self.metrics[name].goal), (rows,))
            for name, prediction in found.items()
        }
        return {**self.task.cost_floor(low, high), **bounds}

    def predict(self, columns: Columns) -> Mapping[str, PredictionColumns]:
        """Predict each design, with intervals."""
        return self.task.predict(self.predictor, columns, columns, confidence=self.confidence)

    def believed(self, columns: Columns) -> dict[str, LogNormal]:
        """Predict each design as proposers see it: the interval's width becomes a deviation."""
        rows = len(next(iter(columns.values())))
        z = NormalDist().inv_cdf(self.confidence)
        return {
            name: LogNormal(
                median=np.broadcast_to(found.value, (rows,)),
                log_sd=np.broadcast_to(np.log(found.high / found.low) / (2 * z), (rows,)),
            )
            for name, found in self.predict(columns).items()
        }

    def of_design(self, design: Design) -> dict[str, dict[str, Any]]:
        """Predict one design; fields of `Prediction` by metric, as plain values."""
        found = self.predict(as_columns([dict(design)]))
        return {name: asdict(columns[0]) for name, columns in found.items()}

    def ranges(self, columns: Columns) -> dict[str, dict[str, dict[str, Any]]]:
        """Of each metric the predictions with the `least`, the `median`, and the `most` value."""
        found = {}
        for name, predictions in self.predict(columns).items():
            order = np.argsort(predictions.value)
            places = {"least": order[0], "median": order[len(order) // 2], "most": order[-1]}
            found[name] = {key: asdict(predictions[int(row)]) for key, row in places.items()}
        return found
