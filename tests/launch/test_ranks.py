"""Processes that run one attempt together: how it ends, and that none is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import Job, LaunchRequest, Outcome
from codesign.study.folder import read_json, write_json
from launch import local
from launch.local import LocalPool
from launch.ranks import outcome_of_ranks, run
from tests.support.processes import processes_of, when


def attempt(folder: Path, **design: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    task = {"name": "tests.support.toy_task", "model": {}, "train": {}, "source": "", "path": None}
    write_json(folder / "trial.json", {"token": "t", "task": task, "design": design, "seed": 5})
    return folder


def outcome_of(folder: Path) -> Outcome:
    found = Job(trial=0, attempt=1, folder=folder).outcome()
    assert found is not None
    return found


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    pool = LocalPool(workers=1, threads=1, processes=2)
    yield pool
    pool.close()


def ended(pool: LocalPool) -> Outcome:
    while not (found := list(pool.poll(wait_s=1.0))):
        pass
    ((_, outcome),) = found
    return outcome


def test_the_first_ranks_result_is_the_attempts_and_each_rank_has_a_log(
    pool: LocalPool, tmp_path: Path
) -> None:
    for number in (1, 2):
        folder = attempt(tmp_path / f"{number}", fate="tells_rank")
        pool.submit(Job(trial=number, attempt=1, folder=folder, processes=2))
        outcome = ended(pool)
        assert (outcome.failure, outcome.facts) == (None, {"rank": 0, "world": 2})
        assert sorted(path.name for path in folder.iterdir()) == [
            "log-rank1.txt", "log.txt", "progress.json", "result.json", "trial.json",
        ]  # fmt: skip
        assert '"rank": 1' in (folder / "log-rank1.txt").read_text()


@pytest.mark.parametrize(
    ("fate", "failure", "reason"),
    [
        ("dies", "node", "rank 1 of 3 ended with signal 9"),
        ("out_of_memory", "out_of_memory", "rank 1 of 3: the Python allocator ran out of memory"),
        ("bug", "bug", "rank 1 of 3: ZeroDivisionError: a toy bug"),
        ("refused", "bug", "rank 1 of 3: toy: 7 does not divide 2"),
    ],
)
def test_a_rank_that_fails_ends_all_and_is_the_reason(
    tmp_path: Path, fate: str, failure: str, reason: str
) -> None:
    run(attempt(tmp_path, fate=fate, only_rank=1), 3)
    outcome = outcome_of(tmp_path)
    assert (outcome.failure, outcome.reason) == (failure, reason)
    assert read_json(tmp_path / "result.json")["token"] == "t"
    assert not processes_of(tmp_path)


def test_a_rank_killed_from_outside_ends_the_attempt(pool: LocalPool, tmp_path: Path) -> None:
    folder = attempt(tmp_path / "1", fate="hangs")
    pool.submit(Job(trial=1, attempt=1, folder=folder, processes=2))
    when(lambda: (folder / "progress.json").exists() and len(processes_of(folder)) == 2)
    os.kill(processes_of(folder)[1], signal.SIGTERM)
    outcome = ended(pool)
    assert (outcome.failure, outcome.reason) == ("node", "rank 1 of 2 ended with signal 15")
    assert not processes_of(folder)


def test_no_rank_outlives_the_process_that_started_it_nor_the_pool(
    pool: LocalPool, tmp_path: Path
) -> None:
    for number, end in enumerate(
        [
            lambda: os.kill(pool._workers[0].process.pid, signal.SIGKILL),
            lambda: pool.cancel(Job(trial=1, attempt=1, folder=tmp_path / "1", processes=2)),
            pool.close,
        ]
    ):
        folder = attempt(tmp_path / f"{number}", fate="hangs")
        pool.submit(Job(trial=number, attempt=1, folder=folder, processes=2))
        when(lambda folder=folder: len(processes_of(folder)) == 2)
        end()
        when(lambda folder=folder: not processes_of(folder))
        list(pool.poll())


def test_workers_and_threads_are_shared_out_among_processes(tmp_path: Path) -> None:
    pool = local.make(LaunchRequest(workers=None, processes=2), cpus=8)
    try:
        assert pool.slots == 4
        folder = attempt(tmp_path / "1", fate="hangs")
        pool.submit(Job(trial=1, attempt=1, folder=folder, processes=2))
        when(lambda: len(processes_of(folder)) == 2)
        for pid in processes_of(folder).values():
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert b"OMP_NUM_THREADS=1" in variables
    finally:
        pool.close()


def test_the_first_rank_with_a_reason_of_its_own_says_why() -> None:
    lost = Outcome(failure="node", reason="rank 0 of 2 lost another one")
    bug = Outcome(failure="bug", reason="an error")
    for said, ends, out_of_memory, failure, reason in [
        ({0: lost}, {1: -9, 0: 1}, True, "out_of_memory", "the kernel killed rank 1 of 2 (cgroup)"),
        ({0: lost}, {0: 1, 1: -15}, True, "node", "rank 1 of 2 ended with signal 15"),
        ({0: bug}, {1: -9, 0: 1}, False, "node", "rank 1 of 2 ended with signal 9"),
        ({1: bug}, {1: 1, 0: -9}, False, "bug", "rank 1 of 2: an error"),
        ({1: bug}, {0: -6}, False, "bug", "rank 1 of 2: an error"),
        ({0: lost}, {0: 1}, False, "node", "rank 0 of 2 lost another one"),
        ({}, {0: 0, 1: 3}, False, "node", "rank 1 of 2 ended with exit code 3 and no result"),
    ]:
        found = outcome_of_ranks(said, ends, 2, out_of_memory=out_of_memory)
        assert (found.failure, found.reason) == (failure, reason)


def test_a_pool_within_a_group_starts_workers_that_are_not_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    pool = LocalPool(workers=1, threads=1)
    try:
        pool.submit(Job(trial=1, attempt=1, folder=attempt(tmp_path), processes=2))
        assert ended(pool).failure is None
        assert (tmp_path / "result.json").exists()
    finally:
        pool.close()
