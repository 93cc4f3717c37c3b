"""A spec with everything it names: its task on its data, its lattice, its feasible set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.budgets import FeasibleSet
from codesign.contracts import Design, HardwareSpec, Task, TaskFamily
from codesign.counted import CountedSet
from codesign.errors import ConfigError, InfeasibleError, SpecError
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
    feasible: FeasibleSet
    predicted: PredictedCosts | None = None

    def predictions(self, design: Design) -> dict[str, dict[str, Any]]:
        """What is predicted of a design, as a trial records it: fields of `Prediction`."""
        return {} if self.predicted is None else self.predicted.of_design(design)


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
    predicted = predicted_costs(loaded.family, task, spec.hardware, spec.confidence)
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
) -> FeasibleSet:
    if task.cost_floor is None:
        return CountedSet(space, task, spec.budgets, say=say)
    # Counting alone is an order of magnitude faster, where no budget needs a prediction.
    holds = any(task.metrics[name].source == "predicted" for name in spec.budgets)
    return FeasibleSet(
        space,
        predicted if predicted and holds else task,
        spec.budgets,
        believed=predicted.believed if predicted else None,
    )


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
    return PredictedCosts(task=task, predictor=predictor, confidence=confidence)


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
