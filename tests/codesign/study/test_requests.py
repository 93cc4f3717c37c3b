"""What other processes ask of a loop, and what the commands say about it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from codesign import api
from codesign.errors import StudyError
from codesign.study.folder import StudyFolder
from codesign.study.lock import hold
from codesign.study.requests import Request, received, send
from codesign.study.snapshot import recorded_events
from codesign.study.state import fold
from codesign.study.store import Event
from codesign.study.view import View
from tests.support.command import codesign
from tests.support.loops import children, loop, until
from tests.support.studies import essence, run, state_of
from tests.support.toy_spec import write_spec

ONE_KNOB = {"width": {"low": 1, "high": 16}, "depth": 1}
HANGING = {"space": {**ONE_KNOB, "fate": "hangs"}, "search": {"trials": 3, "proposer": "random"}}


def asked(folder: StudyFolder, *, say: Any = print) -> list[Request]:
    return [request for _, request in received(folder, say=say)]


def is_under_way(study: Path, trial: int) -> bool:
    """Whether a trial has said something of itself, and readers know that it runs."""
    said = study / f"trials/{trial:04d}/attempt-1/progress.json"
    known = (study / "snapshot.jsonl").exists() and state_of(study).trials.get(trial)
    return bool(said.exists() and known and known.status == "running")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Popen[str], Path]]:
    """A loop whose first trial never ends."""
    study = tmp_path / "study"
    with loop(write_spec(tmp_path, **HANGING), study) as process:
        until(lambda: is_under_way(study, 0))
        yield process, study


def test_requests_come_in_order_whoever_sends_them(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    with hold(folder.path):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: send(folder, Request(ask="extend", total=i)), range(1, 41)))
        for number in range(3):
            send(folder, Request(ask="cancel", trials=(number,)))
    requests = asked(folder)
    assert sorted(r.total for r in requests[:40]) == list(range(1, 41))
    assert [r.trials for r in requests[40:]] == [(0,), (1,), (2,)]
    assert len({r.id for r in requests}) == 43
    assert {path.suffix for path in folder.requests.iterdir()} == {".json"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "Expecting value"),
        ('{"ask": "stop"', "Expecting ',' delimiter"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ("[]", "must be an object of ask, id, total, trials"),
        ('{"ask": "go", "trials": [], "total": 0, "id": "a"}',
         "ask is 'go'; must be one of stop, stop now, cancel, extend"),
        ('{"ask": "cancel", "trials": [1.5], "total": 0, "id": "a"}', "must be numbers ≥ 0"),
        ('{"ask": "cancel", "trials": 1, "total": 0, "id": "a"}', "must be numbers ≥ 0"),
        ('{"ask": "extend", "trials": [], "total": -4, "id": "a"}', "total -4; must be"),
        ('{"ask": "stop", "trials": [], "total": 0, "id": 3}', "id must be a text"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_put_aside_and_named(tmp_path: Path, text: str, line: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.requests.mkdir()
    (folder.requests / "000001.json").write_text(text)
    (folder.requests / "by hand.json").write_bytes(b"\xff")
    good = {"ask": "stop", "trials": [], "total": 0, "id": "b"}
    (folder.requests / "000002.json").write_text(json.dumps(good))
    said: list[str] = []
    assert [request.ask for request in asked(folder, say=said.append)] == ["stop"]
    assert line in said[0]
    assert "000001.refused: is no request" in said[0]
    assert "by hand.refused: is no request" in said[1]
    assert (folder.requests / "000001.refused").read_text() == text


def test_a_request_is_obeyed_once_though_its_file_outlives_a_killed_loop(tmp_path: Path) -> None:
    state = run(tmp_path, search={"trials": 2, "proposer": "random"})
    folder = StudyFolder(tmp_path / "study")
    folder.requests.mkdir()
    request = {"ask": "extend", "trials": [], "total": 4, "id": "once"}
    for number in (1, 2):  # The second: as if the loop had died before it removed the file.
        (folder.requests / f"00000{number}.json").write_text(json.dumps(request))
    state = run(tmp_path, search={"trials": 2, "proposer": "random"})
    assert (len(state.trials), state.requests) == (4, {"once"})
    kinds = [event.kind for event in recorded_events(folder)]
    assert kinds.count("requested") == 1
    assert list(folder.requests.iterdir()) == []
    again = run(tmp_path, search={"trials": 2, "proposer": "random"})
    assert essence(again) == essence(state)
    assert essence(again) == essence(run(tmp_path, "at once", search={
        "trials": 4, "proposer": "random"}))  # fmt: skip


def test_a_request_to_stop_ends_with_the_run_it_was_meant_for(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    folder = StudyFolder(tmp_path / "study")
    folder.requests.mkdir()
    stop = {"ask": "stop now", "trials": [], "total": 0, "id": "late"}
    (folder.requests / "000001.json").write_text(json.dumps(stop))
    assert len(run(tmp_path, search={"trials": 3, "proposer": "random"}).trials) == 3
    assert list(folder.requests.iterdir()) == []


def test_cancelled_trials_end_and_the_search_goes_on(
    tmp_path: Path, running: tuple[Popen[str], Path]
) -> None:
    process, study = running
    status = api.status(study)
    assert (status.loop, [t.trial for t in status.running]) == ("running", [0])
    assert status.owner is not None
    assert status.owner.pid == process.pid
    assert (status.running[0].share, status.running[0].metrics) == (0.5, {"log_loss": 1.0})
    done = codesign("cancel", study, 0)
    assert (done.returncode, done.stdout) == (
        0, f"asked {status.owner} to cancel 0\n")  # fmt: skip
    until(lambda: is_under_way(study, 1))
    assert state_of(study).trials[0].status == "cancelled"
    lost = codesign("cancel", study, 0, 7)
    assert lost.returncode == 5
    assert "trial 0 is cancelled; no trial 7" in lost.stderr
    assert "can be cancelled now: 1" in lost.stderr
    assert codesign("stop", study, "--now").returncode == 0
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "trial 0 cancelled  " in out
    assert "stopped; run the same command again to continue" in out
    # Cancelled says nothing of the design, and it is not proposed again.
    state = state_of(study)
    [said] = state.trials[0].observations
    assert (said.metrics, said.failure) == ({}, "preempted")
    assert state.trials[0].failure is None
    assert state.trials[1].open
    assert children(process.pid) == []


def test_stop_lets_running_trials_end_and_the_study_continues_as_if_undisturbed(
    tmp_path: Path,
) -> None:
    sections = {"search": {"trials": 20, "proposer": "random"}}
    study, asked_of = tmp_path / "study", list[Any]()

    def ask(view: View) -> None:
        if len(view.state.trials) > 3 and not asked_of:
            asked_of.append(api.stop(study).asked)

    result = api.optimize(write_spec(tmp_path, **sections), study=study, watch=ask)
    state = state_of(study)
    assert asked_of[0].pid == os.getpid()
    assert result.interrupted
    assert 3 < len(state.trials) < 20
    assert {trial.status for trial in state.trials.values()} == {"completed"}
    undisturbed = run(tmp_path, "undisturbed", **sections)
    assert essence(run(tmp_path, **sections)) == essence(undisturbed)


def test_extend_makes_a_running_study_longer(running: tuple[Popen[str], Path]) -> None:
    process, study = running
    assert codesign("extend", study, "--trials", 3).returncode == 5
    assert codesign("extend", study, "--trials", 5).returncode == 0
    until(lambda: state_of(study).extended_to == 5)
    assert api.status(study).planned == 5
    for number in range(5):
        until(functools.partial(is_under_way, study, number))
        api.cancel(study, (number,))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert len(state_of(study).trials) == 5
    assert "5 designs are searched in all" in out


def test_without_a_loop_commands_say_so(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"}, budgets={"trials": 3})
    study = tmp_path / "study"
    stopped = codesign("stop", study)
    assert (stopped.returncode, stopped.stdout) == (0, f"{study}: nothing runs\n")
    assert json.loads(codesign("stop", study, "--json").stdout) == {"asked": None, "jobs": 0}
    with pytest.raises(StudyError, match="trial 0 is completed"):
        api.cancel(study, (0,))
    with pytest.raises(StudyError, match=r"not being run(.|\n)*--set search.trials=N"):
        api.extend(study, trials=2)
    with pytest.raises(StudyError, match=r"budgets.trials allows 3; --trials is 4"):
        api.extend(study, trials=4)
    for command in (["stop"], ["cancel", 0], ["extend", "--trials", 9], ["status"], ["export"]):
        done = codesign(command[0], tmp_path / "nothing", *command[1:])
        assert (done.returncode, "holds no study" in done.stderr) == (5, True)


def test_a_dead_loop_is_told_from_a_live_one(running: tuple[Popen[str], Path]) -> None:
    process, study = running
    workers = children(process.pid)
    assert len(workers) == 1
    process.kill()
    process.wait()
    assert api.status(study).loop == "dead"
    assert "ended without a word" in codesign("status", study).stdout
    assert codesign("stop", study).stdout == f"{study}: nothing runs\n"
    # A worker ends with its loop, in the middle of a trial too.
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_cancelling_is_part_of_the_fold() -> None:
    created = {"kind": "search", "design": {}, "seed": 1, "costs": {}, "of": None}
    submitted = {"attempt": 1, "token": "t", "lost": 0}
    request = {"ask": "cancel", "trials": [0, 5], "total": 0, "id": "r"}
    ended = {"token": "t", "metrics": {}, "failure": None, "reason": "", "facts": {},
             "seconds": 1.0}  # fmt: skip
    told = [("created", 0, created), ("submitted", 0, submitted), ("requested", None, request),
            ("completed", 0, ended)]  # fmt: skip
    events = [
        Event(number=i + 1, time=1.0, kind=kind, trial=trial, payload=payload)  # type: ignore[arg-type]
        for i, (kind, trial, payload) in enumerate(told)
    ]
    trial = fold(events).trials[0]
    assert (trial.status, trial.ended, trial.metrics) == ("cancelled", 3, {})
