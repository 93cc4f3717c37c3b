"""Tasks of a job as srun starts them: processes with SLURM's variables, here without SLURM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import Job, Outcome
from codesign.serving import write_result
from codesign.study.folder import read_json
from launch.slurm.batch import Batch, Starts, batch_file, claim, claimed_by
from launch.slurm.client import Seen
from launch.slurm.ends import outcome_of
from tests.support.loops import until

STUDY_TASK = {
    "name": "tests.support.toy_task", "model": {}, "train": {}, "source": "toy", "path": None
}  # fmt: skip


def attempt(study: Path, *, design: Mapping[str, Any], **fields: Any) -> tuple[Job, Path]:
    """Make an attempt and the batch that it is the only one of."""
    folder = study / "trials" / "0000" / "attempt-1"
    folder.mkdir(parents=True)
    payload = {"token": "t", "task": STUDY_TASK, "design": design, "seed": 1}
    (folder / "trial.json").write_text(json.dumps(payload))
    job = Job(trial=0, attempt=1, folder=folder, token="t", **{"starts": 3, **fields})
    batch = Batch.of([job])
    batch.write(study)
    return job, batch_file(study, batch.key)


def task(path: Path, *, rank: int = 0, ranks: int = 1, job: str = "7") -> subprocess.Popen[bytes]:
    """Start one task of a job."""
    variables = {
        "SLURM_JOB_ID": job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
        "SLURM_NTASKS": str(ranks), "SLURM_JOB_NUM_NODES": "1", "SUBMITIT_EXECUTOR": "slurm",
        "PATH": "/nowhere",
    }  # fmt: skip
    command = [sys.executable, "-m", "launch.slurm.job", str(path)]
    return subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.DEVNULL)


def test_a_second_job_of_an_attempt_ends_without_touching_it(tmp_path: Path) -> None:
    job, path = attempt(tmp_path, design={"fate": "completes"})
    claim(job.folder, "6")
    before = sorted(file.name for file in job.folder.iterdir())
    assert task(path).wait(60) == 0
    assert sorted(file.name for file in job.folder.iterdir()) == before


def test_the_ranks_of_a_job_train_together_and_their_time_is_that_of_all_starts(
    tmp_path: Path,
) -> None:
    job, path = attempt(tmp_path, design={"fate": "tells_rank"}, processes=2)
    Starts(starts=1, seconds=50.0).write(job.folder)
    # Left by a start that lost a node.
    write_result(job.folder, Outcome(failure="node", reason="peer lost"), seconds=1.0, rank=1)
    tasks = [task(path, rank=rank, ranks=2) for rank in range(2)]
    assert [each.wait(60) for each in tasks] == [0, 0]
    outcome = job.outcome()
    assert outcome is not None
    assert dict(outcome.facts) == {"rank": 0, "world": 2}
    assert outcome.seconds is not None
    assert 50 < outcome.seconds < 100
    assert (claimed_by(job.folder), Starts.read(job.folder).starts) == ("7", 2)


@pytest.mark.parametrize(
    ("fate", "kind", "reason"),
    [("dies", "node", "signal 9"), ("out_of_memory", "out_of_memory", "ran out of memory")],
)
def test_a_rank_that_fails_alone_says_so_and_ends_its_task(
    tmp_path: Path, fate: str, kind: str, reason: str
) -> None:
    job, path = attempt(tmp_path, design={"fate": fate, "only_rank": 1}, processes=2)
    other = task(path, rank=0, ranks=2)
    until((job.folder / "progress.json").exists)
    assert task(path, rank=1, ranks=2).wait(60) == 1
    other.terminate()  # As srun does once a task has failed.
    assert other.wait(60) == 1
    found = outcome_of(job, Seen(job="7", state="FAILED"), tmp_path)
    assert found.failure == kind
    assert found.reason.startswith("rank 1 of 2")
    assert reason in found.reason


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_has_the_training_saved_and_leaves_no_result(
    tmp_path: Path, number: signal.Signals
) -> None:
    job, path = attempt(tmp_path, design={"fate": "hangs"})
    running = task(path)
    until((job.folder / "progress.json").exists)
    running.send_signal(number)
    assert running.wait(60) == 1, "nobody could be asked to begin it again"
    assert (job.folder / "stopped.txt").read_text() == "saved"
    assert job.outcome() is None
    assert Starts.read(job.folder).stopped
    assert outcome_of(job, Seen(job="7", state="FAILED"), tmp_path).failure == "preempted"


def test_an_attempt_begins_no_oftener_than_it_may(tmp_path: Path) -> None:
    job, path = attempt(tmp_path, design={"fate": "completes"}, starts=2)
    Starts(starts=2, seconds=9.0).write(job.folder)
    assert task(path).wait(60) == 1
    outcome = job.outcome()
    assert outcome is not None
    assert (outcome.failure, outcome.facts["starts"]) == ("preempted", 2)


def test_all_starts_together_are_given_the_time_of_one_trial(tmp_path: Path) -> None:
    job, path = attempt(tmp_path, design={"fate": "hangs"}, timeout_s=20.0)
    Starts(starts=1, seconds=19.5).write(job.folder)
    assert task(path).wait(60) == 1
    outcome = job.outcome()
    assert outcome is not None
    assert (outcome.failure, outcome.reason) == ("timeout", "took longer than 20 s")


def test_a_job_that_slurm_begins_again_after_its_end_leaves_the_result(tmp_path: Path) -> None:
    job, path = attempt(tmp_path, design={"fate": "completes"})
    assert task(path).wait(60) == 0
    result = read_json(job.folder / "result.json")
    assert task(path).wait(60) == 0
    assert read_json(job.folder / "result.json") == result
