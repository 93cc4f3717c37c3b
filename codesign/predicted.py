"""Predicted costs beside exact ones: what budgets on a device hold, and what a trial records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.contracts import (
    BestSystem,
    Columns,
    Design,
    Goal,
    LogNormal,
    Metric,
    PredictionColumns,
    Task,
)
from codesign.designs import Key, as_columns, as_designs, key_of

CONFIDENCE = 0.9
MEMORY = "memory_per_device_gib"
# Designs whose systems are remembered, before all are forgotten.
MOST_KNOWN = 100_000
# Of the memory predicted of a system that did not fit, what another may be predicted to hold.
CLEARLY_LESS = 0.8


@dataclass(frozen=True, kw_only=True)
class PredictedCosts:
    """A task's costs on one device; satisfies `codesign.contracts.Costs`.

    Attributes:
        predictor: what the task's family made of the device.
        confidence: with which a budget is kept: memory and latency are held by the upper ends of
            their intervals, throughput by the lower end.
        limits: budgets of predicted metrics.
        planned: each design is predicted under the system that suits it best, within `limits`.
        devices: that train one model together, where they are not planned.
        optimistic: bounds hold the better ends in place of the worse ones.
    """

    task: Task
    predictor: Any
    confidence: float = CONFIDENCE
    limits: Mapping[str, float] = field(default_factory=dict)
    planned: bool = False
    devices: int = 1
    optimistic: bool = False
    _known: dict[Key, BestSystem] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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
            name: np.broadcast_to(self._end(name, prediction, optimistic=self.optimistic), (rows,))
            for name, prediction in found.items()
        }
        return {**self.task.cost_floor(low, high), **bounds}

    def predict(self, columns: Columns) -> Mapping[str, PredictionColumns]:
        """Predict each design, with intervals."""
        if self.planned:
            return _as_predictions(self.systems(columns))
        return self.task.predict(self.predictor, columns, columns, confidence=self.confidence)

    def with_devices(
        self, columns: Columns
    ) -> tuple[Mapping[str, PredictionColumns], np.ndarray[Any, Any]]:
        """Predict each design, and say on how many devices, (N,)."""
        if self.planned:
            chosen = self.systems(columns)
            return _as_predictions(chosen), np.array([system.devices for system in chosen])
        rows = len(next(iter(columns.values())))
        return self.predict(columns), np.full(rows, self.devices)

    def systems(self, columns: Columns) -> list[BestSystem]:
        """Choose the best system of each design; of those chosen lately it is remembered."""
        keys = [key_of(design) for design in as_designs(columns)]
        rows = {key: row for row, key in enumerate(keys) if key not in self._known}
        if rows:
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
                rows = {key: row for row, key in enumerate(keys)}
            places = list(rows.values())
            new = {name: values[places] for name, values in columns.items()}
            found = self.task.best_systems(
                self.predictor, new, confidence=self.confidence, budgets=self.limits
            )
            self._known.update(zip(rows, found, strict=True))
        return [self._known[key] for key in keys]

    def fits(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether the best system of each design keeps it within all limits, (N,)."""
        return np.array([system.within_budgets for system in self.systems(columns)])

    def near_misses(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each design keeps all limits by the better ends, not by the worse ones, (N,)."""
        found = self.predict(columns)
        worse, better = (
            self._keeps_limits(found, columns, optimistic=each) for each in (False, True)
        )
        return better & ~worse

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

    def step_parts_ms(self, design: Design) -> dict[str, float]:
        """Predict the median milliseconds of each part of a training step of one design."""
        return dict(self.task.step_parts_ms(self.predictor, design))

    def foreseen(self, design: Design) -> dict[str, Any]:
        """What a trial records of its design before it runs, as plain values.

        `predictions`: fields of `Prediction` by metric. `system`: where it was chosen, its
        `devices`, and the settings of `train` that differ from the study's own. `misses`: the
        budgets that the worse ends break, each with its metric's goal.
        """
        columns = as_columns([dict(design)])
        chosen = self.systems(columns) if self.planned else []
        found = _as_predictions(chosen) if chosen else self.predict(columns)
        goals = {name: self.metrics[name].goal for name in self.limits}
        return {
            "predictions": {name: asdict(prediction[0]) for name, prediction in found.items()},
            "system": self._recorded(design, chosen[0]) if chosen else {},
            "misses": {
                name: goal
                for name, goal in goals.items()
                if not keeps(found[name].bound(goal), self.limits[name], goal).all()
            },
        }

    def smaller(
        self, design: Design, failed: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Choose the next system for a design whose system ran out of memory.

        It is the best of those within all limits that are predicted to hold at most `CLEARLY_LESS`
        of the memory a device, by the worse ends.

        Args:
            failed: what was predicted under the system that failed, as `foreseen` has it.

        Returns:
            `predictions` and `system`, as `foreseen` has them; None: there is no such system.
        """
        if not self.planned or MEMORY not in failed:
            return None
        most_gib = CLEARLY_LESS * failed[MEMORY]["high"]
        limits = {**self.limits, MEMORY: min(most_gib, self.limits.get(MEMORY, most_gib))}
        found = replace(self, limits=limits).foreseen(design)
        return None if found.pop("misses") else found

    def _recorded(self, design: Design, chosen: BestSystem) -> dict[str, Any]:
        """Return a system as a trial records it, without what the design's own settings say."""
        own = self.task.settings(design)
        changed = {name: v for name, v in chosen.train.items() if own.get(name) != v}
        train = {name: v for name, v in changed.items() if name not in design}
        return {"devices": chosen.devices, "train": train}

    def ranges(self, columns: Columns) -> dict[str, dict[str, dict[str, Any]]]:
        """Of each metric the predictions with the `least`, the `median`, and the `most` value."""
        found = {}
        for name, predictions in self.predict(columns).items():
            order = np.argsort(predictions.value)
            places = {"least": order[0], "median": order[len(order) // 2], "most": order[-1]}
            found[name] = {key: asdict(predictions[int(row)]) for key, row in places.items()}
        return found

    def _keeps_limits(
        self, found: Mapping[str, PredictionColumns], columns: Columns, *, optimistic: bool
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        inside = np.ones(len(next(iter(columns.values()))), dtype=bool)
        for name, limit in self.limits.items():
            end = self._end(name, found[name], optimistic=optimistic)
            inside &= keeps(end, limit, self.metrics[name].goal)
        return inside

    def _end(
        self, name: str, prediction: PredictionColumns, *, optimistic: bool
    ) -> np.ndarray[Any, Any]:
        goal = self.metrics[name].goal
        return prediction.better_end(goal) if optimistic else prediction.bound(goal)


def keeps(value: Any, limit: float, goal: Goal) -> Any:
    """Whether values keep a budget: the most of what is to be minimized, the least of the rest."""
    return value <= limit if goal == "minimize" else value >= limit


def _as_predictions(systems: list[BestSystem]) -> dict[str, PredictionColumns]:
    """Return what is predicted of N designs, each under its own system."""
    return {
        name: PredictionColumns(
            **{
                end: np.array([getattr(system.predicted[name], end) for system in systems])
                for end in ("value", "low", "high")
            },
            label="; ".join(dict.fromkeys(system.predicted[name].label for system in systems)),
        )
        for name in systems[0].predicted
    }
