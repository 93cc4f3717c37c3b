"""A spec with everything it names: its task on its data, its lattice, its feasible set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from codesign.budgets import FeasibleSet
from codesign.contracts import Design, HardwareSpec, Task, TaskFamily
from codesign.counted import CountedSet
from codesign.errors import ConfigError, InfeasibleError, SpecError
from codesign.filtered import FilteredSet
from codesign.predicted import CONFIDENCE, PredictedCosts
from codesign.registry import task_family
from codesign.space import Space
from codesign.spec.lattice import (
    baseline_mistakes,
    combination_mistakes,
    complete_design,
    condition_mistakes,
    make_space,
)
from codesign.spec.loader import build_spec, load_document, refuse
from codesign.spec.meaning import data_mistakes, design_mistakes, family_of, name_mistakes
from codesign.spec.model import DesignFile, StudySpec
from codesign.spec.yaml_reader import Document


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A spec with everything it names: its task on its data, its lattice, its feasible set.

    Attributes:
        predicted: costs on the spec's hardware; None where it names none.
    """

    spec: StudySpec
    task: Task
    space: Space
    feasible: FeasibleSet | FilteredSet
    predicted: PredictedCosts | None = None

    def foreseen(self, design: Design) -> dict[str, Any]:
        """What a trial records of its design before it runs (see `PredictedCosts.foreseen`)."""
        return {} if self.predicted is None else self.predicted.foreseen(design)

    def smaller(
        self, design: Design, failed: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Choose the next system after one that ran out of memory (`PredictedCosts.smaller`)."""
        return None if self.predicted is None else self.predicted.smaller(design, failed)

    @cached_property
    def near_misses(self) -> FilteredSet:
        """Designs that keep the predicted budgets by the better ends of the intervals alone."""
        predicted = self.predicted
        assert predicted is not None, "only predicted budgets can be missed"
        optimistic = dataclasses.replace(predicted, optimistic=True)
        base = _within_bounds(self.spec, self.space, optimistic)
        return FilteredSet(base, predicted.near_misses, predicted.believed)


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
    family, unknown = family_of(document)
    mistakes = [*document.mistakes, *unknown]
    if family is not None:
        mistakes += [*name_mistakes(document, family), *condition_mistakes(document, family)]
    refuse(mistakes)
    assert family is not None
    source = Path(path).read_text("utf-8")
    spec = build_spec(document, family.METRICS, source=source, overrides=overrides)
    return LoadedSpec(spec=spec, family=family, document=document)


def load_problem(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    data_path: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Problem:
    """Read a study's YAML file, check all of it, prepare its data and bound its space.

    Args:
        overrides: values that replace the file's, each `section.key=value`.
        data_path: replaces `data.path`.
        say: takes lines of progress, where counting the costs takes its time.

    Raises:
        SpecError: lists every mistake that the file alone shows.
        DataError: the data cannot be had.
        InfeasibleError: the budgets exclude every design.
    """
    loaded = load_spec(path, overrides=overrides, data_path=data_path)
    spec = loaded.spec
    space = make_space(spec.space, spec.model, loaded.family)
    try:
        task = make_task(spec)
    except ConfigError as error:
        where = loaded.document.where(("model",))
        raise SpecError(error.what, where=where, hint=error.hint) from error
    refuse(data_mistakes(loaded.document, loaded.family, task))
    predicted = _bind(loaded.family, task, spec)
    refuse(combination_mistakes(loaded.document, task, space))
    feasible = _feasible(spec, space, task, predicted, say)
    try:
        feasible.require_some()
    except InfeasibleError as error:
        where = loaded.document.where(("budgets",))
        raise InfeasibleError(error.what, where=where, hint=error.hint) from error
    except ConfigError as error:
        where = loaded.document.where(("space",))
        what = f"space holds a design that cannot be: {error.where}: {error.what}"
        raise SpecError(what, where=where, hint=error.hint) from error
    refuse(baseline_mistakes(loaded.document, loaded.family, task, feasible))
    return Problem(spec=spec, task=task, space=space, feasible=feasible, predicted=predicted)


def _feasible(
    spec: StudySpec,
    space: Space,
    task: Task,
    predicted: PredictedCosts | None,
    say: Callable[[str], None],
) -> FeasibleSet | FilteredSet:
    if task.cost_floor is None:
        return CountedSet(space, task, spec.budgets, say=say)
    if predicted is None:
        return FeasibleSet(space, task, spec.budgets)
    base = _within_bounds(spec, space, predicted)
    if predicted.planned:
        return FilteredSet(base, predicted.fits, predicted.believed)
    return base


def _within_bounds(spec: StudySpec, space: Space, predicted: PredictedCosts) -> FeasibleSet:
    """Return the designs within all budgets that boxes have bounds of.

    There is none over systems, so where they are planned exact budgets alone prune.
    """
    if predicted.planned or not predicted.limits:
        exact = {n: limit for n, limit in spec.budgets.items() if n not in predicted.limits}
        # Counting alone is an order of magnitude faster than predicting.
        return FeasibleSet(space, predicted.task, exact, believed=predicted.believed)
    return FeasibleSet(space, predicted, spec.budgets, believed=predicted.believed)


def _bind(family: TaskFamily, task: Task, spec: StudySpec) -> PredictedCosts | None:
    """Bind the task to the spec's device, its system and its predicted budgets."""
    found = predicted_costs(family, task, spec.hardware, spec.confidence)
    if found is None or spec.hardware is None:
        return None
    limits = {n: v for n, v in spec.budgets.items() if task.metrics[n].source == "predicted"}
    planned = spec.hardware.system == "planned"
    return dataclasses.replace(found, limits=limits, planned=planned)


def predicted_costs(
    family: TaskFamily, task: Task, hardware: HardwareSpec | None, confidence: float = CONFIDENCE
) -> PredictedCosts | None:
    """Bind a task to a device; None where there is none.

    Raises:
        ConfigError: the device is unknown, or its files are missing or malformed.
    """
    if hardware is None:
        return None
    predictor = family.predictor(hardware)
    return PredictedCosts(
        task=task, predictor=predictor, confidence=confidence, devices=hardware.devices
    )


def task_section(
    spec: StudySpec | DesignFile, train: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Plain values that make the task, as they stand in a trial's payload.

    Args:
        train: settings of training that replace the spec's.
    """
    return {
        "name": spec.model["name"],
        "model": {key: value for key, value in spec.model.items() if key != "name"},
        "train": {**spec.train, **(train or {})},
        "source": spec.data.source,
        "path": None if spec.data.path is None else str(Path(spec.data.path).absolute()),
    }


def make_task(spec: StudySpec | DesignFile) -> Task:
    """Make the task; prepares the data if need be."""
    section = task_section(spec)
    return task_family(section.pop("name")).make(**section)


def task_of_design(design: DesignFile) -> Task:
    """Check a design file by the rules of its task, and make the task.

    Raises:
        SpecError: lists every mistake.
    """
    where = str(design.path)
    refuse(design_mistakes(design, task_family(design.model["name"])))
    task = make_task(design)
    refuse(f"{where}: {complaint}" for complaint in task.check(design.design))
    return task


def complete_baseline(problem: Problem) -> dict[str, Any] | None:
    """The baseline design with the fixed and the idle knobs filled in."""
    baseline = problem.spec.baseline
    if baseline is None:
        return None
    return complete_design(baseline, problem.space)
