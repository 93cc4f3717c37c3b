"""Who holds a study: real processes, on this host and as if on another."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign import api
from codesign.errors import StudyError
from codesign.study.lock import hold, owner_of
from tests.support.toy_spec import write_spec

HOLD = (
    "import sys, pathlib\n"
    "from codesign.study.lock import hold\n"
    "with hold(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def holder(study: Path) -> subprocess.Popen[str]:
    """A process that holds a study until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(study)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = holder(tmp_path)
    yield process
    process.kill()
    process.communicate()


def rewrite(study: Path, **fields: Any) -> Path:
    """Change what a lock says of its owner, in place."""
    (lock,) = (study / "lock").glob("*.json")
    said = {**json.loads(lock.read_text()), **fields}
    with lock.open("r+") as file:
        file.write(json.dumps(said))
        file.truncate()
    return lock


def test_a_live_owner_is_named_and_not_waited_for(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    for steal in (False, True):
        with (
            pytest.raises(StudyError, match=rf"is being run by process {other.pid} on "),
            hold(tmp_path, steal=steal),
        ):
            pass
    owner, life = owner_of(tmp_path)
    assert owner is not None
    assert (owner.pid, life) == (other.pid, "alive")


def test_an_owner_that_was_killed_is_taken_over_at_once(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    os.kill(other.pid, signal.SIGKILL)  # Not waited for: the process is a zombie now.
    other.communicate()
    assert owner_of(tmp_path)[1] == "dead"
    with hold(tmp_path, lease_s=float("inf")):
        owner, life = owner_of(tmp_path)
        assert owner is not None
        assert (owner.pid, life) == (os.getpid(), "alive")
    assert list((tmp_path / "lock").iterdir()) == []


@pytest.mark.parametrize("fields", [{"process_start": 1}, {"boot_id": "before the last start"}])
def test_a_process_id_of_an_earlier_process_or_boot_is_dead(
    tmp_path: Path, other: subprocess.Popen[str], fields: dict[str, Any]
) -> None:
    rewrite(tmp_path, **fields)
    with hold(tmp_path, lease_s=float("inf")):
        assert owner_of(tmp_path)[1] == "alive"


@pytest.mark.parametrize("fields", [{"host": "elsewhere"}, {"pid_namespace": "pid:[1]"}])
def test_an_owner_elsewhere_is_judged_by_whether_its_heartbeat_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    with hold(tmp_path):
        lock = rewrite(tmp_path, **fields)
        beats = iter(range(1000))
        over = threading.Event()

        def beat() -> None:
            while not over.wait(0.05):
                rewrite(tmp_path, heartbeat=next(beats))

        beating = threading.Thread(target=beat)
        beating.start()
        assert owner_of(tmp_path)[1] == "alive"
        with (
            pytest.raises(StudyError, match=r"--steal takes the study from another host"),
            hold(tmp_path, lease_s=5.0),
        ):
            pass
        over.set()
        beating.join()
        monkeypatch.setattr("codesign.study.lock.BEAT_EVERY_S", 0.1)
        assert owner_of(tmp_path)[1] == "unknown"
        said: list[str] = []
        with hold(tmp_path, lease_s=0.3, say=said.append):
            assert not lock.exists()
            assert said[0].startswith("watching for 0.3 s whether process ")
            assert owner_of(tmp_path)[1] == "alive"


def test_stealing_does_not_wait_for_the_lease(tmp_path: Path) -> None:
    with hold(tmp_path):
        rewrite(tmp_path, host="elsewhere")
        with hold(tmp_path, steal=True, lease_s=float("inf")):
            assert owner_of(tmp_path)[1] == "alive"
        # The first owner ends later, and leaves the lock of whoever came after alone.
        later = hold(tmp_path)
        later.__enter__()
    assert owner_of(tmp_path)[1] == "alive"
    later.__exit__(None, None, None)
    assert owner_of(tmp_path) == (None, "dead")


def test_a_heartbeat_moves_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codesign.study.lock.BEAT_EVERY_S", 0.02)
    with hold(tmp_path):
        (lock,) = (tmp_path / "lock").glob("*.json")
        first, size, end = json.loads(lock.read_text()), lock.stat().st_size, time.monotonic() + 10
        while (now := json.loads(lock.read_text())) == first:
            assert time.monotonic() < end
        assert now == {**first, "heartbeat": now["heartbeat"]}
        assert (lock.stat().st_ino, lock.stat().st_size) == (first["inode"], size)


def test_of_many_that_race_for_a_dead_owners_study_one_wins(tmp_path: Path) -> None:
    dead = holder(tmp_path)
    dead.kill()
    dead.communicate()
    racer = (
        "import sys, pathlib\n"
        "from codesign.errors import StudyError\n"
        "from codesign.study.lock import hold\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    with hold(pathlib.Path(sys.argv[1])):\n"
        "        print('won', flush=True)\n"
        "        sys.stdin.read()\n"
        "except StudyError as error:\n"
        "    print(error.what, flush=True)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", racer, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(12)
    ]
    for process in racers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in racers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.pid: process.stdout.readline().strip() for process in racers if process.stdout}
    for process in racers:
        process.communicate("")
    (winner,) = (pid for pid, line in said.items() if line == "won")
    del said[winner]
    assert {line.rpartition(" on ")[0] for line in said.values()} == {
        f"is being run by process {winner}"
    }


def test_who_watched_a_dead_owner_takes_nothing_from_one_that_came_meanwhile(
    tmp_path: Path,
) -> None:
    (tmp_path / "lock").mkdir()
    torn = tmp_path / "lock/000005.json"
    torn.touch()
    with contextlib.ExitStack() as first:

        def come_first(_: str) -> None:
            torn.unlink()
            first.enter_context(hold(tmp_path))

        with (
            pytest.raises(StudyError, match=rf"is being run by process {os.getpid()} on "),
            hold(tmp_path, lease_s=0.2, say=come_first),
        ):
            pass
        assert owner_of(tmp_path)[1] == "alive"
    assert list((tmp_path / "lock").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_a_torn_lock_holds_nothing_once_the_lease_is_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").mkdir()
    (tmp_path / "lock/000007.json").write_text(text)
    with hold(tmp_path, lease_s=0.2):
        assert [path.name for path in (tmp_path / "lock").iterdir()] == ["000008.json"]


def test_the_copy_of_a_study_that_runs_is_held_by_nobody(
    tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codesign.study.lock.BEAT_EVERY_S", 0.1)
    shutil.copytree(tmp_path / "lock", tmp_path / "copy/lock")
    assert owner_of(tmp_path / "copy") == (None, "dead")
    with hold(tmp_path / "copy", lease_s=float("inf")):
        assert owner_of(tmp_path)[1] == "alive"


def test_a_loop_whose_study_is_stolen_ends_and_writes_nothing_more(tmp_path: Path) -> None:
    from codesign.study.store import Store, TakenOverError

    study = tmp_path / "study"
    spec = write_spec(tmp_path, search={"trials": 40, "proposer": "random"})
    files: dict[str, bytes] = {}

    def steal(_: object) -> None:
        if len(list(study.glob("trials/*/attempt-1/result.json"))) > 2 and not files:
            with Store(study / "study.sqlite") as thief:
                assert thief.is_mine()
            names = ("study.sqlite", "snapshot.jsonl")
            files.update({name: (study / name).read_bytes() for name in names})

    with pytest.raises(TakenOverError, match="was taken over by another process"):
        api.optimize(spec, study=study, watch=steal)
    assert {name: (study / name).read_bytes() for name in files} == files
    assert not (study / "report.html").exists()
    assert len(api.optimize(spec, study=study).content.trials) == 40
