"""Stores that are torn, garbage or gone, and studies that go on all the same."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codesign import api
from codesign.errors import StudyError
from codesign.study.folder import StudyFolder
from codesign.study.restore import open_store
from codesign.study.snapshot import Snapshot, as_lines, write_snapshot
from codesign.study.state import StudyState
from codesign.study.store import Event, Store, TakenOverError, whole_events
from tests.support.studies import essence, rewind, run, state_of
from tests.support.toy_spec import write_spec

SEARCH = {"search": {"trials": 12, "proposer": "random"}}
PAGE = 4096


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyState]:
    folder = tmp_path_factory.mktemp("finished")
    return folder / "study", run(folder, **SEARCH)


def tear_last_page(data: bytes) -> bytes:
    return data[: len(data) - PAGE // 2]


def half_old_last_page(data: bytes) -> bytes:
    return data[: len(data) - PAGE // 2] + bytes(PAGE // 2)


def garbage_last_page(data: bytes) -> bytes:
    return data[:-PAGE] + np.random.default_rng(0).bytes(PAGE)


def lose_last_page(data: bytes) -> bytes:
    return data[:-PAGE]


def garbage_everywhere(data: bytes) -> bytes:
    return np.random.default_rng(1).bytes(len(data))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


DAMAGES = [tear_last_page, half_old_last_page, garbage_last_page, lose_last_page,
           garbage_everywhere, half, empty]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_restored_kept_aside_and_said(
    tmp_path: Path, finished: tuple[Path, StudyState], damage: Callable[[bytes], bytes]
) -> None:
    study, said = tmp_path / "study", list[str]()
    shutil.copytree(finished[0], study)
    store = study / "study.sqlite"
    damaged = damage(store.read_bytes())
    store.write_bytes(damaged)
    spec = write_spec(tmp_path, **SEARCH)
    api.optimize(spec, study=study, say=said.append)
    assert essence(state_of(study)) == essence(finished[1])
    events = len(state_of(study).trials) * 3 + 1
    (line,) = (line for line in said if "were restored" in line)
    assert f"{events} events were restored" in line
    assert (study / "study.sqlite.damaged-1").read_bytes() == damaged
    assert whole_events(store)[1] == ""
    assert len(api.optimize(spec, study=study).content.trials) == 12
    assert not (study / "study.sqlite.damaged-2").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_without_a_snapshot_is_restored_as_far_as_it_is_whole_or_named(
    tmp_path: Path, finished: tuple[Path, StudyState], damage: Callable[[bytes], bytes]
) -> None:
    folder = StudyFolder(tmp_path / "study")
    shutil.copytree(finished[0], folder.path)
    recorded, _ = whole_events(folder.store)
    folder.snapshot.unlink()
    folder.store.write_bytes(damage(folder.store.read_bytes()))
    whole, line = whole_events(folder.store)
    assert whole == recorded[: len(whole)]
    assert (len(whole) < len(recorded)) == (line != "" or damage is empty)
    if whole:
        assert essence(run(tmp_path, **SEARCH)) == essence(finished[1])
    else:
        line = "has lost its record" if damage is empty else "cannot be read as a study store"
        with pytest.raises(StudyError, match=line):
            run(tmp_path, **SEARCH)


def test_any_damage_to_a_store_is_noticed_or_harmless(
    tmp_path: Path, finished: tuple[Path, StudyState]
) -> None:
    sound = (finished[0] / "study.sqlite").read_bytes()
    recorded, _ = whole_events(finished[0] / "study.sqlite")
    rng = np.random.default_rng(2)
    for _ in range(150):
        data = bytearray(sound)
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 600))
        data[start : start + length] = rng.bytes(len(data[start : start + length]))
        path = tmp_path / "s.sqlite"
        path.write_bytes(data)
        if start < PAGE and sound[60:64] != data[60:64]:
            continue  # The version itself was hit: refused as another's.
        events, damage = whole_events(path)
        assert events == recorded[: len(events)]
        assert damage or len(events) == len(recorded)


def event(number: int, payload: object = 0) -> Event:
    return Event(number=number, time=1.0, kind="exhausted", trial=None, payload={"p": payload})


def stored(folder: StudyFolder, store: list[Event] | None, snapshot: list[Event]) -> None:
    folder.path.mkdir()
    if store is not None:
        with Store(folder.store) as opened:
            for one in store:
                opened.append(one.kind, one.trial, one.payload, time=one.time)
    write_snapshot(folder.snapshot, as_lines(snapshot))


@pytest.mark.parametrize(
    ("store", "snapshot", "counts"),
    [
        (None, [1, 2, 3], [1, 2, 3]),
        ([], [1, 2, 3], [1, 2, 3]),
        ([1], [1, 2, 3], [1, 2, 3]),
        ([1, 2, 3, 4], [1, 2], [1, 2, 3, 4]),
        ([1, 2], [1, 7, 8], [1, 2]),
        ([1, 2], [], [1, 2]),
    ],
)
def test_store_and_snapshot_make_one_record_in_which_the_store_counts(
    tmp_path: Path, store: list[int] | None, snapshot: list[int], counts: list[int]
) -> None:
    folder = StudyFolder(tmp_path / "study")
    in_store = None if store is None else [event(i + 1, p) for i, p in enumerate(store)]
    stored(folder, in_store, [event(i + 1, p) for i, p in enumerate(snapshot)])
    said: list[str] = []
    with open_store(folder, say=said.append) as opened:
        assert [one.payload["p"] for one in opened.events()] == counts
    assert bool(said) == (len(counts) > len(store or []))


def test_who_had_a_store_open_that_was_replaced_records_nothing_more(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    with open_store(folder, say=print) as frozen:
        frozen.append("opened", None, {}, time=1.0)
        Snapshot(folder.snapshot, frozen).write()
        with folder.store.open("r+b") as file:
            file.write(b"torn")
        with open_store(folder, say=print) as mine:
            assert not frozen.is_mine()
            with pytest.raises(TakenOverError):
                frozen.append("opened", None, {}, time=2.0)
            assert mine.append("opened", None, {}, time=3.0).number == 2


def test_a_snapshot_that_is_all_there_is_and_damaged_stops_the_study(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    stored(folder, None, [event(1)])
    folder.snapshot.write_text(folder.snapshot.read_text()[:-5])
    with pytest.raises(StudyError, match=r"snapshot.jsonl: is damaged"):
        open_store(folder, say=lambda _: None)
    with Store(folder.store):
        pass
    said: list[str] = []
    open_store(folder, say=said.append).close()
    assert ["is damaged" in line for line in said] == [True]


@pytest.mark.parametrize("store", [None, b""])
def test_trials_whose_record_is_gone_are_not_begun_anew(
    tmp_path: Path, finished: tuple[Path, StudyState], store: bytes | None
) -> None:
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    (study / "snapshot.jsonl").unlink()
    (study / "study.sqlite").unlink()
    if store is not None:
        (study / "study.sqlite").write_bytes(store)
    trials = sorted(study.glob("trials/*/*"))
    with pytest.raises(StudyError, match=r"has lost its record: there are trials"):
        run(tmp_path, **SEARCH)
    assert sorted(study.glob("trials/*/*")) == trials
    shutil.copy(finished[0] / "snapshot.jsonl", study)
    assert essence(run(tmp_path, **SEARCH)) == essence(finished[1])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"identity": {}}', "[" * 100_000])
def test_a_damaged_resolved_spec_is_named(
    tmp_path: Path, finished: tuple[Path, StudyState], text: str
) -> None:
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    (study / "spec.json").write_text(text)
    for command in (lambda: run(tmp_path, **SEARCH), lambda: api.status(study)):
        with pytest.raises(StudyError, match=r"spec\.json"):
            command()


def test_a_result_whose_event_was_lost_does_not_count_for_another_attempt(
    tmp_path: Path, finished: tuple[Path, StudyState]
) -> None:
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    rewind(study, lambda one: one.number <= 4)  # The first trial ended; nothing else is recorded.
    for result in study.glob("trials/000[1-9]/attempt-1/result.json"):
        told = json.loads(result.read_text())
        result.write_text(json.dumps({**told, "metrics": {"log_loss": 0.0, "auc": 1.0}}))
    state = run(tmp_path, **SEARCH)
    assert essence(state) == essence(finished[1])
    assert {trial.attempt for trial in state.trials.values()} == {1, 2}


def test_a_result_that_cannot_be_read_costs_an_attempt_and_not_the_study(
    tmp_path: Path, finished: tuple[Path, StudyState]
) -> None:
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    rewind(study, lambda one: one.number <= 3)  # The first trial is under way.
    result = study / "trials/0000/attempt-1/result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "of a later version": 1}))
    state = run(tmp_path, **SEARCH)
    assert essence(state) == essence(finished[1])
    assert state.trials[0].attempt == 2


def test_a_study_moved_or_copied_while_it_runs_opens_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codesign.study.lock.BEAT_EVERY_S", 0.1)
    study, copies = tmp_path / "study", list[Path]()
    spec = write_spec(tmp_path, search={"trials": 30, "proposer": "random"})

    def copy(_: object) -> None:
        if len(copies) < 2 and len(list(study.glob("trials/*"))) > 10 * len(copies):
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(study, copies[-1])

    api.optimize(spec, study=study, watch=copy)
    assert len(copies) == 2
    for path in copies:
        before = api.status(path)
        assert (before.loop, before.study) == ("none", "toy")
        api.optimize(spec, study=path)
        assert essence(state_of(path)) == essence(state_of(study))
    moved = shutil.move(study, tmp_path / "elsewhere")
    assert len(api.report(moved).content.trials) == 30


def test_a_study_of_an_older_codesign_is_reported_as_it_is_and_continued(
    tmp_path: Path, finished: tuple[Path, StudyState]
) -> None:
    folder = StudyFolder(tmp_path / "study")
    shutil.copytree(finished[0], folder.path)
    events = [one for one in whole_events(folder.store)[0] if (one.trial or 0) < 7]
    folder.snapshot.unlink()
    folder.store.unlink()
    with sqlite3.connect(folder.store) as old:
        old.execute(
            "CREATE TABLE event (number INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT"
            " NULL, trial INTEGER, payload TEXT NOT NULL) STRICT"
        )
        rows = [(e.time, e.kind, e.trial, json.dumps(e.payload)) for e in events]
        old.executemany("INSERT INTO event (time, kind, trial, payload) VALUES (?, ?, ?, ?)", rows)
        old.execute("PRAGMA user_version = 1")
    before = folder.store.read_bytes()
    assert api.status(folder.path).trials == {"completed": 7}
    assert len(api.report(folder.path).content.trials) == 7
    assert folder.store.read_bytes() == before
    assert essence(run(tmp_path, **SEARCH)) == essence(finished[1])


def test_the_snapshot_of_another_study_is_not_taken_for_the_lost_record(
    finished: tuple[Path, StudyState], tmp_path: Path
) -> None:
    run(tmp_path, "other", **SEARCH)
    folder = StudyFolder(tmp_path / "other")
    folder.store.unlink()
    shutil.copy(StudyFolder(finished[0]).snapshot, folder.snapshot)
    said: list[str] = []
    with open_store(folder, say=said.append) as store:
        assert list(store.events()) == []
    assert said == [f"{folder.snapshot}: is of another study; it is written anew"]
    with pytest.raises(StudyError, match="has lost its record"):
        run(tmp_path, "other", **SEARCH)
