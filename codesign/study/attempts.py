"""What the record, and the folder of an attempt, hold of a trial before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codesign.contracts import Design, Job, LaunchRequest, Outcome, TrialKind
from codesign.designs import as_columns
from codesign.spec.model import StudySpec
from codesign.spec.problem import Problem, task_section
from codesign.study.folder import StudyFolder
from codesign.study.halving import next_share
from codesign.study.state import Trial


def created(
    problem: Problem, number: int, kind: TrialKind, design: Design, of: int | None
) -> dict[str, Any]:
    """Return the payload of the event that a trial was created: fields of `Trial`."""
    examples = float(problem.task.examples(design))
    return {**sketched(problem, number, kind, design, of), "examples": examples}


def sketched(
    problem: Problem, number: int, kind: TrialKind, design: Design, of: int | None
) -> dict[str, Any]:
    """Return what is known of a trial without any example to train on: fields of `Trial`."""
    costs = problem.task.costs(as_columns([dict(design)]))
    drawn = np.random.SeedSequence([problem.spec.seed, number])
    return {
        "kind": kind,
        "design": dict(design),
        # Fresh for every trial: a confirming run must not repeat the luck of its original.
        "seed": int(drawn.generate_state(1)[0]),
        "costs": {name: float(values[0]) for name, values in costs.items()},
        **problem.foreseen(design),
        "of": of,
        "asleep": problem.space.asleep(design),
    }


def processes_of(spec: StudySpec, system: Mapping[str, Any]) -> int:
    """Return how many processes train a trial.

    Args:
        system: chosen for it; empty: none is, as in a study that was forked.
    """
    if spec.launch.system == "planned":
        return int(system.get("devices", spec.launch.processes))
    return spec.launch.processes


def smaller_plan(problem: Problem, trial: Trial, outcome: Outcome) -> dict[str, Any] | None:
    """Return what is recorded of the one rerun of a trial that ran out of memory under its plan.

    Returns:
        Fields of the payload of `submitted`; None: the failure counts.
    """
    was_planned = trial.system.get("devices") == trial.processes
    if outcome.failure != "out_of_memory" or not was_planned or trial.outgrown is not None:
        return None
    found = problem.smaller(trial.design, trial.predictions)
    return found and {**found, "outgrown": outcome.reason}


def attempt_file(problem: Problem, trial: Trial) -> dict[str, Any]:
    """Return the content of `trial.json` for the trial's latest attempt."""
    return {
        "trial": trial.number,
        "attempt": trial.attempt,
        "token": trial.token,
        "task": task_section(problem.spec, trial.system_train(trial.processes)),
        "design": dict(trial.design),
        "seed": trial.seed,
        "until": next_share(trial, problem.spec.search.fidelity),
        "costs": dict(trial.costs),
        "system": dict(trial.system),
    }


def job_of(spec: StudySpec, folder: StudyFolder, trial: Trial) -> Job:
    """Return the trial's latest attempt as an executor takes it."""
    timeout_min = spec.launch.timeout_min
    return Job(
        trial=trial.number,
        attempt=trial.attempt,
        folder=folder.attempt(trial.number, trial.attempt).absolute(),
        timeout_s=None if timeout_min is None else timeout_min * 60,
        token=trial.token,
        processes=trial.processes,
        starts=spec.launch.attempts - trial.lost,
    )


def launch_request(
    spec: StudySpec, study: Path, say: Callable[[str], None] = print
) -> LaunchRequest:
    """Return what a study asks of its executor's module."""
    return LaunchRequest(
        workers=spec.launch.workers,
        processes=spec.launch.processes,
        options=spec.launch.options,
        study=study.absolute(),
        name=spec.name,
        say=say,
    )
