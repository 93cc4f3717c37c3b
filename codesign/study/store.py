"""The record of a study: an append-only list of events in SQLite, one transaction each.

Everything else (Ax's experiment, the report, the state) is rebuilt from it. The loop alone opens
it; everybody else reads the snapshot (see `study.snapshot`).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from codesign.errors import StudyError

# 1: no checksums, nor a clock that is never set. 2: no event "reached" or "warm_started".
VERSION = 3
StudyEventKind = Literal["opened", "warm_started", "requested", "exhausted"]
TrialEventKind = Literal["created", "submitted", "reached", "completed", "failed"]
EventKind = StudyEventKind | TrialEventKind


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        number: position in the record, from 1; the only order there is.
        time: seconds since the epoch; for people, never for logic.
        elapsed_s: seconds since the loop that recorded it began, by a clock that is never set.
        trial: None for events of the study itself.
    """

    number: int
    time: float
    elapsed_s: float = 0.0
    kind: EventKind
    trial: int | None
    payload: Mapping[str, Any]

    @property
    def crc(self) -> int:
        """CRC-32 of all the rest: tells an event that is whole from a torn page."""
        fields = [self.number, self.time, self.elapsed_s, self.kind, self.trial, self.payload]
        return zlib.crc32(json.dumps(fields).encode())


class DamagedStoreError(StudyError):
    """The file holds something else than what was recorded."""


class TakenOverError(StudyError):
    """Another process has opened the store since, or moved it; this one records nothing more."""


