from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from codesign.errors import StudyError
from codesign.study.state import fold
from codesign.study.store import Event, Store

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


def test_another_version_and_another_file_are_refused_by_name(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.commit()
    with pytest.raises(StudyError, match=r"newer.sqlite: has store version 99; .* reads version 1"):
        Store(tmp_path / "newer.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database, but it is long enough" * 50)
    with pytest.raises(StudyError, match=r"text.sqlite: cannot be read as a study store"):
        Store(tmp_path / "text.sqlite")


def test_a_store_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.append("opened", None, {}, time=1.0)
    before = (tmp_path / "s.sqlite").read_bytes()
    with Store(tmp_path / "s.sqlite", read_only=True) as store:
        assert [e.kind for e in store.events()] == ["opened"]
        with pytest.raises(StudyError, match="cannot be written"):
            store.append("opened", None, {}, time=2.0)
    assert (tmp_path / "s.sqlite").read_bytes() == before
    with pytest.raises(StudyError, match="cannot be read"):
        Store(tmp_path / "missing.sqlite", read_only=True)


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
    assert state.trials[0].observation().metrics == {"log_loss": 0.5, "c": 2.0}
