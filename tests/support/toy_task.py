"""A task that trains in no time and fails on request; the module is its own task family."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codesign.contracts import Columns, CostPart, Design, Knob, Metric, Outcome, Progress
from codesign.errors import ConfigError

KNOBS: Mapping[str, Knob] = {
    "width": Knob(kind="int", meaning="width", low=1, high=1000, affects_cost=True),
    "depth": Knob(kind="int", meaning="depth", low=1, high=100, affects_cost=True),
    "form": Knob(kind="choice", meaning="form", choices=("a", "b"), affects_cost=True),
    "wide": Knob(kind="flag", meaning="wide", affects_cost=True),
    "lr": Knob(kind="float", meaning="learning rate", low=1e-6, high=1.0),
    "fate": Knob(
        kind="choice",
        meaning="how the trial ends",
        choices=(
            "completes",
            "bug",
            "refused",
            "diverges",
            "out_of_memory",
            "hangs",
            "hangs_once",
            "dies",
            "dies_once",
            "nan",
            "forgets",
            "looks_back",
            "diverges_late",
        ),
    ),
}
LEFT = "left.txt"  # By an attempt that paused: the share at which it did.
BEGAN = "began.txt"  # By a trial that hangs unless it began before.
DEFAULTS = {"width": 1, "depth": 1, "form": "a", "wide": False, "lr": 0.1, "fate": "completes"}
SETTINGS = {
    "model": {name: KNOBS[name] for name in ("width", "depth")},
    "train": {name: KNOBS[name] for name in ("lr", "fate")},
}
SOURCES = ("toy",)
METRICS: Mapping[str, Metric] = {
    "log_loss": Metric(
        name="log_loss", unit="nat", goal="minimize", source="learned", meaning="on validation"
    ),
    "auc": Metric(name="auc", unit="", goal="maximize", source="learned", meaning="on validation"),
    "gflop_per_example": Metric(
        name="gflop_per_example", unit="GFLOP", goal="minimize", source="exact", meaning="compute"
    ),
    "parameters": Metric(
        name="parameters", unit="", goal="minimize", source="exact", meaning="weights"
    ),
}
NOT_YET_PREDICTED = ("examples_per_s",)


class ToyTask:
    """Cost grows with width and depth; form b and `wide` double it; log loss falls with both."""

    knobs = KNOBS
    metrics = METRICS

    def __init__(self, fixed: Mapping[str, Any] | None = None) -> None:
        self._fixed = {**DEFAULTS, **(fixed or {})}

    def settings(self, design: Design) -> Mapping[str, Any]:
        """See `Task`."""
        return {**self._fixed, **design}

    def check(self, design: Design) -> list[str]:
        """Refuse one combination."""
        impossible = design.get("form") == "b" and design.get("wide")
        return ["form b cannot be wide"] if impossible else []

    def check_metric(self, name: str) -> list[str]:
        """Refuse every task."""
        return ["has no tasks"] if "." in name else []

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """See `Task`."""
        return self.cost_floor(columns, columns)

    def cost_floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """See `Task`; a dip where width is 4 makes the cost fall in one place."""
        rows = len(next(iter(low.values())))
        width = np.asarray(low.get("width", np.ones(rows)), dtype=float)
        widest = np.asarray(high.get("width", np.ones(rows)), dtype=float)
        depth = np.asarray(low.get("depth", np.ones(rows)), dtype=float)
        factor = np.where(np.asarray(low.get("form", np.array(["a"] * rows))) == "b", 2.0, 1.0)
        factor = factor * np.where(np.asarray(low.get("wide", np.zeros(rows, bool))), 2.0, 1.0)
        dips = (width <= 4) & (widest >= 4)
        extra = np.where(dips, 0.0, 5.0)
        return {
            "gflop_per_example": (width * depth * factor + extra) * 1e-3,
            "parameters": width * width * depth,
        }

    def cost_parts(self, design: Design) -> list[CostPart]:
        """See `Task`: one part, all of it."""
        costs = self.costs({name: np.array([value]) for name, value in design.items()})
        return [
            CostPart(
                name="toy",
                layer=0,
                layers_alike=1,
                flop_per_example=1e9 * float(costs["gflop_per_example"][0]),
                parameters=float(costs["parameters"][0]),
            )
        ]

    def examples(self, design: Design) -> float:
        """Ten rows, as many times as the design is deep."""
        return 10.0 * float(design.get("depth", 1))

    def facts(self) -> Mapping[str, Any]:
        """See `Task`."""
        return {"data": "toy", "rows": {"train": 10}, "base_rate": 0.5}

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
        """End as the design's `fate` says; where it is that of `only_rank`, all others hang.

        At a pause the log loss is the higher, the more is left; half of that is the design's own.
        """
        rank = int(os.environ.get("RANK", "0"))
        fate = design.get("fate", "completes")
        if design.get("only_rank", rank) != rank:
            fate = "hangs"
        if fate == "bug":
            raise ZeroDivisionError("a toy bug")
        if fate == "refused":
            raise ConfigError("7 does not divide 2", where="toy", hint="choose 1 or 2")
        if fate == "diverges":
            return Outcome(failure="diverged", reason="the loss is nan")
        if fate == "out_of_memory":
            raise MemoryError
        if fate == "dies" or (fate == "dies_once" and folder.name == "attempt-1"):
            os.kill(os.getpid(), 9)
        report(Progress(done=1, total=2, metrics={"log_loss": 1.0}))
        if fate == "hangs_once" and not any((f / BEGAN).exists() for f in (folder, *earlier)):
            (folder / BEGAN).touch()
            fate = "hangs"
        while fate == "hangs":
            if stop():
                (folder / "stopped.txt").write_text("saved")
                return Outcome(failure="preempted", reason="told to stop")
            time.sleep(0.05)
        width, depth = float(design.get("width", 1)), float(design.get("depth", 1))
        noise = np.random.default_rng(seed).normal() * 1e-3
        if fate == "looks_back":
            return Outcome(metrics={}, facts={"earlier": [path.name for path in earlier]})
        if fate == "tells_rank":
            return Outcome(facts={"rank": rank, "world": int(os.environ["WORLD_SIZE"])})
        if fate == "forgets":
            return Outcome(metrics={"auc": 0.5})
        if fate == "nan":
            return Outcome(metrics={"log_loss": float("nan"), "auc": 0.5})
        if fate == "diverges_late" and until > 0.3:
            return Outcome(failure="diverged", reason="the loss is nan")
        loss = 0.3 + 0.2 / (width * depth) ** 0.3 + noise
        loss += (1 - until) * np.random.default_rng([seed, 1]).uniform(0.1, 0.2)
        found = [float(path.read_text()) for path in _left(earlier)]
        facts = {"seed": seed, **({"from": found} if found else {})}
        if until < 1:
            (folder / LEFT).write_text(str(until))
        self.discard(earlier if until < 1 else [folder, *earlier])
        return Outcome(
            metrics={"log_loss": float(loss), "auc": float(1 - loss)}, facts=facts, share=until
        )

    def discard(self, attempts: Sequence[Path]) -> None:
        """See `Pausable`."""
        for path in _left(attempts):
            path.unlink()


def _left(attempts: Sequence[Path]) -> list[Path]:
    return [attempt / LEFT for attempt in attempts if (attempt / LEFT).exists()]


def make(
    *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
) -> ToyTask:
    """Make the task; nothing to prepare."""
    return ToyTask({**model, **train})
