from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codesign.stopping import StopSignals
from codesign.study.folder import read_json, write_json
from codesign.worker import Runner
from tests.support.loops import until


def payload(folder: Path, **design: object) -> Path:
    write_json(
        folder / "trial.json",
        {
            "token": "t",
            "task": {"name": "tests.support.toy_task", "model": {}, "train": {}, "source": "toy",
                     "path": None},
            "design": design,
            "seed": 5,
        },
    )  # fmt: skip
    return folder


def test_a_person_can_run_an_attempt_again(tmp_path: Path) -> None:
    payload(tmp_path, width=3)
    done = subprocess.run(
        [sys.executable, "-m", "codesign.worker", str(tmp_path)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    result = read_json(tmp_path / "result.json")
    assert (result["token"], result["failure"], result["facts"]) == ("t", None, {"seed": 5})
    assert '"failure": null' in done.stdout
    assert read_json(tmp_path / "progress.json")["done"] == 1


def test_a_bug_becomes_an_outcome_with_its_traceback(tmp_path: Path) -> None:
    outcome = Runner().run_trial(payload(tmp_path, fate="bug"))
    assert (outcome.failure, outcome.reason) == ("bug", "ZeroDivisionError: a toy bug")
    assert "toy_task.py" in read_json(tmp_path / "result.json")["facts"]["traceback"]


def test_torchs_refusal_to_allocate_is_out_of_memory(tmp_path: Path) -> None:
    import torch

    from codesign import worker

    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60)
    assert worker._is_allocation_failure(refused.value)
    assert not worker._is_allocation_failure(RuntimeError("shapes cannot be multiplied"))


def test_a_worker_told_to_stop_lets_its_task_save_and_leaves_no_result(tmp_path: Path) -> None:
    folder = payload(tmp_path, fate="hangs")
    arguments = [sys.executable, "-m", "codesign.worker"]
    with subprocess.Popen([*arguments, "--serve"], stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE) as worker:  # fmt: skip
        assert worker.stdin is not None
        print(folder, file=worker.stdin, flush=True)
        until((folder / "progress.json").exists)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == -signal.SIGTERM
        assert worker.stdout is not None
        assert worker.stdout.read() == "ready\n", "the attempt has not ended"
    assert (folder / "stopped.txt").read_text() == "saved"
    assert not (folder / "result.json").exists()


def test_a_worker_that_waits_ends_at_once_when_told_to_stop() -> None:
    arguments = [sys.executable, "-m", "codesign.worker", "--serve"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == -signal.SIGTERM


def test_the_first_of_several_signals_is_the_one_that_was_received() -> None:
    stop, before = StopSignals(), signal.getsignal(signal.SIGUSR2)
    with stop.heeded(signal.SIGUSR2, signal.SIGTERM):
        assert not stop()
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    assert (stop.received, signal.getsignal(signal.SIGUSR2)) == (signal.SIGUSR2, before)


def test_usage_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codesign.worker"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        "usage: python -m codesign.worker [--tied] FOLDER | --serve\n",
    )


def test_an_attempt_is_told_of_those_before_it(tmp_path: Path) -> None:
    for number in (1, 2, 3, 10):
        (tmp_path / f"attempt-{number}").mkdir()
    outcome = Runner().run_trial(payload(tmp_path / "attempt-3", fate="looks_back"))
    assert outcome.facts == {"earlier": ["attempt-2", "attempt-1"]}


def test_a_full_disk_is_no_bug_of_the_trial(tmp_path: Path) -> None:
    program = (
        "import json, pathlib, resource, sys\n"
        "from codesign.worker import Runner\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "payload = json.loads((folder / 'trial.json').read_text())\n"
        "outcome = Runner()._attempt(payload, folder)\n"
        "print(outcome.failure, outcome.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(payload(tmp_path, width=3))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("node no space to write: ")
