"""What the schema cannot say: names that only the task knows, levels, budgets, combinations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from codesign.axes import knob_of, make_axes
from codesign.contracts import HardwareSpec, Knob, Pausable, Task, TaskFamily
from codesign.errors import ConfigError
from codesign.metrics import metric_named, split_name
from codesign.registry import TABLES, is_known, nearest, plugin, task_family
from codesign.spec.launching import launch_mistakes, planning_mistakes
from codesign.spec.loader import parameter
from codesign.spec.model import (
    Choice,
    DesignFile,
    Parameter,
    cost_budgets,
    study_budget_names,
)
from codesign.spec.yaml_reader import Document, KeyPath, dotted, shown

At = Callable[[KeyPath, str], str]
# Sources of metrics that are known before a design is trained.
KNOWN = ("exact", "predicted")
NEEDS_HARDWARE = (
    "is predicted for a device; must have the section hardware beside it, such as "
    "hardware: h100-sxm"
)


def family_of(document: Document) -> tuple[TaskFamily | None, list[str]]:
    """Import what stands behind `model.name`, or say what is wrong with it."""
    name = document.values.get("model", {}).get("name")
    if name is None:
        return None, []  # the schema has said so
    where = document.where(("model", "name"))
    complaint = None if ":" in name else plugin_mistake("task", name)
    if complaint:
        return None, [f"{where}: model.name {complaint}"]
    try:
        return task_family(name), []
    except ConfigError as error:
        what = ": ".join(filter(None, (error.where, error.what)))
        hint = f"; {error.hint}" if error.hint else ""
        return None, [f"{where}: model.name cannot be: {what}{hint}"]


def plugin_mistake(kind: str, name: str) -> str | None:
    """What is wrong with the name of a plug-in."""
    if not is_known(kind, name):
        return f"is {shown(name)}; {nearest(name, TABLES[kind])}"
    try:
        if name not in TABLES[kind]:
            plugin(kind, name)
    except ConfigError as error:
        return f"cannot be: {error.what}"
    return None


def name_mistakes(document: Document, family: TaskFamily) -> Iterator[str]:
    """Everything named must exist, and every value must be one its knob can have."""
    values = document.values

    def at(path: KeyPath, complaint: str) -> str:
        return f"{document.where(path)}: {dotted(path)} {complaint}"

    source = values.get("data", {}).get("source")
    if source is not None and source not in family.SOURCES and ":" not in source:
        yield at(("data", "source"), f"is {shown(source)}; {nearest(source, family.SOURCES)}")
    for section in ("model", "train"):
        for key, value in values.get(section, {}).items():
            if section == "model" and key == "name":
                continue
            for complaint in _setting_mistakes(key, value, family, section):
                yield at((section, key), complaint)
    for key, entry in values.get("space", {}).items():
        yield from (at(("space", key), c) for c in _knob_mistakes(key, entry, document, family))
    yield from _objective_mistakes(values, family, at)
    for key in cost_budgets(values.get("budgets", {})):
        for complaint in _budget_mistakes(key, family, predicts="hardware" in values):
            yield at(("budgets", key), complaint)
    if "hardware" in values:
        yield from (at(("hardware",), c) for c in _hardware_mistakes(values, family))
    yield from planning_mistakes(values, at)
    yield from _exploring_mistakes(values, family, at)
    rungs = values.get("search", {}).get("fidelity", {}).get("rungs", [])
    if None not in rungs and rungs != sorted(rungs):  # None: the schema has said so
        yield at(("search", "fidelity", "rungs"), f"is {shown(rungs)}; must rise")
    yield from _plugin_mistakes(values, at)


def _exploring_mistakes(values: Mapping[str, Any], family: TaskFamily, at: At) -> Iterator[str]:
    bounded = set(cost_budgets(values.get("budgets", {})))
    explored = values.get("search", {}).get("explore_infeasible", 0)
    if explored and not bounded & set(_metrics_of(family, "predicted")):
        found = shown(explored)
        yield at(
            ("search", "explore_infeasible"),
            f"is {found}, and no budget is predicted; exact ones are never missed: must be 0",
        )


def _plugin_mistakes(values: Mapping[str, Any], at: At) -> Iterator[str]:
    broken = False
    for section, kind in (("search", "proposer"), ("launch", "executor")):
        name = values.get(section, {}).get(kind)
        complaint = None if name is None else plugin_mistake(kind, name)
        if complaint:
            broken = True
            yield at((section, kind), complaint)
    if broken:
        return
    yield from launch_mistakes(values, at)
    search = values.get("search", {})
    proposer = search.get("proposer", "known_cost")
    if not search.get("options"):
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
    if isinstance(value, list) and knob.counted_by and value:
        for entry in value:
            yield from value_mistakes(key, entry, {key: knob})
    else:
        yield from value_mistakes(key, value, {key: knob})


def value_mistakes(key: str, value: Any, knobs: Mapping[str, Knob]) -> Iterator[str]:
    """What is wrong with one value of one knob."""
    knob = knob_of(key, knobs)
    if knob is None:
        yield f"is unknown; {nearest(key, knobs)}"
    elif isinstance(value, list | dict) or value is None:
        yield f"is {shown(value)}; must be one value"
    else:
        yield from make_axes(key, Parameter(levels=Choice(values=(value,))), knob)[1]


def _knob_mistakes(key: str, entry: Any, document: Document, family: TaskFamily) -> Iterator[str]:
    if key not in family.KNOBS:
        yield f"is unknown; {nearest(key, family.KNOBS)}"
        return
    for section in ("model", "train"):
        if key in document.values.get(section, {}):
            yield f"is fixed in {section}, too; must stand in one of them"
    yield from make_axes(key, parameter(entry), family.KNOBS[key])[1]


def _objective_mistakes(values: Mapping[str, Any], family: TaskFamily, at: At) -> Iterator[str]:
    objectives = [objective or {} for objective in values.get("objectives", ())]
    names = [objective.get("metric") for objective in objectives]
    for i, objective in enumerate(objectives):
        name = names[i]
        if name is None:
            continue
        for complaint in _objective_metric_mistakes(name, family, predicts="hardware" in values):
            yield at(("objectives", i, "metric"), complaint)
        if name in names[:i]:
            yield at(("objectives", i, "metric"), f"is {shown(name)} again; must be given once")
        metric = metric_named(name, family.METRICS)
        if metric and metric.source in KNOWN and objective.get("reference", 1) <= 0:
            found = objective["reference"]
            yield at(("objectives", i, "reference"), f"is {shown(found)} for a cost; must be > 0")
    known = [metric_named(name, family.METRICS) for name in names if name]
    if names and len(known) == len(names) and all(m and m.source in KNOWN for m in known):
        learned = [name for name, metric in family.METRICS.items() if metric.source == "learned"]
        yield at(
            ("objectives",),
            f"are all costs known before training, so nothing would be learned; must hold one of "
            f"{', '.join(learned)}",
        )


def _objective_metric_mistakes(name: str, family: TaskFamily, *, predicts: bool) -> Iterator[str]:
    metric = metric_named(name, family.METRICS)
    if metric is not None and (predicts or metric.source != "predicted"):
        return
    allowed = _metrics_of(family, "exact", "learned", *(["predicted"] if predicts else []))
    task = split_name(name)[1]
    if task:
        allowed = [f"{each}.{task}" for each in _metrics_of(family, "learned")]
    if name in family.METRICS:
        yield NEEDS_HARDWARE
    elif name in family.NOT_YET_PREDICTED:
        yield f"is not predicted for this model; must be one of {', '.join(allowed)}"
    else:
        yield f"is {shown(name)}; {nearest(name, allowed)}"


def data_mistakes(document: Document, family: TaskFamily, task: Task) -> Iterator[str]:
    """Every metric that is named must be one that the data can have; what is paused can be."""
    values = document.values
    if "fidelity" in values.get("search", {}) and not isinstance(task, Pausable):
        where, name = document.where(("search", "fidelity")), values["model"]["name"]
        yield f"{where}: search.fidelity cannot be: {name} trains in full only; must be left out"
    named: dict[KeyPath, str] = {
        ("objectives", i, "metric"): objective["metric"]
        for i, objective in enumerate(values["objectives"])
        if family.METRICS[split_name(objective["metric"])[0]].source == "learned"
    }
    for section, known in family.SETTINGS.items():
        for key, value in values.get(section, {}).items():
            knob = known.get(key)
            if knob is not None and knob.kind == "metric":
                named[section, key] = value
    for path, name in named.items():
        for complaint in task.check_metric(name):
            yield f"{document.where(path)}: {dotted(path)} is {shown(name)}; {complaint}"


def _budget_mistakes(name: str, family: TaskFamily, *, predicts: bool) -> Iterator[str]:
    exact, predicted = _metrics_of(family, "exact"), _metrics_of(family, "predicted")
    allowed = [*exact, *predicted]
    if name in exact or (name in predicted and predicts):
        return
    if name in predicted:
        yield NEEDS_HARDWARE
    elif name in family.NOT_YET_PREDICTED:
        yield f"is not predicted for this model; must be one of {', '.join(allowed)}"
    elif name in family.METRICS:
        yield f"is no cost that is known before training; must be one of {', '.join(allowed)}"
    else:
        yield f"is unknown; {nearest(name, [*allowed, *study_budget_names()])}"


def _metrics_of(family: TaskFamily, *sources: str) -> list[str]:
    return sorted(name for name, metric in family.METRICS.items() if metric.source in sources)


def _hardware_mistakes(values: Mapping[str, Any], family: TaskFamily) -> Iterator[str]:
    section = values["hardware"]
    if not _metrics_of(family, "predicted"):
        yield "cannot be: nothing is predicted for this model"
    elif "name" in section:
        try:
            family.predictor(HardwareSpec(**section).for_training(values.get("train", {})))
        except ConfigError as error:
            yield f"cannot be: {error}"


def design_mistakes(design: DesignFile, family: TaskFamily) -> Iterator[str]:
    """A design file's settings and knobs must exist, with values they can have."""
    for section, settings in (("model", design.model), ("train", design.train)):
        for key, value in settings.items():
            if section == "train" or key != "name":
                for complaint in _setting_mistakes(key, value, family, section):
                    yield f"{design.path}: {section}.{key} {complaint}"
    for key, value in design.design.items():
        for complaint in value_mistakes(key, value, family.KNOBS):
            yield f"{design.path}: design.{key} {complaint}"