class Store:
    """Open for recording until another process opens it.

    Raises:
        DamagedStoreError: the file is no study store, or is torn.
        StudyError: it is of another version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._last = 0
        with self._told("opened"):
            self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            with self._told("opened"):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        """Make or migrate the tables, and make this process the one that records."""
        self._connection.execute("PRAGMA journal_mode = DELETE")
        # FULL would not do: a power cut may bring back a journal whose removal was the commit.
        self._connection.execute("PRAGMA synchronous = EXTRA")
        with self.together():
            version = _version(self._connection, self._path)
            old = list(_events(self._connection, self._path)) if version == 1 else []
            if version == 1:
                self._connection.execute("DROP TABLE event")
            if version < 2:
                for statement in _TABLES:
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
            self._connection.execute("DELETE FROM owner")
            self._connection.execute("INSERT INTO owner VALUES (?)", (self._token,))
            for event in old:
                self._insert(event)
        self._inode = _inode(self._path)
        last = self._connection.execute("SELECT coalesce(max(number), 0) FROM event")
        self._last = last.fetchone()[0]

    def append(
        self,
        kind: EventKind,
        trial: int | None,
        payload: Mapping[str, Any],
        *,
        time: float,
        elapsed_s: float = 0.0,
    ) -> Event:
        """Record one event; it is on disk when this returns.

        Raises:
            TakenOverError: another process has opened the store; nothing was recorded.
            StudyError: the disk is full, or broken.
        """
        event = Event(
            number=self._last + 1,
            time=time,
            elapsed_s=elapsed_s,
            kind=kind,
            trial=trial,
            payload=payload,
        )
        with self._told("written"):
            recorded = self._insert(event)
        if not recorded:
            self.require_mine()
        self._last = event.number
        return event

    def _insert(self, event: Event) -> bool:
        """Record an event unless another process has opened the store: one statement does both."""
        return (
            self._connection.execute(
                "INSERT INTO event SELECT ?, ?, ?, ?, ?, ?, ? WHERE (SELECT token FROM owner) = ?",
                (
                    event.number,
                    event.time,
                    event.elapsed_s,
                    event.kind,
                    event.trial,
                    json.dumps(event.payload),
                    event.crc,
                    self._token,
                ),
            ).rowcount
            == 1
        )

    def is_mine(self) -> bool:
        """Whether no other process has opened the store, or replaced it, since."""
        with self._told("read"):
            found = self._connection.execute("SELECT token FROM owner").fetchone()
        return bool(found == (self._token,)) and _inode(self._path) == self._inode

    def require_mine(self) -> None:
        """Raise `TakenOverError` once another process has opened the store, or replaced it."""
        if not self.is_mine():
            raise _taken_over(self._path)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Record what is appended inside in one transaction: all of it, or nothing."""
        last = self._last
        with self._told("written"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._last = last
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """Yield the events in order.

        Args:
            after: the number of the last event to leave out.

        Raises:
            DamagedStoreError: an event is not what was recorded.
        """
        with self._told("read"):
            yield from _events(self._connection, self._path, after=after)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise _our_error(error, self._path, what) from error


def whole_events(path: Path, *, read_only: bool = False) -> tuple[list[Event], str]:
    """Read what is whole in a store, and say what is wrong with the rest of it.

    Args:
        read_only: leave what a killed loop was about to write, which is rolled back otherwise.

    Returns:
        The events that are as they were recorded, in order; and a line, empty for a sound file.

    Raises:
        StudyError: the store cannot be opened, or is of another version.
    """
    events: list[Event] = []
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            if _version(connection, path) == 0:
                tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                return events, f"has {tables} tables, yet no version" if tables else ""
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            for event in _events(connection, path):
                events.append(event)  # noqa: PERF402 (kept up to the first that is not whole)
            return events, "" if found == "ok" else str(found)
    except sqlite3.Error as error:
        told = _our_error(error, path, "read")
        if isinstance(told, DamagedStoreError):
            return events, told.what
        raise told from error
    except DamagedStoreError as error:
        return events, error.what
    except UnicodeDecodeError as error:  # SQLite's own words hold what it found in the file.
        return events, str(error)


_TABLES = (
    """CREATE TABLE event (
        number INTEGER PRIMARY KEY, time REAL NOT NULL, elapsed_s REAL NOT NULL,
        kind TEXT NOT NULL, trial INTEGER, payload TEXT NOT NULL, crc INTEGER NOT NULL
    ) STRICT""",
    "CREATE TABLE owner (token TEXT NOT NULL) STRICT",
)
# What the surroundings of a file are to blame for; any other error tells of the file itself.
_OUTSIDE = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return 0 for a file without tables, else the version of the store."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= VERSION:
        raise StudyError(
            f"has store version {version}; this codesign reads versions 1 to {VERSION}",
            where=str(path),
            hint="continue it with the codesign that began it",
        )
    return version


def _events(connection: sqlite3.Connection, path: Path, *, after: int = 0) -> Iterator[Event]:
    connection.text_factory = lambda text: text.decode("utf-8", errors="replace")
    version = _version(connection, path)
    rows = connection.execute(
        "SELECT number, time, kind, trial, payload, "
        + ("NULL, NULL" if version == 1 else "elapsed_s, crc")
        + " FROM event WHERE number > ? ORDER BY number",
        (after,),
    )
    before: Event | None = None
    for number, time, kind, trial, payload, elapsed_s, crc in rows:
        try:
            event = Event(
                number=number,
                time=time,
                elapsed_s=_elapsed_s(before, kind, time) if version == 1 else elapsed_s,
                kind=kind,
                trial=trial,
                payload=json.loads(payload),
            )
            whole = version == 1 or event.crc == crc
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise _damaged(f"event {number} is not as it was recorded", path)
        yield event
        before = event


def _elapsed_s(before: Event | None, kind: str, time: float) -> float:
    """Version 1 kept no clock but one that may have been set back."""
    if before is None or kind == "opened":
        return 0.0
    return before.elapsed_s + max(0.0, time - before.time)


def _damaged(what: str, path: Path) -> DamagedStoreError:
    hint = "run `codesign optimize` again, which restores what is whole"
    return DamagedStoreError(what, where=str(path), hint=hint)


def _taken_over(path: Path) -> TakenOverError:
    return TakenOverError(
        "was taken over by another process, which goes on with it, or was moved",
        where=str(path.parent),
        hint="`codesign status` says which; nothing recorded is lost",
    )


def _our_error(error: sqlite3.Error, path: Path, what: str) -> StudyError:
    """Tell a file that is damaged, or no longer there, from one that cannot be used just now."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DBMOVED:
        return _taken_over(path)
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _OUTSIDE:
        return _damaged(str(error), path)
    return StudyError(
        f"cannot be {what}: {error}",
        where=str(path),
        hint="free disk space, or end whatever else has the file open, then run the same command "
        "again; nothing recorded is lost",
    )
