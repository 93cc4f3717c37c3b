"""What a job of SLURM runs on each of its tasks: one rank of an attempt, and who watches it.

`python -m launch.slurm.job BATCH` stands in the script of every trial. The first thing a job does
is to claim the attempt's folder; one that comes second ends at once. Then each task runs its rank
as a worker of its own and passes on SLURM's signals: USR2 before the time limit, TERM before a
preemption. A worker that was told to stop saves a checkpoint and leaves no result; where SLURM does
not begin the job again by itself, rank 0 asks it to, as often as the attempt may begin.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.helpers import TorchDistributedEnvironment

from codesign import serving
from codesign.contracts import Outcome
from codesign.errors import StudyError
from codesign.study.folder import read_json, read_json_if_whole, write_json
from launch.oom import oom_kills
from launch.slurm.batch import Entry, Starts, claim, read_entry
from launch.slurm.client import NoAnswerError, RefusedError, call
from launch.slurm.ends import rank_result_file

POLL_S = 0.1
NOTE_EVERY_S = 2.0
# What other ranks may take to say why they failed, once one has; its end then ends them.
GRACE_S = 2.0
# What SLURM may take to end a job that it was asked to requeue, or that it preempts.
ENDED_WITHIN_S = 120.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A task's place: the id of its job, its index in the array, its rank of how many."""

    job: str
    index: int
    rank: int
    ranks: int

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Place:
        """Read it from what srun set."""
        job, index = variables["SLURM_JOB_ID"], variables.get("SLURM_ARRAY_TASK_ID")
        return cls(
            job=job if index is None else f"{variables['SLURM_ARRAY_JOB_ID']}_{index}",
            index=int(index or 0),
            rank=int(variables["SLURM_PROCID"]),
            ranks=int(variables["SLURM_NTASKS"]),
        )


