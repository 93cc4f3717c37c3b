"""What readers see while a loop records, and whatever became of the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.errors import StudyError
from codesign.study.folder import StudyFolder
from codesign.study.snapshot import EVERY_S, Snapshot, read_snapshot, recorded_events
from codesign.study.store import Store


class Clock:
    """Seconds that pass when a test says so, and while the snapshot is written."""

    def __init__(self, writing_s: float = 0.0) -> None:
        self.now = 0.0
        self._writing_s = writing_s

    def __call__(self) -> float:
        self.now += self._writing_s
        return self.now


def record(store: Store, count: int) -> None:
    for _ in range(count):
        store.append("exhausted", None, {"é": [1.5, None, float("nan")]}, time=1.0, elapsed_s=0.25)


def test_a_snapshot_holds_what_the_store_holds(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        snapshot = Snapshot(tmp_path / "s.jsonl", store)
        for _ in range(3):
            record(store, 2)
            snapshot.write()
            crcs = [event.crc for event in store.events()]
            assert [event.crc for event in read_snapshot(tmp_path / "s.jsonl")] == crcs


def test_events_wait_a_second_at_most_and_writing_takes_a_twentieth_of_the_time(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.jsonl"
    for writing_s, wait_s in ((0.0, EVERY_S), (0.1, 20 * 0.1)):
        clock = Clock(writing_s)
        path.unlink(missing_ok=True)
        (tmp_path / "s.sqlite").unlink(missing_ok=True)
        with Store(tmp_path / "s.sqlite") as store:
            snapshot = Snapshot(path, store, clock=clock)
            record(store, 1)
            snapshot.refresh()
            began = clock.now - writing_s
            record(store, 1)
            clock.now = began + wait_s - 0.2
            snapshot.refresh()
            assert len(read_snapshot(path)) == 1
            clock.now = began + wait_s
            snapshot.refresh()
            assert len(read_snapshot(path)) == 2


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    with Store(folder / "s.sqlite") as store:
        record(store, 3)
        Snapshot(folder / "s.jsonl", store).write()
    return (folder / "s.jsonl").read_bytes()


def crcs_or_error(path: Path) -> list[int] | StudyError:
    try:
        return [event.crc for event in read_snapshot(path)]
    except StudyError as error:
        return error


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_snapshot_is_named_or_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, at: int, byte: int, cut: bool
) -> None:
    at %= len(sound)
    path = tmp_path_factory.mktemp("damaged") / "s.jsonl"
    path.write_bytes(sound)
    whole = crcs_or_error(path)
    path.write_bytes(sound[:at] if cut else sound[:at] + bytes([byte]) + sound[at + 1 :])
    found = crcs_or_error(path)
    assert found == whole or str(path) in str(found)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", '{"codesign_snapshot": 2}']
    + [f'{{"codesign_snapshot": 2, "events": {count}}}' for count in ("null", "[]", 10**15)]
)  # fmt: skip
def test_a_first_line_that_says_something_else_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "snapshot.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(StudyError, match=r"snapshot.jsonl: is damaged"):
        read_snapshot(path)


def test_a_snapshot_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.jsonl"
    for version in (1, 4):
        path.write_text(json.dumps({"codesign_snapshot": version, "events": 0}) + "\n")
        refusal = rf"snapshot.jsonl: has version {version}; .* reads versions 2 to 3"
        with pytest.raises(StudyError, match=refusal):
            recorded_events(StudyFolder(tmp_path))


def test_a_snapshot_of_version_2_is_read(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.jsonl"
    path.write_text(json.dumps({"codesign_snapshot": 2, "events": 0}) + "\n")
    assert recorded_events(StudyFolder(tmp_path)) == []


def test_readers_never_open_the_store_of_a_study_that_has_a_snapshot(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    with pytest.raises(StudyError, match="holds no study"):
        recorded_events(folder)
    with Store(folder.store) as store:
        record(store, 2)
        assert len(recorded_events(folder)) == 2  # As of an older codesign, which wrote none.
        Snapshot(folder.snapshot, store).write()
    folder.store.write_bytes(b"nothing that could be read")
    assert len(recorded_events(folder)) == 2
