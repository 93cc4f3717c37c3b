"""What the schema cannot say: names that only the task knows, levels, budgets, combinations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from codesign.budgets import FeasibleSet
from codesign.contracts import Knob, Task, TaskFamily
from codesign.designs import as_columns
from codesign.errors import ConfigError, SpecError
from codesign.registry import TABLES, is_known, nearest, plugin
from codesign.space import Space, make_axis
from codesign.spec.loader import parameter, shown
from codesign.spec.model import Choice, DesignFile
from codesign.spec.yaml_reader import Document, KeyPath, dotted

At = Callable[[KeyPath, str], str]
MAX_COMBINATIONS = 4096


def family_of(document: Document) -> TaskFamily:
    """Import the module behind `model.name`.

    Raises:
        SpecError: there is none.
    """
    name = document.values["model"]["name"]
    if not is_known("task", name):
        raise SpecError(
            f"model.name is {shown(name)}; {nearest(name, TABLES['task'])}",
            where=document.where(("model", "name")),
        )
    return cast(TaskFamily, plugin("task", name))


def name_mistakes(document: Document, family: TaskFamily) -> Iterator[str]:
    """Everything named must exist, and every value must be one its knob can have."""
    values = document.values

    def at(path: KeyPath, complaint: str) -> str:
        return f"{document.where(path)}: {dotted(path)} {complaint}"

    source = values["data"]["source"]
    if source not in family.SOURCES:
        yield at(("data", "source"), f"is {shown(source)}; {nearest(source, family.SOURCES)}")
    for section in ("model", "train"):
        for key, value in values.get(section, {}).items():
            if section == "model" and key == "name":
                continue
            for complaint in _setting_mistakes(key, value, family, section):
                yield at((section, key), complaint)
    for key, entry in values["space"].items():
        yield from (at(("space", key), c) for c in _knob_mistakes(key, entry, document, family))
    yield from _objective_mistakes(values, family, at)
    for key in values.get("budgets", {}):
        for complaint in _metric_mistakes(key, family, budget=True):
            yield at(("budgets", key), complaint)
    yield from _plugin_mistakes(values, at)


def _plugin_mistakes(values: Mapping[str, Any], at: At) -> Iterator[str]:
    for section, kind in (("search", "proposer"), ("launch", "executor")):
        name = values.get(section, {}).get(kind)
        if name is not None and not is_known(kind, name):
            yield at((section, kind), f"is {shown(name)}; {nearest(name, TABLES[kind])}")
    search = values.get("search", {})
    proposer = search.get("proposer", "known_cost")
    if not search.get("options") or not is_known("proposer", proposer):
        return
    options = plugin("proposer", proposer).Options
    known = {field.name for field in dataclasses.fields(options)}
    unknown = [key for key in search["options"] if key not in known]
    for key in unknown:
        yield at(("search", "options", key), f"is unknown; {nearest(key, known)}")
    if not unknown:
        try:
            options(**search["options"])
        except (ConfigError, TypeError) as error:
            yield at(("search", "options"), f"cannot be: {error}")


def _setting_mistakes(key: str, value: Any, family: TaskFamily, section: str) -> Iterator[str]:
    known = family.SETTINGS[section]
    if key not in known:
        yield f"is unknown; {nearest(key, known)}"
        return
    knob = known[key]
    if knob is None:
        return
    if isinstance(value, list) and knob.by_layer and value:
        for entry in value:
            yield from _value_mistakes(key, entry, {key: knob})
    else:
        yield from _value_mistakes(key, value, {key: knob})


def _value_mistakes(key: str, value: Any, knobs: Mapping[str, Knob]) -> Iterator[str]:
    if key not in knobs:
        yield f"is unknown; {nearest(key, knobs)}"
    elif isinstance(value, list | dict) or value is None:
        yield f"is {shown(value)}; must be one value"
    else:
        yield from make_axis(key, Choice(values=(value,)), knobs[key])[1]


def _knob_mistakes(key: str, entry: Any, document: Document, family: TaskFamily) -> Iterator[str]:
    if key not in family.KNOBS:
        yield f"is unknown; {nearest(key, family.KNOBS)}"
        return
    for section in ("model", "train"):
        if key in document.values.get(section, {}):
            yield f"is fixed in {section}, too; must stand in one of them"
    yield from make_axis(key, parameter(entry), family.KNOBS[key])[1]


def _objective_mistakes(values: Mapping[str, Any], family: TaskFamily, at: At) -> Iterator[str]:
    names = [objective["metric"] for objective in values["objectives"]]
    for i, objective in enumerate(values["objectives"]):
        name = names[i]
        for complaint in _metric_mistakes(name, family, budget=False):
            yield at(("objectives", i, "metric"), complaint)
        if name in names[:i]:
            yield at(("objectives", i, "metric"), f"is {shown(name)} again; must be given once")
        exact = name in family.METRICS and family.METRICS[name].source == "exact"
        if exact and objective.get("reference", 1) <= 0:
            found = objective["reference"]
            yield at(("objectives", i, "reference"), f"is {shown(found)} for a cost; must be > 0")
    known = [family.METRICS[name] for name in names if name in family.METRICS]
    if len(known) == len(names) and all(metric.source == "exact" for metric in known):
        learned = [name for name, metric in family.METRICS.items() if metric.source == "learned"]
        yield at(
            ("objectives",),
            f"are all exact costs, so nothing would be learned; must hold one of "
            f"{', '.join(learned)}",
        )


def _metric_mistakes(name: str, family: TaskFamily, *, budget: bool) -> Iterator[str]:
    exact = {key for key, metric in family.METRICS.items() if metric.source == "exact"}
    allowed = exact if budget else set(family.METRICS)
    if name in allowed:
        return
    if name in family.NOT_YET_PREDICTED:
        yield (
            "needs the cost model, which does not exist yet; must be one of "
            + ", ".join(sorted(allowed))
        )
    elif name in family.METRICS:
        yield f"is no exact cost; must be one of {', '.join(sorted(allowed))}"
    elif budget:
        yield f"is unknown; {nearest(name, allowed)}"
    else:
        yield f"is {shown(name)}; {nearest(name, allowed)}"


def combination_mistakes(document: Document, task: Task, space: Space) -> Iterator[str]:
    """Combinations of settings that cannot be: all words, with each number at its two ends."""
    words = [axis for axis in space.axes if not axis.ordered]
    numbers = [axis for axis in space.axes if axis.ordered]
    lowest = {axis.name: axis.values[0] for axis in numbers}
    ends = [lowest, *({**lowest, axis.name: axis.values[-1]} for axis in numbers)]
    said: set[str] = set()
    combinations = itertools.product(*(axis.values for axis in words))
    for values in itertools.islice(combinations, MAX_COMBINATIONS):
        chosen = dict(zip((axis.name for axis in words), values, strict=True))
        for end in ends:
            for complaint in task.check({**chosen, **end}):
                if complaint not in said:
                    said.add(complaint)
                    where = document.where(("space",))
                    yield f"{where}: space holds a design that cannot be: {complaint}"


def baseline_mistakes(
    document: Document, family: TaskFamily, task: Task, feasible: FeasibleSet
) -> Iterator[str]:
    """The baseline must be a design of the space, within the budgets."""
    baseline, levels = document.values.get("baseline"), feasible.levels
    if baseline is None:
        return
    where = document.where(("baseline",))
    found = [
        f"{where}: baseline.{key} is missing; must be one of {_listed(levels[key])}"
        for key in levels
        if key not in baseline and len(levels[key]) > 1
    ]
    for key, value in baseline.items():
        here = document.where(("baseline", key))
        if key not in levels:
            found.append(f"{here}: baseline.{key} is unknown; {nearest(key, levels)}")
        elif wrong := list(_value_mistakes(key, value, family.KNOBS)):
            found.append(f"{here}: baseline.{key} {wrong[0]}")
        elif value not in levels[key]:
            allowed = _listed(levels[key])
            found.append(f"{here}: baseline.{key} is {shown(value)}; must be one of {allowed}")
    yield from found
    if found:
        return
    complete = as_columns([{key: baseline.get(key, levels[key][0]) for key in levels}])
    if not feasible.contains(complete)[0]:
        costs = {name: float(values[0]) for name, values in task.costs(complete).items()}
        over = [
            f"{name} {costs[name]:.6g} > {limit:g}"
            for name, limit in feasible.budgets.items()
            if costs[name] > limit
        ]
        yield f"{where}: baseline is beyond the budgets ({', '.join(over)})"


def _listed(levels: Sequence[Any]) -> str:
    shown_levels = [str(level) for level in levels]
    if len(shown_levels) > 8:
        shown_levels = [*shown_levels[:4], "…", shown_levels[-1]]
    return ", ".join(shown_levels)


def design_mistakes(design: DesignFile, family: TaskFamily) -> Iterator[str]:
    """A design file's settings and knobs must exist, with values they can have."""
    for section, settings in (("model", design.model), ("train", design.train)):
        for key, value in settings.items():
            if section == "train" or key != "name":
                for complaint in _setting_mistakes(key, value, family, section):
                    yield f"{design.path}: {section}.{key} {complaint}"
    for key, value in design.design.items():
        for complaint in _value_mistakes(key, value, family.KNOBS):
            yield f"{design.path}: design.{key} {complaint}"
