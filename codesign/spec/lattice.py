"""What the schema cannot say of a space: conditions, layers, combinations, the baseline."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from codesign.axes import Axis, make_axes
from codesign.budgets import FeasibleSet
from codesign.contracts import Design, Knob, Task, TaskFamily, Value
from codesign.designs import as_columns, as_designs, design_at
from codesign.errors import ConfigError
from codesign.filtered import FilteredSet
from codesign.registry import nearest
from codesign.space import Indices, Space
from codesign.spec.loader import parameter
from codesign.spec.meaning import value_mistakes
from codesign.spec.model import Parameter
from codesign.spec.yaml_reader import Document, KeyPath, dotted, shown

MAX_COMBINATIONS = 4096


def make_space(
    entries: Mapping[str, Parameter], model: Mapping[str, Any], family: TaskFamily
) -> Space:
    """Lay out the lattice of entries that have no mistake of their own.

    Raises:
        ConfigError: conditions that go round in a circle, or look at too many combinations.
    """
    axes: list[Axis] = []
    for name, entry in entries.items():
        knob = family.KNOBS[name]
        counts = _layer_counts(knob, entries, model, family)
        axes += make_axes(name, entry, knob, counts=counts)[0]
    return Space(tuple(axes))


def _layer_counts(
    knob: Knob, entries: Mapping[str, Parameter], model: Mapping[str, Any], family: TaskFamily
) -> list[int]:
    """How many layers designs may have, for a knob that may differ by layer."""
    counter = knob.counted_by
    if counter in entries:
        axes, _ = make_axes(counter, entries[counter], family.KNOBS[counter])
        return [int(value) for axis in axes for value in axis.values]
    return [model[counter]] if counter in model else [1]


def condition_mistakes(document: Document, family: TaskFamily) -> Iterator[str]:
    """Conditions look at knobs of the space and at values these have; layers must be counted."""

    def at(path: KeyPath, complaint: str) -> str:
        return f"{document.where(path)}: {dotted(path)} {complaint}"

    values = document.values
    entries = {name: parameter(entry) for name, entry in values.get("space", {}).items()}
    known = {name: entry for name, entry in entries.items() if name in family.KNOBS}
    found = []
    for name, entry in known.items():
        counter = family.KNOBS[name].counted_by
        differs = (entry.by_layer or entry.taper) and counter
        if differs and counter not in known and counter not in values["model"]:
            found.append(
                at(("space", name), f"differs by layer; must have {counter} in space or in model")
            )
        for other, wanted in entry.when.items():
            path = ("space", name, "when", other)
            if other not in known or known[other].by_layer:
                singles = [n for n, e in known.items() if n != name and not e.by_layer]
                found.append(at(path, f"is no single knob of the space; {nearest(other, singles)}"))
                continue
            axes, _ = make_axes(other, known[other], family.KNOBS[other])
            levels = axes[0].values if axes else wanted
            found += [
                at(path, f"is {shown(value)}; must be of {other}: {_listed(levels)}")
                for value in wanted
                if isinstance(value, bool) != isinstance(levels[0], bool) or value not in levels
            ]
    yield from found
    clean = all(not make_axes(n, e, family.KNOBS[n])[1] for n, e in known.items())
    if clean and not found and len(known) == len(entries):
        try:
            _ = make_space(known, values["model"], family).size
        except ConfigError as error:
            yield at(("space",), f"cannot be: {error.what}")


def combination_mistakes(document: Document, task: Task, space: Space) -> Iterator[str]:
    """Combinations of settings that cannot be: all words, with each number at its two ends."""
    said: set[str] = set()
    for design in as_designs(space.columns(space.canonical(_extremes(space)))):
        for complaint in task.check(design):
            if complaint not in said:
                said.add(complaint)
                yield _located(document, complaint)


def _located(document: Document, complaint: str) -> str:
    """Point at the fixed setting that a complaint begins with, or else at the space."""
    setting = complaint.split(maxsplit=1)[0]
    for section in ("model", "train"):
        if setting in document.values.get(section, {}):
            return f"{document.where((section, setting))}: {section}.{complaint}"
    return f"{document.where(('space',))}: space holds a design that cannot be: {complaint}"


def _extremes(space: Space) -> Indices:
    """Level indices (N, K): all words, at most `MAX_COMBINATIONS`, with each number at its ends."""
    axes = list(enumerate(space.axes))
    words = [k for k, axis in axes if not axis.ordered]
    counts = (range(len(space.axes[k].values)) for k in words)
    rows = []
    for levels in itertools.islice(itertools.product(*counts), MAX_COMBINATIONS):
        row = np.zeros(len(axes), dtype=np.int64)
        row[words] = levels
        rows.append(row)
        for k, axis in axes:
            if axis.ordered:
                rows.append(row.copy())
                rows[-1][k] = len(axis.values) - 1
    return np.array(rows)


def baseline_mistakes(
    document: Document, family: TaskFamily, task: Task, feasible: FeasibleSet | FilteredSet
) -> Iterator[str]:
    """The baseline must be a design of the space, within the budgets."""
    baseline, levels = document.values.get("baseline"), feasible.levels
    if baseline is None:
        return
    where = document.where(("baseline",))
    wrong = {}
    for key, value in baseline.items():
        if f"{key}[1]" in levels:
            wrong[key] = f"differs by layer; must be given as {key}[1] and so on"
        elif key not in levels:
            wrong[key] = f"is unknown; {nearest(key, levels)}"
        elif mistakes := list(value_mistakes(key, value, family.KNOBS)):
            wrong[key] = mistakes[0]
        elif value not in levels[key]:
            wrong[key] = f"is {shown(value)}; must be one of {_listed(levels[key])}"
    known = {key: value for key, value in baseline.items() if key not in wrong}
    complete = complete_design(known, feasible.space)
    for key, value in known.items():
        if complete[key] != value:
            idle = f"{shown(complete[key])} here, or be left out (see space.{key}.when)"
            wrong[key] = f"is {shown(value)}; must be {idle}"
    missing = [key for key in levels if key not in complete and key not in baseline]
    for key in missing:
        yield f"{where}: baseline.{key} is missing; must be one of {_listed(levels[key])}"
    for key, complaint in wrong.items():
        yield f"{document.where(('baseline', key))}: baseline.{key} {complaint}"
    if missing or wrong:
        return
    columns = as_columns([complete])
    if not feasible.contains(columns)[0]:
        costs = {name: float(values[0]) for name, values in task.costs(columns).items()}
        over = [
            f"{name} {costs[name]:.6g} > {limit:g}"
            for name, limit in feasible.budgets.items()
            if costs.get(name, 0.0) > limit
        ]
        why = ", ".join(over) or "by what is predicted of it"
        yield f"{where}: baseline is beyond the budgets ({why})"


def complete_design(given: Design, space: Space) -> dict[str, Value]:
    """Fill in the knobs that can have one value only: fixed ones, and idle ones.

    Returns:
        The design; a knob stays out that is active, has several levels, and is not given.
    """
    start = {axis.name: given.get(axis.name, axis.values[0]) for axis in space.axes}
    row = space.canonical(space.index_of(start))
    design = design_at(space.columns(row), 0)
    open_knobs = [
        axis.name
        for k, axis in enumerate(space.axes)
        if axis.name not in given and len(space.options(k)) > 1 and space.is_active(row, k)[0]
    ]
    return {name: value for name, value in design.items() if name not in open_knobs}


def _listed(levels: Sequence[Any]) -> str:
    shown_levels = [str(level) for level in levels]
    if len(shown_levels) > 8:
        shown_levels = [*shown_levels[:4], "…", shown_levels[-1]]
    return ", ".join(shown_levels)
