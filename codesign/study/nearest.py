"""The design of a space that settings of another study come nearest to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from codesign.axes import Axis
from codesign.contracts import Design, Task
from codesign.designs import design_at
from codesign.space import Space
from codesign.study.earlier import TAPER, setting_of

# Rounding of levels that were computed on a logarithmic scale.
SLACK = 1e-9


def nearest_design(settings: Mapping[str, Any], space: Space, task: Task) -> Design | str:
    """Return the design nearest to some settings, or why there is none.

    A number takes its nearest level where that is within half a step of it, on the knob's own
    scale; a word must be one of the levels. A knob of one level is a fixed setting, which may
    differ. Knobs that are idle in the design do not count. Values that shrink by layer must be
    met exactly.
    """
    chosen: list[tuple[int | None, ...]] = []
    for k, axis in enumerate(space.axes):
        if axis.name.endswith(TAPER):
            chosen.append(tuple(space.options(k).tolist()))
        else:
            value = _value(axis, space, settings)
            chosen.append((_level(axis, space.options(k).tolist(), value),))
    why = ""
    for levels in itertools.product(*chosen):
        first = [int(space.options(k)[0]) for k in range(len(space.axes))]
        row = np.array([[a if b is None else b for a, b in zip(first, levels, strict=True)]])
        row = space.canonical(row)
        design = design_at(space.columns(row), 0)
        missed = [
            axis.name
            for k, (axis, level) in enumerate(zip(space.axes, levels, strict=True))
            if level is None and space.is_active(row, k)[0]
        ] or _untapered(space, settings, task.settings(design))
        if not missed:
            return design
        why = f"{missed[0]} is at no level of this space"
    return why


def _value(axis: Axis, space: Space, settings: Mapping[str, Any]) -> Any:
    """Return the setting of an axis: of the first layer, where those after it are tapered."""
    found = settings.get(axis.name)
    if axis.name + TAPER in space.levels and isinstance(found, tuple) and found:
        return found[0]
    return setting_of(axis.name, settings)


def _level(axis: Axis, options: list[int], value: Any) -> int | None:
    """Return the index of a knob's level nearest to a value; None where it is too far away."""
    if len(axis.values) == 1:
        return 0
    if value in axis.position and axis.position[value] in options:
        return axis.position[value]
    if not axis.ordered or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if axis.log and value <= 0:
        return None
    scale = math.log if axis.log else float
    at, levels = scale(value), [scale(axis.values[i]) for i in options]  # type: ignore[arg-type]
    nearest = min(range(len(levels)), key=lambda i: abs(levels[i] - at))
    beside = nearest + (1 if at > levels[nearest] else -1)
    if not 0 <= beside < len(levels):  # Beyond either end a step is as long as the last one.
        beside = nearest - (beside - nearest)
    if not 0 <= beside < len(levels):
        return None
    half_step = abs(levels[beside] - levels[nearest]) / 2
    return options[nearest] if abs(levels[nearest] - at) <= half_step * (1 + SLACK) else None


def _untapered(space: Space, settings: Mapping[str, Any], reached: Mapping[str, Any]) -> list[str]:
    """Return the tapered knobs whose values by layer are not those of the settings."""
    tapered = [name.removesuffix(TAPER) for name in space.levels if name.endswith(TAPER)]
    return [name for name in tapered if reached.get(name) != settings.get(name)]
