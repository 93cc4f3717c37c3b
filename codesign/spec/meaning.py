"""What the schema cannot say: names that only the task knows, levels, budgets, combinations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from codesign.budgets import FeasibleSet
from codesign.contracts import Knob, Task, TaskFamily
from codesign.designs import as_columns
from codesign.errors import ConfigError, SpecError
from codesign.registry import TABLES, is_known, nearest, plugin
from codesign.space import Space, make_axis
from codesign.spec.loader import build_spec, load_document, parameter, refuse, shown
from codesign.spec.model import Choice, DesignFile, StudySpec
from codesign.spec.yaml_reader import Document, KeyPath, dotted

At = Callable[[KeyPath, str], str]
MAX_COMBINATIONS = 4096


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A spec with everything it names: its task on its data, its lattice, its feasible set."""

    spec: StudySpec
    task: Task
    space: Space
    feasible: FeasibleSet


@dataclass(frozen=True, kw_only=True)
class LoadedSpec:
    """A spec that passed every check that needs no data."""

    spec: StudySpec
    family: TaskFamily
    document: Document


def load_spec(
    path: str | Path, *, overrides: Sequence[str] = (), data_path: str | None = None
) -> LoadedSpec:
    """Read a study's YAML file and check all that can be checked without its data.

    Raises:
        SpecError: lists every mistake.
    """
    document = load_document(path, overrides=overrides, data_path=data_path)
    family = _family(document)
    refuse(_name_mistakes(document, family))
    spec = build_spec(document, family.METRICS, source=Path(path).read_text("utf-8"))
    return LoadedSpec(spec=spec, family=family, document=document)


def load_problem(
    path: str | Path, *, overrides: Sequence[str] = (), data_path: str | None = None
) -> Problem:
    """Read a study's YAML file, check all of it, prepare its data and bound its space.

    Raises:
        SpecError: lists every mistake that the file alone shows.
        DataError: the data cannot be had.
        InfeasibleError: the budgets exclude every design.
    """
    loaded = load_spec(path, overrides=overrides, data_path=data_path)
    spec = loaded.spec
    knobs = loaded.family.KNOBS
    axes = [make_axis(name, entry, knobs[name])[0] for name, entry in spec.space.items()]
    space = Space(tuple(axis for axis in axes if axis is not None))
    task = make_task(spec)
    feasible = FeasibleSet(space, task, spec.budgets)
    refuse(_combination_mistakes(loaded, task, space))
    feasible.require_some()
    refuse(_baseline_mistakes(loaded, task, feasible))
    return Problem(spec=spec, task=task, space=space, feasible=feasible)


def task_section(spec: StudySpec | DesignFile) -> dict[str, Any]:
    """Plain values that make the task, as they stand in a trial's payload."""
    return {
        "name": spec.model["name"],
        "model": {key: value for key, value in spec.model.items() if key != "name"},
        "train": dict(spec.train),
        "source": spec.data.source,
        "path": None if spec.data.path is None else str(Path(spec.data.path).absolute()),
    }


def make_task(spec: StudySpec | DesignFile) -> Task:
    """Make the task; prepares the data if need be."""
    section = task_section(spec)
    return cast("Task", plugin("task", section.pop("name")).make(**section))


def task_of_design(design: DesignFile) -> Task:
    """Check a design file by the rules of its task, and make the task.

    Raises:
        SpecError: lists every mistake.
    """
    where = str(design.path)
    family = cast("TaskFamily", plugin("task", design.model["name"]))
    complaints = [
        f"{where}: {section}.{key} {complaint}"
        for section, settings in (("model", design.model), ("train", design.train))
        for key, value in settings.items()
        if key != "name"
        for complaint in _setting_mistakes(key, value, family, section)
    ]
    for key, value in design.design.items():
        found = _value_mistakes(key, value, family.KNOBS)
        complaints += [f"{where}: design.{key} {complaint}" for complaint in found]
    refuse(complaints)
    task = make_task(design)
    refuse(f"{where}: {complaint}" for complaint in task.check(design.design))
    return task


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


def _combination_mistakes(loaded: LoadedSpec, task: Task, space: Space) -> Iterator[str]:
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
                    where = loaded.document.where(("space",))
                    yield f"{where}: space holds a design that cannot be: {complaint}"


def _baseline_mistakes(loaded: LoadedSpec, task: Task, feasible: FeasibleSet) -> Iterator[str]:
    baseline, document, levels = loaded.spec.baseline, loaded.document, feasible.levels
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
        elif wrong := list(_value_mistakes(key, value, loaded.family.KNOBS)):
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
            for name, limit in loaded.spec.budgets.items()
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