class Rank:
    """Runs one rank of an attempt to its end, or until it is told to stop."""

    def __init__(self, entry: Entry, place: Place) -> None:
        self._entry = entry
        self._place = place
        self._folder = Path(entry.folder)
        self._token = read_json(self._folder / "trial.json")["token"]
        self._stopped: int | None = None  # The signal that told it to stop.
        self._before = Starts.read(self._folder)
        self._began = time.monotonic()
        self._kills = oom_kills()

    def run(self) -> int:
        """Return the exit code of the task: 0 where it did all it had to."""
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._stop)
        if self._result(0) is not None:
            return 0  # SLURM began a job again that had done its work.
        if self._place.rank == 0 and self._before.starts >= self._entry.starts:
            return self._give_up()
        rank_result_file(self._folder, self._place.rank).unlink(missing_ok=True)
        self._note()
        code = self._watch(self._start())
        outcome = self._own_outcome(code)
        stopped = self._stopped is not None and (outcome is None or outcome.failure == "node")
        self._note(stopped=stopped)
        if outcome is None:
            return 0
        if not stopped:
            return self._conclude(outcome)
        if self._others_failed():
            return 1  # It was told to stop because of them.
        return self._requeue() if self._place.rank == 0 else 0

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopped = self._stopped or number

    @property
    def _seconds(self) -> float:
        """Of all starts."""
        return self._before.seconds + time.monotonic() - self._began

    def _note(self, *, stopped: bool = False) -> None:
        if self._place.rank == 0:
            starts = self._before.starts + 1
            said = Starts(starts=starts, seconds=self._seconds, stopped=stopped)
            with contextlib.suppress(StudyError):  # A full disk must not end a training.
                said.write(self._folder)

    def _start(self) -> subprocess.Popen[bytes]:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        threads = dict.fromkeys(THREADS, os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        with serving.log_file(self._folder, self._place.rank).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "codesign.worker", "--tied", str(self._folder)],
                stdin=subprocess.PIPE,  # It ends with this.
                stdout=log,
                stderr=log,
                env={**threads, **os.environ},
                start_new_session=True,  # Signals are for this process, which passes them on.
            )

    def _watch(self, worker: subprocess.Popen[bytes]) -> int:
        """Wait for the worker to end; return its exit code, below 0: the signal."""
        told, noted = False, time.monotonic()
        while (code := worker.poll()) is None:
            if self._stopped is not None and not told:
                worker.terminate()
                told = True
            if (told and self._others_failed()) or self._overdue():
                worker.kill()
            if time.monotonic() - noted >= NOTE_EVERY_S:
                noted = time.monotonic()
                self._note()
            time.sleep(POLL_S)
        return code

    def _overdue(self) -> bool:
        limit = self._entry.timeout_s
        return self._place.rank == 0 and limit is not None and self._seconds >= limit

    def _others_failed(self) -> bool:
        """Whether another rank left word that it failed."""
        mine = rank_result_file(self._folder, self._place.rank)
        return any(path != mine for path in self._folder.glob("result-rank*.json"))

    def _result(self, rank: int) -> Mapping[str, Any] | None:
        """What the worker of a rank wrote at its end, of this attempt."""
        said = read_json_if_whole(serving.result_file(self._folder, rank))
        return said if said.get("token") == self._token else None

    def _own_outcome(self, code: int) -> Outcome | None:
        """Return how this rank ended; None: it did well and has nothing to say."""
        said = self._result(self._place.rank)
        if said is not None:
            return Outcome.from_json(said)
        if code == 0 and self._place.rank:
            return None
        if self._overdue():
            return Outcome(
                failure="timeout", reason=f"took longer than {self._entry.timeout_s:g} s"
            )
        name = f"rank {self._place.rank} of {self._place.ranks}"
        if code == -signal.SIGKILL and oom_kills() > self._kills:
            return Outcome(failure="out_of_memory", reason=f"the kernel killed {name} (cgroup)")
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Outcome(failure="node", reason=f"{name} ended with {ending} and no result")

    def _conclude(self, outcome: Outcome) -> int:
        """Write how the rank ended where all can see it; a failure then ends the other ranks.

        That rank 0 lost another one is no result: what that one says counts.
        """
        result = serving.result_file(self._folder, self._place.rank)
        if outcome.failure is None:
            write_json(result, {**read_json(result), "seconds": self._seconds})
            return 0
        serving.write_result(self._folder, outcome, seconds=self._seconds, rank=self._place.rank)
        if self._place.ranks > 1:
            if outcome.failure == "node" and self._place.rank == 0:
                result.rename(rank_result_file(self._folder, 0))
            time.sleep(GRACE_S)
        return 1

    def _requeue(self) -> int:
        """Have the job begin again before its time is over; all else SLURM does by itself."""
        if self._before.starts + 1 >= self._entry.starts:
            return self._give_up()
        try:
            state = call("squeue", "--noheader", f"--jobs={self._place.job}", "--format=%T")
            if state.strip() == "RUNNING":
                number, self._stopped = self._stopped, None
                if number == signal.SIGUSR2:
                    call("scontrol", "requeue", self._place.job)
                self._await_end()
        except (OSError, NoAnswerError, RefusedError) as error:
            print(f"was not requeued: {error}", file=sys.stderr)
        return 1

    def _await_end(self) -> None:
        """Leave it to SLURM to end this task, so that its job does not count as failed.

        One that is preempted has its time of grace to the end. Where another task of the job was
        killed, the rest is ended like that, too: SLURM knows why.
        """
        deadline = time.monotonic() + ENDED_WITHIN_S
        while self._stopped is None and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _give_up(self) -> int:
        starts = Starts.read(self._folder).starts
        reason = f"was told to stop, or lost, {starts} times; launch.attempts allows no more"
        outcome = Outcome(failure="preempted", reason=reason, facts={"starts": starts})
        serving.write_result(self._folder, outcome, seconds=self._seconds)
        return 1


def main(path: Path) -> int:
    """Run this task's rank of the attempt that its job is for."""
    place = Place.of(os.environ)
    entry = read_entry(path, place.index)
    owner = claim(Path(entry.folder), place.job)
    if owner != place.job:
        print(f"{entry.folder} is claimed by {owner}: nothing to do", file=sys.stderr)
        return 0
    return Rank(entry, place).run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
