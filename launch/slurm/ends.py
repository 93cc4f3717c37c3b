"""How the job of an attempt ended: its own result first, then its ranks', then SLURM's state."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from codesign import serving
from codesign.contracts import FailureKind, Job, Outcome
from codesign.study.folder import CLUSTER_NAME, read_json_if_whole
from launch.ranks import outcome_of_ranks
from launch.slurm.batch import NOBODY, Starts, Ticket, claimed_by
from launch.slurm.client import Seen

TAIL_LINES = 20
TAIL_BYTES = 20_000
COMPLETED = "COMPLETED"
# Of a job that neither the controller nor accounting knows any more.
VANISHED = "VANISHED"
# No job in one of these states runs again without being asked to.
KINDS: dict[str, FailureKind] = {
    COMPLETED: "node",
    "FAILED": "node",
    "OUT_OF_MEMORY": "out_of_memory",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "LAUNCH_FAILED": "node",
    "RECONFIG_FAIL": "node",
    "REVOKED": "node",
    VANISHED: "node",
    "PREEMPTED": "preempted",
    "TIMEOUT": "preempted",
    "CANCELLED": "cancelled",
    "DEADLINE": "timeout",
}
SAYS = {
    COMPLETED: "ended without a result",
    "FAILED": "failed without a result",
    "OUT_OF_MEMORY": "was killed: it used more memory than it asked for",
    "NODE_FAIL": "lost a node",
    "BOOT_FAIL": "had a node that did not boot",
    "PREEMPTED": "was preempted",
    "TIMEOUT": "reached SLURM's time limit",
    "CANCELLED": "was cancelled on the cluster",
    "DEADLINE": "reached its deadline",
    VANISHED: "is unknown to SLURM by now, and left no result",
}
# Reasons to wait that only a person can mend.
STUCK = (
    "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS", "JobHeldAdmin",
    "JobHeldUser", "MaxWallDurationPerJob", "PartitionNodeLimit", "PartitionTimeLimit",
    "requeued held",
)  # fmt: skip


def is_over(state: str) -> bool:
    """Whether a job in this state runs no more."""
    return state in KINDS


def waits_for_ever(seen: Seen) -> bool:
    """Whether a job waits for something that does not come by itself."""
    return seen.state == "PENDING" and any(reason in seen.reason for reason in STUCK)


def result_of(job: Job) -> Outcome | None:
    """Return what the attempt's worker said, if it is this attempt's."""
    with contextlib.suppress(OSError):
        next(job.folder.iterdir(), None)  # A network file system looks again.
    said = read_json_if_whole(job.folder / "result.json")
    return job.outcome() if said.get("token") == job.token else None


def outcome_of(job: Job, seen: Seen, study: Path) -> Outcome:
    """Say how a job that is over ended, with the last lines of its logs where it failed.

    Args:
        study: the folder that holds SLURM's own logs.
    """
    starts = Starts.read(job.folder)
    found = result_of(job) or _of_ranks(job) or _of_state(job, seen, starts)
    if found.failure is None:
        return found
    facts = {**found.facts, "log_tail": log_tail(job.folder, study)}
    if starts.starts > 1:
        facts["starts"] = starts.starts
    return replace(found, facts=facts, seconds=starts.seconds)


def vanished(job: str) -> Seen:
    """What is known of a job that neither the controller nor accounting knows any more."""
    return Seen(job=job, state=VANISHED)


def _of_ranks(job: Job) -> Outcome | None:
    """Say why an attempt failed by what its ranks left, the first with a reason of its own."""
    said = {rank: outcome for rank, outcome in _rank_results(job) if outcome.failure is not None}
    if not said:
        return None
    return outcome_of_ranks(said, {}, job.processes, out_of_memory=False)


def _rank_results(job: Job) -> Iterator[tuple[int, Outcome]]:
    for rank in range(job.processes):
        path = rank_result_file(job.folder, rank)
        said = read_json_if_whole(path)
        if said.get("token") == job.token:
            yield rank, Outcome.from_json(said)


def rank_result_file(folder: Path, rank: int) -> Path:
    """Where a rank that failed says why; rank 0's is no result of the attempt yet."""
    return serving.result_file(folder, rank) if rank else folder / "result-rank0.json"


def _of_state(job: Job, seen: Seen, starts: Starts) -> Outcome:
    kind = KINDS[seen.state]
    if kind == "node" and starts.stopped:
        kind = "preempted"
    if kind == "preempted" and job.timeout_s is not None and starts.seconds >= job.timeout_s:
        kind = "timeout"
    says = SAYS.get(seen.state, f"ended as {seen.state}")
    details = [seen.reason] if seen.reason else []
    details += [f"on {seen.nodes}"] if seen.nodes else []
    details += ["it never began"] if claimed_by(job.folder) in ("", NOBODY) else []
    reason = f"its job {seen.job} {says}" + (f" ({', '.join(details)})" if details else "")
    return Outcome(failure=kind, reason=reason)


def logs(folder: Path) -> list[Path]:
    """Return SLURM's own logs of the latest job of an attempt: of its script and of its ranks.

    Args:
        folder: of the attempt.
    """
    ticket = Ticket.read(folder)
    if ticket is None or ticket.job is None:
        return []
    return sorted((_study(folder) / CLUSTER_NAME).glob(f"{ticket.job}_*_log.*"))


def _study(attempt: Path) -> Path:
    return attempt.parents[2]


def log_tail(folder: Path, study: Path) -> str:
    """Return the last lines of an attempt's log, and of what SLURM wrote of its job."""
    ticket = Ticket.read(folder)
    job = ticket.job if ticket is not None else None
    files = [serving.log_file(folder)]
    if job is not None:
        files.append(study / CLUSTER_NAME / f"{job}_0_log.err")
    return "\n".join(filter(None, map(_tail, files)))


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])
