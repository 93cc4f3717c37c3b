"""Studies of the toy task: run, read and rewound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from codesign import api
from codesign.study.folder import StudyFolder
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState, fold
from codesign.study.store import Event, Store
from tests.support.toy_spec import write_spec


def state_of(study: Path) -> StudyState:
    """The state as every reader sees it."""
    return fold(recorded_events(StudyFolder(study)))


def run(folder: Path, name: str = "study", **sections: Any) -> StudyState:
    """Run a study of the toy spec, some sections replaced, or continue it."""
    api.optimize(write_spec(folder, **sections), study=folder / name)
    return state_of(folder / name)


def essence(state: StudyState) -> list[tuple[Any, ...]]:
    """What must not depend on when and how often a study was disturbed."""
    return [
        (t.number, t.kind, dict(t.design), t.seed, t.status, t.metrics, dict(t.reached))
        for t in state.trials.values()
    ]


def rewind(study: Path, keep: Callable[[Event], bool]) -> None:
    """Make the record of a study as if the other events had not come to pass."""
    folder = StudyFolder(study)
    kept = [event for event in recorded_events(folder) if keep(event)]
    folder.store.unlink()
    folder.snapshot.unlink()
    write_store(folder.store, kept)


def write_store(path: Path, events: list[Event]) -> None:
    """Make a store of these events."""
    with Store(path) as store, store.together():
        for event in events:
            store.append(
                event.kind, event.trial, event.payload, time=event.time, elapsed_s=event.elapsed_s
            )
