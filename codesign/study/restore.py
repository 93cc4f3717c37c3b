"""Open the store of a study for its loop, restored first where it is damaged or gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from codesign.errors import StudyError
from codesign.study.folder import StudyFolder, read_resolved_spec
from codesign.study.snapshot import as_lines, read_snapshot, write_snapshot
from codesign.study.store import Event, Store, whole_events


def open_store(folder: StudyFolder, *, say: Callable[[str], None]) -> Store:
    """Open the store for recording.

    A damaged store is kept aside, and a new one made of the events that are whole in it or in the
    snapshot. The same is done where the store lacks events that the snapshot has.

    Args:
        say: called with a line for a person where something was restored.

    Raises:
        StudyError: nothing is whole, the store is of another version, or it cannot be opened.
    """
    events, damage = whole_events(folder.store) if folder.store.exists() else ([], "")
    whole = _merged(events, _snapshot(folder, say))
    if damage or len(whole) > len(events):
        if not whole:
            raise StudyError(
                f"cannot be read as a study store: {damage}",
                where=str(folder.store),
                hint="put a copy of it there, or start the study in another folder",
            )
        _restore(folder, whole, say, damage or f"holds {len(events)} of {len(whole)} events")
    return Store(folder.store)


def _snapshot(folder: StudyFolder, say: Callable[[str], None]) -> list[Event]:
    try:
        events = read_snapshot(folder.snapshot) if folder.snapshot.exists() else []
    except StudyError as error:
        if not folder.store.exists():
            raise
        say(f"{error.where}: {error.what}; it is written anew")
        return []
    told = {event.payload.get("study") for event in events if event.kind == "opened"}
    if folder.resolved_spec.exists() and told - {None, read_resolved_spec(folder).get("study")}:
        say(f"{folder.snapshot}: is of another study; it is written anew")
        return []
    return events


def _merged(events: Sequence[Event], snapshot: Sequence[Event]) -> list[Event]:
    """Put together one record; the store counts where both tell different stories."""
    both = {event.number: event for event in snapshot}
    if any(both.get(event.number, event).crc != event.crc for event in events):
        both = {}
    both |= {event.number: event for event in events}
    whole: list[Event] = []
    while (number := len(whole) + 1) in both:
        whole.append(both[number])
    return whole


def _restore(
    folder: StudyFolder, whole: Sequence[Event], say: Callable[[str], None], damage: str
) -> None:
    """Replace the store; whenever this is killed, the snapshot has all that is whole."""
    write_snapshot(folder.snapshot, as_lines(list(whole)))
    new = folder.store.with_suffix(".restored")
    for leftover in (new, _journal(new)):
        leftover.unlink(missing_ok=True)
    with Store(new) as store, store.together():
        for event in whole:
            store.append(
                event.kind,
                event.trial,
                event.payload,
                time=event.time,
                elapsed_s=event.elapsed_s,
            )
    kept = _set_aside(folder.store)
    new.rename(folder.store)
    say(
        f"{folder.store}: {damage}; {len(whole)} events were restored"
        + (f", and the damaged file is kept as {kept.name}" if kept else "")
    )


def _set_aside(store: Path) -> Path | None:
    """Give a store, with its journal, a name that no other has."""
    if not store.exists():
        return None
    number = 1
    while (kept := store.with_name(f"{store.name}.damaged-{number}")).exists():
        number += 1
    if _journal(store).exists():
        _journal(store).rename(_journal(kept))
    return store.rename(kept)


def _journal(store: Path) -> Path:
    return store.with_name(f"{store.name}-journal")
