"""From the entries of a spec's `space` to axes: every knob has an ordered, finite list of levels.

A float without `step` or `points` is searched on 21 levels of its scale, an integer on a
logarithmic scale on doublings of `low`. An entry `by_layer` becomes one axis per layer, `NAME[1]`
and so on; one with `taper` a second axis, `NAME.taper`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from codesign.contracts import Knob, Value
from codesign.metrics import split_name
from codesign.spec.model import Choice, Parameter, Range

DEFAULT_FLOAT_POINTS = 21
MAX_LEVELS = 100_000
MOST_SAID = 3  # of the mistakes in one list of choices
TAPER = Knob(kind="float", meaning="each layer's value over the one's before", low=0.05, high=4.0)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One knob of the lattice.

    Attributes:
        values: its levels, ascending where `ordered`.
        ordered: numbers are; words are not.
        log: whether distances are measured in the logarithm.
        affects_cost, affects_prediction: whether any exact cost, any predicted cost, depends on it.
        when: it is active where each of these knobs has one of these values.
        idle: index of the level that it has where it is not active.
        active: indices of the levels that it has where it is.
    """

    name: str
    values: tuple[Value, ...]
    ordered: bool
    log: bool = False
    affects_cost: bool = True
    affects_prediction: bool = True
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    idle: int = 0
    active: tuple[int, ...] = ()

    @cached_property
    def array(self) -> np.ndarray[Any, Any]:
        """The levels as an array of one type."""
        return np.array(self.values)

    @cached_property
    def position(self) -> Mapping[Value, int]:
        """Level → index."""
        return {value: i for i, value in enumerate(self.values)}


def knob_of(name: str, knobs: Mapping[str, Knob]) -> Knob | None:
    """Return the knob behind the name of an axis: `n_F`, `n_F[2]` or `n_F.taper`."""
    if name in knobs:
        return knobs[name]
    base, _, rest = name.partition("[")
    if rest.endswith("]") and rest[:-1].isdigit() and base in knobs:
        return knobs[base] if knobs[base].counted_by else None
    base, _, rest = name.partition(".")
    if rest == "taper" and base in knobs and knobs[base].counted_by:
        return TAPER
    return None


def is_geometric(values: Sequence[Value]) -> bool:
    """Whether a list of numbers reads as a logarithmic scale: 8, 16, 32 or 1e-3, 1e-2, 0.1."""
    numbers = np.sort(np.array(values, dtype=float))
    if len(numbers) < 3 or numbers[0] <= 0:
        return False
    logs = np.log(numbers)
    even_in_log = np.ptp(np.diff(logs)) / np.diff(logs).mean()
    linear = np.diff(np.exp(logs))
    return bool(even_in_log < np.ptp(linear) / linear.mean())


def make_axes(
    name: str, parameter: Parameter, knob: Knob, *, counts: Sequence[int] = (1,)
) -> tuple[list[Axis], list[str]]:
    """Lay out one entry's axes.

    Args:
        counts: how many layers the designs have, where the entry differs by layer.

    Returns:
        The axes, and what is wrong with the entry (each: `…; must be …`); axes only if nothing is.
    """
    values, mistakes = _levels(parameter.levels, knob)
    mistakes += [*_otherwise_mistakes(parameter, knob), *_layer_mistakes(parameter, knob)]
    if mistakes:
        return [], mistakes
    numeric = knob.kind in ("int", "float")
    levels = parameter.levels
    log = (
        levels.log
        if isinstance(levels, Range)
        else numeric and is_geometric([float(v) for v in values])
    )
    first = min(values, key=float) if numeric else values[0]
    otherwise = first if parameter.otherwise is None else parameter.otherwise
    every = values if otherwise in values else [*values, otherwise]
    ordered = tuple(sorted(every, key=float) if numeric else every)
    axis = Axis(
        name=name,
        values=ordered,
        ordered=numeric,
        log=log and float(ordered[0]) > 0,
        affects_cost=knob.affects_cost,
        affects_prediction=knob.affects_prediction,
        when=parameter.when,
        idle=ordered.index(otherwise),
        active=tuple(i for i, value in enumerate(ordered) if value in values),
    )
    return list(_by_layer(axis, parameter, knob, counts)), []


