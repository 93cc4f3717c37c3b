"""The lattice of designs: every knob has an ordered, finite list of levels.

N designs, K knobs. A design is a row of level indices; *columns* are many designs by knob. A float
without `step` or `points` is searched on 21 levels of its scale, an integer on a logarithmic scale
on doublings of `low`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from codesign.contracts import Columns, Design, Knob, Value
from codesign.spec.model import Choice, Parameter, Range

DEFAULT_FLOAT_POINTS = 21
MAX_LEVELS = 100_000
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One knob of the lattice.

    Attributes:
        values: its levels, ascending where `ordered`.
        ordered: numbers are; words are not.
        log: whether distances are measured in the logarithm.
        affects_cost: whether any exact cost depends on it.
    """

    name: str
    values: tuple[Value, ...]
    ordered: bool
    log: bool = False
    affects_cost: bool = True

    @cached_property
    def array(self) -> np.ndarray[Any, Any]:
        """The levels as an array of one type."""
        return np.array(self.values)

    @cached_property
    def position(self) -> Mapping[Value, int]:
        """Level → index."""
        return {value: i for i, value in enumerate(self.values)}


def make_axis(name: str, parameter: Parameter, knob: Knob) -> tuple[Axis | None, list[str]]:
    """Lay out one knob's levels.

    Returns:
        The axis, or None with what is wrong with the parameter (each: `…; must be …`).
    """
    if isinstance(parameter, Range):
        values, mistakes = _range_levels(parameter, knob)
    else:
        values, mistakes = list(parameter.values), _choice_mistakes(parameter, knob)
    if mistakes:
        return None, mistakes
    numeric = knob.kind in ("int", "float")
    log = parameter.log if isinstance(parameter, Range) else _geometric(values, numeric)
    levels = sorted(values, key=float) if numeric else values
    return Axis(
        name=name,
        values=tuple(levels),
        ordered=numeric,
        log=log,
        affects_cost=knob.affects_cost,
    ), []


def _range_levels(spec: Range, knob: Knob) -> tuple[list[Value], list[str]]:
    if knob.kind not in ("int", "float"):
        kind = "true or false" if knob.kind == "flag" else ", ".join(knob.choices)
        return [], [f"is a range; must be one or a list of: {kind}"]
    mistakes = [
        f"has {key} {value!r}; must be a whole number"
        for key, value in (("low", spec.low), ("high", spec.high), ("step", spec.step))
        if knob.kind == "int" and value is not None and not isinstance(value, int)
    ]
    if spec.low > spec.high:
        mistakes.append(f"has low {spec.low} above high {spec.high}; must have low ≤ high")
    mistakes += _bound_mistakes(spec.low, knob, "low") + _bound_mistakes(spec.high, knob, "high")
    if spec.log and spec.low <= 0:
        mistakes.append(f"has low {spec.low} on a logarithmic scale; must be > 0")
    if spec.log and spec.step is not None:
        mistakes.append("has both step and log; must have one of them (points goes with log)")
    if spec.step is not None and spec.points is not None:
        mistakes.append("has both step and points; must have one of them")
    if mistakes:
        return [], mistakes
    if spec.step is not None or (knob.kind == "int" and not spec.log and spec.points is None):
        return _stepped(spec, spec.step or 1, knob)
    if knob.kind == "int" and spec.log and spec.points is None:
        doublings = math.floor(math.log2(spec.high / spec.low) + 1e-9)
        whole = [int(spec.low) * 2**i for i in range(doublings + 1)]
        return [*dict.fromkeys([*whole, int(spec.high)])], []
    points = spec.points or DEFAULT_FLOAT_POINTS
    spread = np.geomspace if spec.log else np.linspace
    exact = [float(x) for x in spread(spec.low, spec.high, points)]
    if knob.kind == "int":
        return [*dict.fromkeys(round(x) for x in exact)], []
    rounded = [float(f"{x:.4g}") for x in exact[1:-1]]
    return [*dict.fromkeys([float(spec.low), *rounded, float(spec.high)])], []


def _stepped(spec: Range, step: float, knob: Knob) -> tuple[list[Value], list[str]]:
    steps = (spec.high - spec.low) / step
    count = round(steps)
    if abs(steps - count) > 1e-6:
        below = spec.low + math.floor(steps) * step
        near = f"must be e.g. {below:g} or {below + step:g}"
        return [], [f"has high {spec.high} off the grid of step {step} from {spec.low}; {near}"]
    if count >= MAX_LEVELS:
        return [], [f"has {count + 1:,} levels; must have at most {MAX_LEVELS:,}"]
    if knob.kind == "int":
        return [int(spec.low) + i * int(step) for i in range(count + 1)], []
    return [float(f"{spec.low + i * step:.10g}") for i in range(count + 1)], []


