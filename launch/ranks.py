"""The processes of one attempt on this machine, started and ended together.

`python -m launch.ranks N` takes attempts like `codesign.worker --serve`, and runs each by N workers
that find each other as torchrun's do. The first that fails ends all; no worker outlives this
process, nor this process its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from codesign import serving
from codesign.contracts import Outcome
from launch.oom import oom_kills

POLL_S = 0.05
# What the others may take to end by themselves once one rank has failed.
GRACE_S = 2.0
LOOPBACK = "127.0.0.1"


def run(folder: Path, ranks: int) -> None:
    """Run an attempt by so many processes; `folder/result.json` says how it ended."""
    began, kills = time.monotonic(), oom_kills()
    for rank in range(ranks):
        serving.result_file(folder, rank).unlink(missing_ok=True)
    with _started(folder, ranks) as processes:
        ends = _own_ends(processes)
    said = dict(serving.read_results(folder, ranks))
    if 0 in said and said[0].failure is None:
        return
    outcome = outcome_of_ranks(said, ends, ranks, out_of_memory=oom_kills() > kills)
    serving.write_result(folder, outcome, seconds=time.monotonic() - began)


@contextlib.contextmanager
def _started(folder: Path, ranks: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the workers; those that still run at the end of the block are killed."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        # Open before any worker runs, so that nobody else can take the port.
        with socket.create_server((LOOPBACK, 0), backlog=ranks) as meeting:
            processes.extend(_start(folder, rank, ranks, meeting) for rank in range(ranks))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(folder: Path, rank: int, ranks: int, meeting: socket.socket) -> subprocess.Popen[bytes]:
    environment = {
        "GLOO_SOCKET_IFNAME": "lo",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(meeting.getsockname()[1]),
        "RENDEZVOUS_FD": str(meeting.fileno()),
    }
    with serving.log_file(folder, rank).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "codesign.worker", "--tied", str(folder)],
            stdin=subprocess.PIPE,  # It ends with this.
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=() if rank else (meeting.fileno(),),
        )


def _own_ends(processes: Sequence[subprocess.Popen[bytes]]) -> Mapping[int, int]:
    """Wait for all workers, or `GRACE_S` after one failed or the first ended.

    Returns:
        Rank → exit code of those that ended, in the order in which they did; of several at a time,
        those that a signal ended come first.
    """
    ends: dict[int, int] = {}
    deadline = float("inf")
    while len(ends) < len(processes) and time.monotonic() < deadline:
        codes = {rank: process.poll() for rank, process in enumerate(processes)}
        new = [(code, rank) for rank, code in codes.items() if code is not None]
        ends |= {rank: code for code, rank in sorted(new) if rank not in ends}
        if deadline == float("inf") and (0 in ends or any(ends.values())):
            deadline = time.monotonic() + GRACE_S
        time.sleep(POLL_S)
    return ends


def outcome_of_ranks(
    said: Mapping[int, Outcome], ends: Mapping[int, int], ranks: int, *, out_of_memory: bool
) -> Outcome:
    """Say why an attempt failed: by what the first rank that failed for a reason of its own says.

    An abort is none: so libraries end a process that has lost another one.

    Args:
        said: outcomes of the ranks that left one.
        ends: exit codes of the ranks that ended by themselves, in that order; below 0: the signal.
        out_of_memory: whether the kernel killed for want of memory meanwhile.
    """
    for rank in (*ends, *said):
        code, outcome = ends.get(rank, 0), said.get(rank)
        name = f"rank {rank} of {ranks}"
        if code == -signal.SIGKILL and out_of_memory:
            reason = f"the kernel killed {name} (cgroup)"
            return Outcome(failure="out_of_memory", reason=reason)
        if code < 0 and code != -signal.SIGABRT:
            return Outcome(failure="node", reason=f"{name} ended with signal {-code}")
        if outcome is not None and outcome.failure not in (None, "node"):
            reason = f"{name}: {outcome.reason}" if rank else outcome.reason
            return replace(outcome, reason=reason)
    reasons = [outcome.reason for outcome in said.values() if outcome.failure]
    reasons += [
        f"rank {rank} of {ranks} ended with exit code {code} and no result"
        for rank, code in ends.items()
        if code and rank not in said
    ]
    return Outcome(failure="node", reason="; ".join(reasons))


if __name__ == "__main__":
    number = int(sys.argv[1])
    serving.serve(sys.stdin, serving.private_answers(), lambda folder: run(folder, number))