def _by_layer(
    axis: Axis, parameter: Parameter, knob: Knob, counts: Sequence[int]
) -> Iterator[Axis]:
    """Yield the axis, with its taper; or one for each layer, active where there is such a layer."""

    def where_deep(layer: int) -> dict[str, tuple[Value, ...]]:
        deep = tuple(count for count in counts if count >= layer)
        shallow = len(deep) < len(counts)
        return {**parameter.when, **({knob.counted_by: deep} if shallow else {})}

    if parameter.by_layer:
        for layer in range(1, max(counts) + 1):
            name = f"{axis.name}[{layer}]"
            yield dataclasses.replace(axis, name=name, when=where_deep(layer))
        return
    yield axis
    if parameter.taper and max(counts) > 1:
        levels = Choice(values=parameter.taper)
        when = where_deep(2)
        factors = Parameter(levels=levels, when=when, otherwise=1.0 if when else None)
        taper = dataclasses.replace(
            TAPER, affects_cost=knob.affects_cost, affects_prediction=knob.affects_prediction
        )
        yield from make_axes(f"{axis.name}.taper", factors, taper)[0]


def _layer_mistakes(parameter: Parameter, knob: Knob) -> Iterator[str]:
    if (parameter.by_layer or parameter.taper) and not knob.counted_by:
        yield "has by_layer or taper; must not: it is one value for the whole model"
    if parameter.by_layer and parameter.taper:
        yield "has both by_layer and taper; must have one of them"
    for complaint in _choice_mistakes(Choice(values=parameter.taper), TAPER):
        yield f"has a taper that {complaint}"


def _otherwise_mistakes(parameter: Parameter, knob: Knob) -> list[str]:
    if parameter.otherwise is None:
        return []
    if not parameter.when:
        return ["has otherwise without when; must have both"]
    mistakes = _choice_mistakes(Choice(values=(parameter.otherwise,)), knob)
    return [f"has an otherwise that {mistake}" for mistake in mistakes]


def _levels(levels: Range | Choice, knob: Knob) -> tuple[list[Value], list[str]]:
    if isinstance(levels, Range):
        return _range_levels(levels, knob)
    return list(levels.values), _choice_mistakes(levels, knob)


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
    for digits in (4, 6, 9, 15):  # as few as keep the levels apart
        rounded = [float(f"{x:.{digits}g}") for x in exact[1:-1]]
        levels: list[Value] = [*dict.fromkeys([float(spec.low), *rounded, float(spec.high)])]
        if len(levels) == points and levels == sorted(levels, key=float):
            break
    return levels, []


def _stepped(spec: Range, step: float, knob: Knob) -> tuple[list[Value], list[str]]:
    steps = (spec.high - spec.low) / step
    count = round(steps)
    if abs(steps - count) > 1e-6 * max(1, count) or (not count and spec.high > spec.low):
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
        elif knob.kind == "metric":
            plain = split_name(value)[0] if isinstance(value, str) else ""
            fits, demand = plain in knob.choices, f"one of {', '.join(knob.choices)}"
        else:
            whole = isinstance(value, int) and not isinstance(value, bool)
            fits = whole or (knob.kind == "float" and isinstance(value, float))
            demand = "a whole number" if knob.kind == "int" else "a number"
        if not fits:
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            mistakes.append(f"is {shown}; must be {demand}")
        elif knob.kind in ("int", "float"):
            mistakes += _bound_mistakes(float(value), knob, "")
    if len(mistakes) > MOST_SAID:
        mistakes[MOST_SAID:] = [f"has {len(mistakes) - MOST_SAID:,} more such values"]
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
