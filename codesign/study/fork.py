"""Start a study from the trials of another: those that the new spec could have trained itself.

What a trial measured depends on all its settings, fixed, searched or left at their defaults, and on
the data. A trial is taken over where a design of the new space gives the same settings.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from codesign.contracts import Design, TrialKind
from codesign.designs import as_columns, design_at
from codesign.errors import StudyError
from codesign.space import Space
from codesign.spec.problem import Problem, complete_baseline
from codesign.study.earlier import TAPER, says_something, task_as_set
from codesign.study.folder import StudyFolder, read_resolved_spec
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState, Trial, fold
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
            another model, or of other data, or none of its trials fits; nothing is taken over then.
    """
    if next(store.events(), None) is not None:
        raise StudyError(
            "has begun already, so nothing can be taken over into it",
            where=str(folder.path),
            hint="leave --fork out to continue it, or name a new folder with --study",
        )
    old, old_spec = _origin(problem, folder, origin)
    shared = list(_shared(fold(recorded_events(old)), old_spec, problem))
    if not shared:
        raise StudyError(
            "has no trial that the new spec could have trained itself",
            where=str(origin),
            hint="leave --fork out, or compare the settings of both specs",
        )
    _copy_files(shared, old, folder)
    baseline = complete_baseline(problem)
    with store.together():
        for number, (trial, design) in enumerate(shared):
            kind: TrialKind = "baseline" if design == baseline else "search"
            asleep = problem.space.asleep(design)
            foreseen = problem.foreseen(design)
            for event, payload in _events(trial, design, asleep, foreseen, kind, origin):
                store.append(event, number, payload, time=now)
    return len(shared)


def _origin(
    problem: Problem, folder: StudyFolder, origin: Path
) -> tuple[StudyFolder, Mapping[str, Any]]:
    """Find the other study and its spec; refuse one of another model or of other data."""
    old = StudyFolder(origin)
    if origin.resolve() == folder.path.resolve() or not old.resolved_spec.exists():
        raise StudyError("holds no study to fork", where=str(origin), hint="name a study's folder")
    known = read_resolved_spec(old)
    mine = (problem.spec.model["name"], problem.task.facts().get("source_md5", {}))
    theirs = (known["spec"]["model"]["name"], known["identity"]["data files"])
    names = ("model", "data files")
    if differing := [n for n, my, their in zip(names, mine, theirs, strict=True) if my != their]:
        raise StudyError(
            f"cannot be forked: its {' and '.join(differing)} are not this study's",
            where=str(origin),
        )
    return old, known["spec"]


def _copy_files(shared: Sequence[tuple[Trial, Design]], old: StudyFolder, new: StudyFolder) -> None:
    for number, (trial, _) in enumerate(shared):
        source = old.attempt(trial.number, trial.attempt)
        try:
            shutil.copytree(source, new.attempt(number, 1), dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise StudyError(
                f"cannot be copied: {error}", where=str(source), hint="nothing was taken over"
            ) from error


def _shared(
    state: StudyState, old_spec: Mapping[str, Any], problem: Problem
) -> Iterator[tuple[Trial, Design]]:
    """Yield trials that say something of their design, with the new space's design for it."""
    old_task = task_as_set(problem, old_spec["model"], old_spec["train"])
    for trial in state.of_kind("baseline", "search"):
        if says_something(trial):
            settings = old_task.settings(trial.design)
            for design in _candidates(settings, problem.space):
                same = dict(problem.task.settings(design)) == dict(settings)
                if same and problem.feasible.contains(as_columns([design]))[0]:
                    yield trial, design
                    break


def _candidates(settings: Mapping[str, Any], space: Space) -> Iterator[Design]:
    """Yield designs of the space that may have these settings: one, or one for each taper."""
    values: dict[str, tuple[Any, ...]] = {}
    for name, levels in space.levels.items():
        base, _, layer = name.removesuffix("]").partition("[")
        found = settings.get(base.removesuffix(TAPER))
        if name.endswith(TAPER):
            values[name] = levels
            continue
        if isinstance(found, tuple):
            at = int(layer) - 1 if layer else 0
            found = found[at] if at < len(found) else levels[0]
        values[name] = (found if found in levels else levels[0],)
    for chosen in itertools.product(*values.values()):
        design = dict(zip(values, chosen, strict=True))
        yield design_at(space.columns(space.canonical(space.index_of(design))), 0)


def _events(
    trial: Trial,
    design: Design,
    asleep: list[str],
    foreseen: Mapping[str, Any],
    kind: TrialKind,
    origin: Path,
) -> Iterator[tuple[EventKind, dict[str, Any]]]:
    """Yield what the new study records of a trial."""
    costs = dict(trial.costs)
    created = {"kind": kind, "design": dict(design), "seed": trial.seed, "costs": costs, "of": None}
    yield "created", {**created, "asleep": asleep, **foreseen}
    yield "submitted", {"attempt": 1, "token": trial.token, "lost": trial.lost, "processes": 0}
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