def _choice_mistakes(choice: Choice, knob: Knob) -> list[str]:
    mistakes = []
    for value in choice.values:
        if knob.kind == "flag":
            fits, demand = isinstance(value, bool), "true or false"
        elif knob.kind == "choice":
            fits, demand = value in knob.choices, f"one of {', '.join(knob.choices)}"
        else:
            whole = isinstance(value, int) and not isinstance(value, bool)
            fits = whole or (knob.kind == "float" and isinstance(value, float))
            demand = "a whole number" if knob.kind == "int" else "a number"
        if not fits:
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            mistakes.append(f"is {shown}; must be {demand}")
        elif knob.kind in ("int", "float"):
            mistakes += _bound_mistakes(float(value), knob, "")
    numbers = [float(v) for v in choice.values if isinstance(v, int | float)]
    if not mistakes and knob.kind in ("int", "float") and len(set(numbers)) < len(numbers):
        mistakes.append("has equal choices; must have each value once")
    return mistakes


def _bound_mistakes(value: float, knob: Knob, key: str) -> list[str]:
    found = f"has {key} {value:g}" if key else f"is {value:g}"
    if knob.low is not None and value < knob.low:
        return [f"{found}; must be ≥ {knob.low:g}"]
    if knob.high is not None and value > knob.high:
        return [f"{found}; must be ≤ {knob.high:g}"]
    return []


def _geometric(values: list[Value], numeric: bool) -> bool:
    """Whether a list of numbers reads as a logarithmic scale: 8, 16, 32 or 1e-3, 1e-2."""
    if not numeric or len(values) < 3 or min(float(v) for v in values) <= 0:
        return False
    logs = np.log(np.sort(np.array(values, dtype=float)))
    even_in_log = np.ptp(np.diff(logs)) / np.diff(logs).mean()
    linear = np.diff(np.exp(logs))
    return bool(even_in_log < np.ptp(linear) / linear.mean())


class Space:
    """The lattice: axes in the order of the spec."""

    def __init__(self, axes: tuple[Axis, ...]) -> None:
        self.axes = axes
        self.levels: Mapping[str, tuple[Value, ...]] = {axis.name: axis.values for axis in axes}

    @property
    def size(self) -> int:
        """The number of designs."""
        return math.prod(len(axis.values) for axis in self.axes)

    def columns(self, indices_NK: Indices) -> dict[str, np.ndarray[Any, Any]]:
        """Turn level indices (N, K) into values by knob, each (N,)."""
        return {axis.name: axis.array[indices_NK[:, k]] for k, axis in enumerate(self.axes)}

    def indices(self, columns: Columns) -> Indices:
        """Turn values by knob into level indices (N, K).

        Raises:
            KeyError: a value that is no level of its knob.
        """
        by_knob = [
            [axis.position[value] for value in np.asarray(columns[axis.name]).tolist()]
            for axis in self.axes
        ]
        return np.array(by_knob, dtype=np.int64).T.reshape(-1, len(self.axes))

    def index_of(self, design: Design) -> Indices:
        """Level indices (1, K) of one design."""
        return self.indices({name: np.array([design[name]]) for name in self.levels})

    def encode(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Features in [0, 1], (N, features): ordered knobs by position, others one-hot."""
        features = []
        for axis in self.axes:
            if len(axis.values) == 1:
                continue
            values = np.asarray(columns[axis.name])
            if axis.ordered:
                scale = np.log if axis.log else np.asarray
                low, high = scale(float(axis.values[0])), scale(float(axis.values[-1]))
                features.append((scale(values.astype(float)) - low) / (high - low))
            else:
                features += [(values == level).astype(float) for level in axis.values[:-1]]
        rows = len(next(iter(columns.values())))
        return np.stack(features, axis=1) if features else np.zeros((rows, 0))

    def neighbours(self, design: Design) -> Indices:
        """Level indices of all designs that differ in one knob: by one level, or in the word."""
        here = self.index_of(design)[0]
        rows = []
        for k, axis in enumerate(self.axes):
            steps = (here[k] - 1, here[k] + 1) if axis.ordered else range(len(axis.values))
            for level in steps:
                if 0 <= level < len(axis.values) and level != here[k]:
                    row = here.copy()
                    row[k] = level
                    rows.append(row)
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.axes))
