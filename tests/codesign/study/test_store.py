from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from codesign.errors import StudyError
from codesign.study.folder import write_text
from codesign.study.state import fold
from codesign.study.store import DamagedStoreError, Event, Store, TakenOverError, whole_events

CREATED = {"kind": "search", "design": {"width": 4}, "seed": 1, "costs": {"c": 2.0}, "of": None}
ENDED = {"metrics": {"log_loss": 0.5}, "failure": None, "reason": "", "facts": {}, "seconds": 1.0}


def test_events_come_back_in_order_after_reopening(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.append("opened", None, {"provenance": {"host": "h"}}, time=1.0)
        store.append("created", 0, CREATED, time=2.0)
    with Store(tmp_path / "s.sqlite") as store:
        store.append("submitted", 0, {"attempt": 1, "token": "t"}, time=0.5)
        events = list(store.events())
    assert [(e.number, e.kind, e.trial, e.time) for e in events] == [
        (1, "opened", None, 1.0),
        (2, "created", 0, 2.0),
        (3, "submitted", 0, 0.5),
    ]
    assert events[1].payload == CREATED


def test_an_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    store.append("opened", None, {}, time=1.0)
    other = sqlite3.connect(f"file:{tmp_path}/s.sqlite?mode=ro", uri=True)
    assert other.execute("SELECT count(*) FROM event").fetchone() == (1,)
    assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_events_and_files_outlive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        # EXTRA (3) brings the removal of the journal to the disk, too; FULL (2) does not.
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (3,)
    synced: list[tuple[str, bool]] = []
    sync, path = os.fsync, tmp_path / "result.json"

    def note(handle: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_text(path, "text")
    [(file, renamed_before), last] = synced
    assert file.startswith(f"{tmp_path}/.result.json.")
    assert not renamed_before
    assert last == (str(tmp_path), True)


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"gone/result.json: cannot be written: No such file"):
        write_text(tmp_path / "gone" / "result.json", "text")
    assert not (tmp_path / "gone").exists()


def test_another_version_and_another_file_are_refused_by_name(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.commit()
    for open_it in (Store, whole_events):
        with pytest.raises(StudyError, match=r"newer.sqlite: has store version 99; .* 1 to 3"):
            open_it(tmp_path / "newer.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database, but it is long enough" * 50)
    with pytest.raises(DamagedStoreError, match=r"text.sqlite: file is not a database"):
        Store(tmp_path / "text.sqlite")
    assert whole_events(tmp_path / "text.sqlite") == ([], "file is not a database")


def test_who_opens_a_store_later_takes_it_over(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as first:
        first.append("opened", None, {}, time=1.0)
        with Store(tmp_path / "s.sqlite") as second:
            with pytest.raises(TakenOverError, match="was taken over by another process"):
                first.append("exhausted", None, {}, time=2.0)
            assert (first.is_mine(), second.is_mine()) == (False, True)
            second.append("exhausted", None, {}, time=3.0)
            assert [(e.number, e.time) for e in second.events()] == [(1, 1.0), (2, 3.0)]


def test_what_is_recorded_together_is_recorded_whole_or_not_at_all(tmp_path: Path) -> None:
    def record(store: Store, *payloads: object) -> None:
        with store.together():
            for payload in payloads:
                store.append("opened", None, {"a": payload}, time=1.0)

    with Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(TypeError, match="not JSON serializable"):
            record(store, 1, object())
        assert list(store.events()) == []
        store.append("opened", None, {"a": [1.5, None, "é"]}, time=2.0)
        assert [(e.number, e.payload) for e in store.events()] == [(1, {"a": [1.5, None, "é"]})]


@pytest.mark.parametrize("column", ["time", "elapsed_s", "kind", "trial", "payload", "crc"])
def test_an_event_that_was_changed_is_noticed_and_those_before_it_are_whole(
    tmp_path: Path, column: str
) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        for number in range(3):
            store.append("created", number, CREATED, time=1.0, elapsed_s=2.0)
    changed = {"kind": "'opened'", "payload": "'{'"}.get(column, "77")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE event SET {column} = {changed} WHERE number = 2")
    events, damage = whole_events(path)
    assert ([e.number for e in events], damage) == ([1], "event 2 is not as it was recorded")
    with Store(path) as store, pytest.raises(DamagedStoreError, match="event 2 is not"):
        list(store.events())


def test_a_store_of_version_1_is_read_as_it_is_and_migrated_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    rows = [(1, 100.0, "opened", None, "{}"), (2, 103.0, "created", 0, json.dumps(CREATED)),
            (3, 90.0, "exhausted", None, "{}"), (4, 500.0, "opened", None, "{}")]  # fmt: skip
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE event (number INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT"
            " NULL, trial INTEGER, payload TEXT NOT NULL) STRICT"
        )
        old.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?)", rows)
        old.execute("PRAGMA user_version = 1")
    before = path.read_bytes()
    events, damage = whole_events(path, read_only=True)
    assert (path.read_bytes(), damage) == (before, "")
    assert [(e.number, e.time, e.elapsed_s, e.trial) for e in events] == [
        (1, 100.0, 0.0, None), (2, 103.0, 3.0, 0), (3, 90.0, 3.0, None), (4, 500.0, 0.0, None),
    ]  # fmt: skip
    with Store(path) as store:
        assert list(store.events()) == events
        store.append("exhausted", None, {}, time=1.0)
    assert [e.number for e in whole_events(path)[0]] == [1, 2, 3, 4, 5]


def test_an_opened_store_of_version_2_is_refused_by_those_who_would_misread_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        kept = store.append("created", 0, CREATED, time=1.0)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    assert whole_events(path, read_only=True) == ([kept], "")
    assert path.read_bytes() == before
    with Store(path) as store:
        assert list(store.events()) == [kept]
    with sqlite3.connect(path) as connection:  # Codesigns of version 2 read no greater number.
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def event(number: int, kind: str, payload: dict) -> Event:
    return Event(number=number, time=float(number), kind=kind, trial=0, payload=payload)  # type: ignore[arg-type]


def test_a_result_with_another_attempts_token_does_not_count() -> None:
    events = [
        event(1, "created", CREATED),
        event(2, "submitted", {"attempt": 1, "token": "old", "lost": 0}),
        event(3, "submitted", {"attempt": 2, "token": "new", "lost": 1}),
        event(4, "completed", {"token": "old", **ENDED}),
    ]
    trial = fold(events).trials[0]
    assert (trial.status, trial.attempt) == ("running", 2)
    done = fold([*events, event(5, "completed", {"token": "new", **ENDED})]).trials[0]
    assert (done.status, done.metrics) == ("completed", {"log_loss": 0.5})


def test_a_trial_ends_once() -> None:
    ended = {"token": "t", **ENDED}
    again = {**ended, "metrics": {"log_loss": 9.0}}
    state = fold(
        [
            event(1, "created", CREATED),
            event(2, "submitted", {"attempt": 1, "token": "t", "lost": 0}),
            event(3, "completed", ended),
            event(4, "completed", again),
        ]
    )
    assert state.trials[0].metrics == {"log_loss": 0.5}
    assert state.trials[0].observations[-1].metrics == {"log_loss": 0.5, "c": 2.0}


def test_a_store_that_has_lost_its_version_is_damaged_and_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.append("opened", None, {}, time=1.0)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    assert whole_events(path) == ([], "has 2 tables, yet no version")
    with pytest.raises(DamagedStoreError, match="already exists"):
        Store(path)
