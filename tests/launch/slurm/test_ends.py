from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.contracts import FailureKind, Job, Outcome
from codesign.serving import result_file, write_result
from launch.slurm.batch import Starts, Ticket, claim
from launch.slurm.client import Seen
from launch.slurm.ends import is_over, logs, outcome_of, rank_result_file, vanished
from launch.slurm.refusals import is_temporary, refused

FAILED = "sbatch: error: Batch job submission failed:"
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folder = tmp_path / "trials" / "0003" / "attempt-1"
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"token": "mine"}))
    (tmp_path / "slurm").mkdir()
    Ticket(key="k", index=2, job="7_2").write(folder)
    return Job(trial=3, attempt=1, folder=folder, token="mine", processes=4, timeout_s=100.0)


def ended(job: Job, state: str, reason: str = "") -> Outcome:
    return outcome_of(job, Seen(job="7_2", state=state, reason=reason), job.folder.parents[2])


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("OUT_OF_MEMORY", "out_of_memory"),
        ("NODE_FAIL", "node"),
        ("BOOT_FAIL", "node"),
        ("PREEMPTED", "preempted"),
        ("TIMEOUT", "preempted"),
        ("CANCELLED", "cancelled"),
        ("FAILED", "node"),
        ("COMPLETED", "node"),
    ],
)
def test_without_a_result_the_state_tells_why(job: Job, state: str, kind: FailureKind) -> None:
    claim(job.folder, "7_2")
    found = ended(job, state)
    assert found.failure == kind
    assert "7_2" in found.reason


def test_a_result_counts_whatever_became_of_the_job(job: Job) -> None:
    write_result(job.folder, Outcome(metrics={"log_loss": 0.5}), seconds=3.0)
    assert ended(job, "NODE_FAIL") == Outcome(metrics={"log_loss": 0.5}, seconds=3.0)


def test_the_result_of_another_attempt_says_nothing(job: Job) -> None:
    result = {"token": "another's", "metrics": {"log_loss": 0.5}, "seconds": 1.0}
    result_file(job.folder).write_text(json.dumps(result))
    assert ended(job, "CANCELLED").failure == "cancelled"


def test_the_rank_that_failed_for_a_reason_of_its_own_counts(job: Job) -> None:
    lost, full = Outcome(failure="node", reason="peer lost"), Outcome(failure="out_of_memory")
    write_result(job.folder, lost, seconds=1.0)
    result_file(job.folder).rename(rank_result_file(job.folder, 0))
    write_result(job.folder, full, seconds=1.0, rank=2)
    found = ended(job, "FAILED")
    assert (found.failure, found.reason) == ("out_of_memory", "rank 2 of 4: ")


def test_the_time_of_all_starts_decides_between_a_limit_of_slurm_and_the_studys(job: Job) -> None:
    Starts(starts=2, seconds=99.0).write(job.folder)
    found = ended(job, "TIMEOUT")
    assert (found.failure, found.seconds, found.facts["starts"]) == ("preempted", 99.0, 2)
    Starts(starts=2, seconds=100.0).write(job.folder)
    assert ended(job, "TIMEOUT").failure == "timeout"


def test_one_that_saved_and_was_not_begun_again_is_preempted(job: Job) -> None:
    Starts(starts=1, seconds=9.0, stopped=True).write(job.folder)
    assert ended(job, "FAILED").failure == "preempted"


def test_a_job_that_nobody_knows_any_more_says_whether_it_began(job: Job) -> None:
    study = job.folder.parents[2]
    assert "it never began" in outcome_of(job, vanished("7_2"), study).reason
    claim(job.folder, "7_2")
    assert "it never began" not in outcome_of(job, vanished("7_2"), study).reason


def test_a_failure_carries_the_end_of_both_logs(job: Job) -> None:
    study = job.folder.parents[2]
    (job.folder / "log.txt").write_text("\n".join(f"line {i}" for i in range(1000)))
    (study / "slurm" / "7_2_0_log.err").write_text("slurmstepd: killed\n")
    tail = ended(job, "FAILED").facts["log_tail"]
    assert tail.splitlines()[-2:] == ["line 999", "slurmstepd: killed"]
    assert len(tail.splitlines()) < 50
    assert [path.name for path in logs(job.folder)] == ["7_2_0_log.err"]


@pytest.mark.parametrize(
    "state", ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED",
              "REQUEUE_HOLD", "STOPPED", "SIGNALING", "RESIZING"],
)  # fmt: skip
def test_a_job_that_may_run_again_is_not_over(state: str) -> None:
    assert not is_over(state)


@pytest.mark.parametrize(
    ("said", "temporary", "where"),
    [
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED} {POLICY}", True, ""),
        (f"sbatch: error: QOSMaxCpuPerJobLimit\n{FAILED} {POLICY}", False, "qos"),
        ("sbatch: error: invalid partition specified: nope", False, "partition"),
        (f"{FAILED} Invalid account or account/partition combination specified", False, "account"),
        ("sbatch: error: Memory specification can not be satisfied", False, "memory_gib"),
        (f"{FAILED} Invalid feature specification", False, "constraint"),
    ],
)
def test_a_refusal_is_waited_out_or_names_the_field(said: str, temporary: bool, where: str) -> None:
    assert is_temporary(said) == temporary
    if not temporary:
        error = refused(said)
        assert error.where == f"launch.slurm.{where}"
        assert said in error.what
