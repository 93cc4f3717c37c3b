"""The pool of workers on its own, with real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import Job, LaunchRequest, Outcome
from codesign.errors import LaunchError
from codesign.study.folder import read_json, write_json
from launch import local
from launch.local import LocalPool


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    pool = LocalPool(workers=2, threads=1)
    yield pool
    pool.close()


def job(folder: Path, number: int, timeout_s: float | None = None, **design: Any) -> Job:
    attempt = folder / f"{number}" / "attempt-1"
    attempt.mkdir(parents=True)
    write_json(
        attempt / "trial.json",
        {
            "token": f"token {number}",
            "task": {"name": "tests.support.toy_task", "model": {}, "train": {}, "source": "toy",
                     "path": None},
            "design": design,
            "seed": number,
        },
    )  # fmt: skip
    return Job(trial=number, attempt=1, folder=attempt, timeout_s=timeout_s)


def finish(pool: LocalPool, count: int) -> dict[int, Outcome]:
    ended: dict[int, Outcome] = {}
    while len(ended) < count:
        for done, outcome in pool.poll(wait_s=1.0):
            assert done.trial not in ended
            ended[done.trial] = outcome
    return ended


def test_more_jobs_than_workers_all_end_once(pool: LocalPool, tmp_path: Path) -> None:
    for number in range(7):
        pool.submit(job(tmp_path, number, width=number + 1))
    outcomes = finish(pool, 7)
    assert {number: o.facts["seed"] for number, o in outcomes.items()} == {i: i for i in range(7)}
    assert read_json(tmp_path / "3/attempt-1/result.json")["token"] == "token 3"


def test_workers_stay_alive_from_job_to_job(pool: LocalPool, tmp_path: Path) -> None:
    pids = {worker.process.pid for worker in pool._workers}
    for number in range(4):
        pool.submit(job(tmp_path, number))
    finish(pool, 4)
    assert {worker.process.pid for worker in pool._workers} == pids


def test_a_killed_worker_is_replaced_and_its_job_reported(pool: LocalPool, tmp_path: Path) -> None:
    pool.submit(job(tmp_path, 0, fate="dies"))
    outcome = finish(pool, 1)[0]
    assert (outcome.failure, outcome.reason) == (
        "node",
        "the worker ended with signal 9 and no result",
    )
    pool.submit(job(tmp_path, 1))
    pool.submit(job(tmp_path, 2))
    assert all(o.failure is None for o in finish(pool, 2).values())


def test_an_idle_worker_that_is_killed_is_replaced(pool: LocalPool, tmp_path: Path) -> None:
    for number in range(2):
        pool.submit(job(tmp_path, number))
    finish(pool, 2)
    for worker in list(pool._workers):
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
    list(pool.poll(wait_s=1.0))
    pool.submit(job(tmp_path, 5))
    assert finish(pool, 1)[5].failure is None


def test_a_job_over_its_time_is_ended(pool: LocalPool, tmp_path: Path) -> None:
    pool.submit(job(tmp_path, 0, timeout_s=1.0, fate="hangs"))
    pool.submit(job(tmp_path, 1, timeout_s=60.0))
    outcomes = finish(pool, 2)
    assert (outcomes[0].failure, outcomes[0].reason) == ("timeout", "took longer than 1 s")
    assert outcomes[1].failure is None


def test_closing_ends_running_jobs_and_is_safe_twice(tmp_path: Path) -> None:
    pool = LocalPool(workers=1, threads=1)
    pool.submit(job(tmp_path, 0, fate="hangs"))
    process = pool._workers[0].process
    pool.close()
    pool.close()
    assert process.returncode is not None


def test_a_worker_that_cannot_start_is_an_error_not_a_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local.sys, "executable", "/bin/false")
    pool = LocalPool(workers=1, threads=1)
    pool.submit(job(tmp_path, 0))
    with pytest.raises(LaunchError, match="ended with exit code 1 before it was ready"):
        finish(pool, 1)
    pool.close()


def test_threads_are_shared_out() -> None:
    pool = local.make(LaunchRequest(workers=2), cpus=8)
    try:
        for worker in pool._workers:
            environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes().split(b"\0")
            assert b"OMP_NUM_THREADS=4" in environment
    finally:
        pool.close()


def test_a_cancelled_job_ends_and_is_not_reported(pool: LocalPool, tmp_path: Path) -> None:
    hanging = [job(tmp_path, number, fate="hangs") for number in range(3)]
    for one in hanging:
        pool.submit(one)
    while not (tmp_path / "1/attempt-1/progress.json").exists():
        assert list(pool.poll(wait_s=0.05)) == []
    processes = [worker.process for worker in pool._workers]
    pool.cancel(hanging[2])  # It waits.
    pool.cancel(hanging[0])
    pool.cancel(hanging[0])
    pool.submit(job(tmp_path, 4))
    assert set(finish(pool, 1)) == {4}
    assert not (tmp_path / "2/attempt-1/progress.json").exists()
    assert [process.poll() is None for process in processes] == [False, True]


def test_a_result_that_cannot_be_read_is_no_bug_of_the_loop(tmp_path: Path) -> None:
    done = job(tmp_path, 0)
    for text in ("{", "[]", '{"metrics": {}, "other": 1}'):
        (done.folder / "result.json").write_text(text)
        outcome = done.outcome()
        assert outcome is not None
        assert (outcome.failure, outcome.reason[:26]) == ("node", "result.json cannot be read")
