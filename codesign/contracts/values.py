"""Knobs, metrics and designs: the values that a search is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Value = int | float | str | bool
Design = Mapping[str, Value]
Goal = Literal["minimize", "maximize"]
Columns = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One thing a space may search over.

    Attributes:
        kind: `int`, `float`, `choice` (one of `choices`), `flag` (true or false), or `metric`
            (one of `choices`, or METRIC.TASK for one of the data's tasks).
        low, high: the values that make sense at all, both included (int and float).
        affects_cost: whether any exact cost depends on it.
        affects_prediction: whether any predicted cost does.
        counted_by: the knob that counts its layers, where each may have a value of its own.
    """

    kind: Literal["int", "float", "choice", "flag", "metric"]
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    affects_cost: bool = False
    affects_prediction: bool = False
    counted_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quantity that a study reports; see `codesign.metrics` for the names of one task's.

    Attributes:
        goal: which way is better.
        source: `learned` needs a training run; `exact` is counted before anything is launched,
            `predicted` by a cost model of the hardware, with an interval.
    """

    name: str
    unit: str
    goal: Goal
    source: Literal["learned", "exact", "predicted", "measured"]
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric to improve, with its direction and, optionally, its reference point.

    Attributes:
        predicted: its values are those predicted, whatever trials measure under the same name.
    """

    metric: str
    goal: Goal
    reference: float | None = None
    predicted: bool = False

    @property
    def name(self) -> str:
        """What people read: a predicted figure never goes by the name of a measured one."""
        return f"predicted_{self.metric}" if self.predicted else self.metric
