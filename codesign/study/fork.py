"""Start a study from the trials of another: those that the new spec could have trained itself.

What a trial measured depends on its settings, fixed and searched together, and on the data. A
trial is taken over where a design of the new space gives the same settings on the same data.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from codesign.contracts import Design
from codesign.designs import as_columns
from codesign.errors import StudyError
from codesign.spec.problem import Problem, complete_baseline
from codesign.study.folder import StudyFolder, read_json
from codesign.study.state import StudyState, Trial, TrialKind, fold
from codesign.study.store import EventKind, Store


def fork(problem: Problem, folder: StudyFolder, store: Store, *, origin: Path, now: float) -> int:
    """Take over what another study has trained; confirming runs stay behind.

    Args:
        problem: of the new study.
        folder, store: of the new study; the store holds no events yet.
        origin: folder of the other study, which is only read.
        now: seconds since the epoch, for the record.

    Returns:
        How many trials were taken over.

    Raises:
        StudyError: the new study has begun already; or there is no study at `origin`, or it is of
            another model, or of other data.
    """
    if next(store.events(), None) is not None:
        raise StudyError(
            "has begun already, so nothing can be taken over into it",
            where=str(folder.path),
            hint="leave --fork out to continue it, or name a new folder with --study",
        )
    old = StudyFolder(origin)
    if not old.store.exists():
        raise StudyError("holds no study to fork", where=str(origin), hint="name a study's folder")
    known = read_json(old.resolved_spec)
    mine = {"data files": problem.task.facts().get("source_md5", {})}
    mine["model"] = problem.spec.model["name"]
    theirs = {
        "data files": known["identity"]["data files"],
        "model": known["spec"]["model"]["name"],
    }
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        raise StudyError(
            f"cannot be forked: its {' and '.join(differing)} are not this study's",
            where=str(origin),
        )
    with Store(old.store, read_only=True) as recorded:
        state = fold(recorded.events())
    baseline = complete_baseline(problem)
    shared = list(_shared(state, known["spec"], problem))
    for number, (trial, design) in enumerate(shared):
        asleep = problem.space.asleep(design)
        kind: TrialKind = "baseline" if design == baseline else "search"
        shutil.copytree(
            old.attempt(trial.number, trial.attempt), folder.attempt(number, 1), dirs_exist_ok=True
        )
        for event, payload in _events(trial, design, asleep, kind, origin):
            store.append(event, number, payload, time=now)
    return len(shared)


def _shared(
    state: StudyState, old_spec: Mapping[str, Any], problem: Problem
) -> Iterator[tuple[Trial, Design]]:
    """Yield ended trials with the design of the new space that is the same model."""
    fixed = _settings(problem.spec.model, problem.spec.train)
    space = problem.space
    for trial in state.of_kind("baseline", "search"):
        settings = {**_settings(old_spec["model"], old_spec["train"]), **trial.design}
        design = {name: settings[name] for name in space.levels if name in settings}
        known = all(design.get(name) in levels for name, levels in space.levels.items())
        if trial.open or not known or {**fixed, **design} != settings:
            continue
        columns = as_columns([design])
        rows = space.indices(columns)
        if (space.canonical(rows) == rows).all() and problem.feasible.contains(columns)[0]:
            yield trial, design


def _settings(model: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**model, **train}.items() if name != "name"}


def _events(
    trial: Trial, design: Design, asleep: list[str], kind: TrialKind, origin: Path
) -> Iterator[tuple[EventKind, dict[str, Any]]]:
    """Yield what the new study records of a trial."""
    costs = dict(trial.costs)
    created = {"kind": kind, "design": dict(design), "seed": trial.seed, "costs": costs, "of": None}
    yield "created", {**created, "asleep": asleep}
    yield "submitted", {"attempt": 1, "token": trial.token, "lost": trial.lost}
    yield (
        "completed" if trial.failure is None else "failed",
        {
            "token": trial.token,
            "metrics": dict(trial.metrics),
            "failure": trial.failure,
            "reason": trial.reason,
            "facts": {**trial.facts, "forked_from": f"trial {trial.number} of {origin.name}"},
            "seconds": trial.seconds,
        },
    )
