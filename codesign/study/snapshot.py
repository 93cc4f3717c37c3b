"""All events of a study as of a moment, in a file that is replaced whole: what readers read.

The first line says what the file is and how many events follow; every other line is an event, with
the CRC-32 that the store keeps of it. Nobody who reads it can hold up the loop, and it outlives
damage to the store.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

from codesign.errors import StudyError
from codesign.study.folder import StudyFolder, write_text
from codesign.study.store import VERSION, Event, Store, whole_events

FIRST_VERSION = 2  # Studies of store version 1 had no snapshot.
EVERY_S = 1.0
# Writing takes at most this share of the loop's time, however long the record is.
WRITING_SHARE = 0.05


class Snapshot:
    """Keeps the file up to date with the store.

    An event stands in it at most `EVERY_S` after it was recorded, later only while a proposal is
    being made or where writing the file takes more than `WRITING_SHARE` of that time.
    """

    def __init__(
        self, path: Path, store: Store, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._store = store
        self._clock = clock
        self._lines: list[str] = []
        self._written = -1
        self._next = -float("inf")

    def refresh(self) -> None:
        """Write again where it is time to."""
        if self._clock() >= self._next:
            self.write()

    def write(self) -> None:
        """Write again where something was recorded since."""
        began = self._clock()
        self._lines += map(_line, self._store.events(after=len(self._lines)))
        if len(self._lines) != self._written:
            write_snapshot(self._path, self._lines)
            self._written = len(self._lines)
        took_s = self._clock() - began
        self._next = began + max(EVERY_S, took_s / WRITING_SHARE)


def write_snapshot(path: Path, lines: list[str]) -> None:
    """Replace the file by one of these events."""
    header = json.dumps({"codesign_snapshot": VERSION, "events": len(lines)})
    write_text(path, "\n".join([header, *lines, ""]))


def as_lines(events: list[Event]) -> list[str]:
    """Return the line of each event."""
    return list(map(_line, events))


def read_snapshot(path: Path) -> list[Event]:
    """Read all events of a snapshot.

    Raises:
        StudyError: it is missing, damaged or of another version.
    """
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        told = json.loads(header)
        version, count = told["codesign_snapshot"], told["events"]
        if not FIRST_VERSION <= version <= VERSION:
            raise StudyError(
                f"has version {version}; this codesign reads versions {FIRST_VERSION} to {VERSION}",
                where=str(path),
                hint="read it with the codesign that wrote it",
            )
        events = [_event(line) for line in lines]
    except OSError as error:
        raise StudyError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if count != len(events) or [e.number for e in events] != list(range(1, len(events) + 1)):
        raise _damaged(path, f"{len(events)} of {count} events are there")
    return events


def recorded_events(folder: StudyFolder) -> list[Event]:
    """What is recorded of a study, for everybody but its loop.

    A study of an older codesign has no snapshot yet: its store is read, and not changed.

    Raises:
        StudyError: the folder holds no study, or a damaged one.
    """
    if folder.snapshot.exists():
        return read_snapshot(folder.snapshot)
    if not folder.store.exists():
        raise StudyError("holds no study", where=str(folder.path), hint="name a study's folder")
    events, damage = whole_events(folder.store, read_only=True)
    if damage:
        raise _damaged(folder.store, damage)
    return events


def _line(event: Event) -> str:
    return json.dumps({**dataclasses.asdict(event), "crc": event.crc})


def _event(line: str) -> Event:
    fields = json.loads(line)
    crc = fields.pop("crc")
    event = Event(**fields)
    if event.crc != crc:
        raise ValueError(f"event {event.number} is not as it was recorded")
    return event


def _damaged(path: Path, what: str) -> StudyError:
    return StudyError(
        f"is damaged: {what}",
        where=str(path),
        hint="run `codesign optimize` again: it restores what is whole, and writes this file anew",
    )
