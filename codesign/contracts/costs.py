"""What designs cost before anything is launched: counted exactly, or predicted for a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from codesign.contracts.values import Columns, Goal, Metric

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class CostPart:
    """One part of a design's exact cost.

    Attributes:
        layer: the first layer it is of, from 1; 0: it stands outside the layers.
        layers_alike: how many layers, `layer` and those after it, it stands for.
        flop_per_example: forward + backward.
    """

    name: str
    layer: int
    layers_alike: int
    flop_per_example: float
    parameters: float


@dataclass(frozen=True, kw_only=True)
class HardwareSpec:
    """The device that costs are predicted for.

    Attributes:
        name: of a shipped device, or the path of a file.
        precision: of matrix products; None: that of training.
        latency_batch: examples of the forward pass whose latency is predicted, ≥ 1.
        devices: that train one model together, ≥ 1; at most, where `counts` says how many.
        counts: numbers of devices to choose from, rising, `devices` the last; empty: it alone.
        system: how they train it: as the fixed settings of training say, or `planned`, each design
            under the system that suits it best.
        price_per_hour: of one device, in any currency; None: unknown.
    """

    name: str
    precision: Literal["fp32", "tf32", "bf16"] | None = None
    latency_batch: int = 256
    devices: int = 1
    counts: tuple[int, ...] = ()
    system: Literal["given", "planned"] = "given"
    price_per_hour: float | None = None

    def for_training(self, train: Mapping[str, Any]) -> HardwareSpec:
        """Fill in the precision from the fixed settings of training, FP32 where they have none."""
        precision = self.precision or train.get("precision", "fp32")
        return replace(self, precision=precision)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One predicted metric of one design; the true value is above `low` and below `high`, each
    with the confidence asked for.

    Attributes:
        value: the median.
        label: where the figures come from: cost model, device, and what it was fitted to.
    """

    value: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, kw_only=True)
class PredictionColumns:
    """One predicted metric of N designs: as `Prediction`, each array (N,) or (1,)."""

    value: np.ndarray[Any, Any]
    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]
    label: str

    def bound(self, goal: Goal) -> np.ndarray[Any, Any]:
        """The end of the interval that a budget holds: the worse one."""
        return self.high if goal == "minimize" else self.low

    def better_end(self, goal: Goal) -> np.ndarray[Any, Any]:
        """The better end of the interval."""
        return self.low if goal == "minimize" else self.high

    def __getitem__(self, row: int) -> Prediction:
        ends = {"value": self.value, "low": self.low, "high": self.high}
        figures = {end: float(v[row if len(v) > 1 else 0]) for end, v in ends.items()}
        return Prediction(**figures, label=self.label)


@dataclass(frozen=True, kw_only=True)
class BestSystem:
    """The system that suits one design best, and what is predicted of the design there.

    Attributes:
        devices: that train the design together.
        train: settings of `train` that make the system.
        predicted: metrics of source `predicted`.
        within_budgets: whether the worse end of each interval keeps its budget.
    """

    devices: int
    train: Mapping[str, Any]
    predicted: Mapping[str, Prediction]
    within_budgets: bool


class Costs(Protocol):
    """What designs cost before anything is launched."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Name → what is known of a metric, costs among them."""

    def costs(self, columns: Columns) -> dict[str, np.ndarray]:
        """Count exactly, design by design: `gflop_per_example`, `parameters`, `table_bytes`, …"""

    @property
    def cost_floor(self) -> Callable[[Columns, Columns], dict[str, np.ndarray]] | None:
        """Bound what budgets hold over boxes of designs, `low` ≤ design ≤ `high` by knob.

        The bound is from below, or from above where a metric is to be maximized. Exact where `low`
        equals `high`. Only ordered knobs may differ. None: no bound is known, and counting a design
        takes milliseconds (see `codesign.counted`).
        """
