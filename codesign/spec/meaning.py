"""What the schema cannot say: names that only the task knows, levels, budgets, combinations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from codesign.budgets import FeasibleSet
from codesign.contracts import Task, TaskFamily
from codesign.designs import as_columns, design_at
from codesign.errors import ConfigError, SpecError
from codesign.registry import TABLES, is_known, nearest, plugin
from codesign.space import Axis, Space, make_axis
from codesign.spec.loader import build_spec, load_document, parameter, refuse, shown
from codesign.spec.model import Choice, StudySpec
from codesign.spec.yaml_reader import Document, KeyPath, dotted


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A spec with everything it names: its task on its data, its lattice, its feasible set."""

    spec: StudySpec
    task: Task
    space: Space
    feasible: FeasibleSet

    @property
    def task_section(self) -> dict[str, Any]:
        """The part of a trial's payload that says how a worker makes the task."""
        return task_section(self.spec)


def task_section(spec: Any) -> dict[str, Any]:
    """Plain values that make the task of a `StudySpec` or a `DesignFile`."""
    return {
        "name": spec.model["name"],
        "model": {key: value for key, value in spec.model.items() if key != "name"},
        "train": dict(spec.train),
        "source": spec.data.source,
        "path": None if spec.data.path is None else str(Path(spec.data.path).absolute()),
    }


def make_task(spec: Any) -> Task:
    """Make the task of a `StudySpec` or a `DesignFile`; prepares the data if need be."""
    section = task_section(spec)
    name = section.pop("name")
    return cast(Task, plugin("task", name).make(**section))


def load_problem(
    path: str | Path, *, overrides: Sequence[str] = (), data_path: str | None = None
) -> Problem:
    """Read a study's YAML file, check all of it, prepare its data and bound its space.

    Raises:
        SpecError: lists every mistake that the file alone shows.
        DataError: the data cannot be had.
        InfeasibleError: the budgets exclude every design.
    """
    document = load_document(path, overrides=overrides, data_path=data_path)
    family = _family(document)
    refuse(_name_mistakes(document, family))
    spec = build_spec(document, family.METRICS, source=Path(path).read_text("utf-8"))
    axes = tuple(_axes(document, spec, family))
    space = Space(axes)
    task = make_task(spec)
    feasible = FeasibleSet(space, task, spec.budgets)
    feasible.require_some()
    refuse(_design_mistakes(document, spec, task, feasible))
    return Problem(spec=spec, task=task, space=space, feasible=feasible)


def _family(document: Document) -> TaskFamily:
    name = document.values["model"]["name"]
    if not is_known("task", name):
        raise SpecError(
            f"model.name is {shown(name)}; {nearest(name, TABLES['task'])}",
            where=document.where(("model", "name")),
        )
    return cast(TaskFamily, plugin("task", name))


def _name_mistakes(document: Document, family: TaskFamily) -> Iterator[str]:
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
    for i, objective in enumerate(values["objectives"]):
        for complaint in _metric_mistakes(objective["metric"], family, budget=False):
            yield at(("objectives", i, "metric"), complaint)
    names = [objective["metric"] for objective in values["objectives"]]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield at(("objectives", i, "metric"), f"is {shown(name)} again; must be given once")
    for key in values.get("budgets", {}):
        for complaint in _metric_mistakes(key, family, budget=True):
            yield at(("budgets", key), complaint)
    yield from _plugin_mistakes(values, at)


def _plugin_mistakes(values: Mapping[str, Any], at: Any) -> Iterator[str]:
    search, launch = values.get("search", {}), values.get("launch", {})
    for kind, section, key in (("proposer", search, "proposer"), ("executor", launch, "executor")):
        path = ("search" if kind == "proposer" else "launch", key)
        if key in section and not is_known(kind, section[key]):
            yield at(path, f"is {shown(section[key])}; {nearest(section[key], TABLES[kind])}")
    name = search.get("proposer", "known_cost")
    if search.get("options") and is_known("proposer", name):
        options = plugin("proposer", name).Options
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
    if key not in family.SETTINGS[section]:
        yield f"is unknown; {nearest(key, family.SETTINGS[section])}"
    elif key in family.KNOBS and not isinstance(value, list | dict):
        yield from make_axis(key, Choice(values=(value,)), family.KNOBS[key])[1]


def _knob_mistakes(key: str, entry: Any, document: Document, family: TaskFamily) -> Iterator[str]:
    if key not in family.KNOBS:
        yield f"is unknown; {nearest(key, family.KNOBS)}"
        return
    for section in ("model", "train"):
        if key in document.values.get(section, {}):
            yield f"is fixed in {section}, too; must stand in one of them"
    yield from make_axis(key, parameter(entry), family.KNOBS[key])[1]


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


def _axes(document: Document, spec: StudySpec, family: TaskFamily) -> Iterator[Axis]:
    for name, entry in spec.space.items():
        axis, mistakes = make_axis(name, entry, family.KNOBS[name])
        if axis is None:
            raise SpecError(mistakes[0], where=document.where(("space", name)))
        yield axis


def _design_mistakes(
    document: Document, spec: StudySpec, task: Task, feasible: FeasibleSet
) -> Iterator[str]:
    """Combinations of settings, seen on the cheapest design, and the baseline."""
    import numpy as np

    one = design_at(feasible.sample(1, np.random.default_rng(0)), 0)
    for complaint in task.check(one):
        yield f"{document.where(('model',))}: model and train: {complaint}"
    if spec.baseline is None:
        return
    where = document.where(("baseline",))
    levels = feasible.levels
    for key in [key for key in levels if key not in spec.baseline and len(levels[key]) > 1]:
        yield f"{where}: baseline.{key} is missing; must be one of {_listed(levels[key])}"
    wrong = False
    for key, value in spec.baseline.items():
        here = document.where(("baseline", key))
        if key not in levels:
            yield f"{here}: baseline.{key} is unknown; {nearest(key, levels)}"
            wrong = True
        elif value not in levels[key]:
            yield (
                f"{here}: baseline.{key} is {shown(value)}; must be one of {_listed(levels[key])}"
            )
            wrong = True
    complete = {key: spec.baseline.get(key, levels[key][0]) for key in levels}
    if not wrong and not feasible.contains(as_columns([complete]))[0]:
        costs = {name: float(v[0]) for name, v in task.costs(as_columns([complete])).items()}
        over = [
            f"{name} {costs[name]:.6g} > {limit:g}"
            for name, limit in spec.budgets.items()
            if costs[name] > limit
        ]
        yield f"{where}: baseline is beyond the budgets ({', '.join(over)})"


def _listed(levels: Sequence[Any]) -> str:
    shown_levels = [str(level) for level in levels]
    if len(shown_levels) > 8:
        shown_levels = [*shown_levels[:4], "…", shown_levels[-1]]
    return ", ".join(shown_levels)


def complete_baseline(problem: Problem) -> dict[str, Any] | None:
    """The baseline design with the fixed knobs filled in."""
    baseline = problem.spec.baseline
    if baseline is None:
        return None
    return {key: baseline.get(key, levels[0]) for key, levels in problem.space.levels.items()}
