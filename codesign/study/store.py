"""The record of a study: an append-only list of events in SQLite, one transaction each.

Everything else (Ax's experiment, the report, the state) is rebuilt from it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from codesign.errors import StudyError

VERSION = 1
EventKind = Literal["opened", "created", "submitted", "completed", "failed", "exhausted"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        number: position in the record, from 1.
        time: seconds since the epoch; for people, never for logic.
        trial: None for events of the study itself.
    """

    number: int
    time: float
    kind: EventKind
    trial: int | None
    payload: Mapping[str, Any]


class Store:
    """Opened for writing by the loop alone.

    Args:
        read_only: read an existing store and change nothing.

    Raises:
        StudyError: the file is no study store, is damaged, or is of another version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        try:
            mode = "ro" if read_only else "rwc"
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise StudyError(
                    f"has store version {version}; this codesign reads version {VERSION}",
                    where=str(path),
                )
            if read_only:
                self._connection.execute("SELECT count(*) FROM event")
                return
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY, time REAL NOT NULL,"
                " kind TEXT NOT NULL, trial INTEGER, payload TEXT NOT NULL) STRICT"
            )
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.DatabaseError as error:
            raise StudyError(
                f"cannot be read as a study store: {error}",
                where=str(path),
                hint="restore it from a copy, or start the study in another folder",
            ) from error

    def append(
        self, kind: EventKind, trial: int | None, payload: Mapping[str, Any], *, time: float
    ) -> Event:
        """Record one event; it is on disk when this returns."""
        try:
            cursor = self._connection.execute(
                "INSERT INTO event (time, kind, trial, payload) VALUES (?, ?, ?, ?)",
                (time, kind, trial, json.dumps(payload)),
            )
        except sqlite3.OperationalError as error:
            raise StudyError(
                f"cannot be written: {error}",
                where=str(self._path),
                hint="free disk space and start again; nothing recorded is lost",
            ) from error
        assert cursor.lastrowid is not None
        return Event(number=cursor.lastrowid, time=time, kind=kind, trial=trial, payload=payload)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Record what is appended inside in one transaction: all of it, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def events(self) -> Iterator[Event]:
        """Yield all events in order."""
        rows = self._connection.execute(
            "SELECT number, time, kind, trial, payload FROM event ORDER BY number"
        )
        for number, time, kind, trial, payload in rows:
            yield Event(
                number=number, time=time, kind=kind, trial=trial, payload=json.loads(payload)
            )

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
