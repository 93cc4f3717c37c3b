"""A pool of worker processes on this machine that stay alive from trial to trial."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.contracts import Job, LaunchRequest, Outcome, Queued
from codesign.errors import LaunchError
from launch.oom import oom_kills

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Of a group that this process may be part of; its workers are not.
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RENDEZVOUS_FD")
STOP_AFTER_S = 5.0
DEFAULT_MAX_WORKERS = 4
# So many workers in a row may be killed before they are ready.
STILLBORN_KILLED = 5


def make(request: LaunchRequest, *, cpus: int | None = None) -> LocalPool:
    """Start a pool: as many workers as there are cores for (at most four) unless told otherwise.

    Args:
        cpus: cores to share out; None: those that this process may use.
    """
    available, processes = cpus or len(os.sched_getaffinity(0)), request.processes
    count = request.workers or max(1, min(available // processes, DEFAULT_MAX_WORKERS))
    threads = max(1, available // (count * processes))
    return LocalPool(workers=count, threads=threads, processes=processes)


@dataclass
class _Worker:
    """A worker process, or several that run one job together, and the job."""

    process: subprocess.Popen[str]
    processes: int
    job: Job | None = None
    deadline: float = float("inf")
    oom_kills: int = 0
    ready: bool = False


class LocalPool:
    """Satisfies `codesign.contracts.Executor`.

    Args:
        workers: jobs that run at a time.
        threads: CPU threads of each process.
        processes: that run one job together, of the workers that start before any job says how
            many it has; see `launch.ranks`.
    """

    def __init__(
        self,
        *,
        workers: int,
        threads: int,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots, self.outage = workers, ""
        self._threads = threads
        self._clock = clock
        self._stillborn = 0
        self._waiting: collections.deque[Job] = collections.deque()
        # A worker, and whether it has ended rather than finished a job.
        self._answers: queue.Queue[tuple[_Worker, bool]] = queue.Queue()
        self._workers = [self._start(processes) for _ in range(workers)]

    def submit(self, job: Job) -> None:
        """Hand the job to a free worker, or queue it."""
        self._waiting.append(job)
        self._hand_out()

    def adopt(self, jobs: Sequence[Job]) -> Collection[Job]:  # noqa: ARG002
        """Return nothing: no worker outlives the process that started it."""
        return ()

    def poll(self, wait_s: float = 0.0) -> Iterable[tuple[Job, Outcome]]:
        """Return the jobs that ended; waits up to `wait_s` for the first."""
        ended = []
        try:
            ended.append(
                self._answers.get(timeout=wait_s) if wait_s else self._answers.get_nowait()
            )
            while True:
                ended.append(self._answers.get_nowait())
        except queue.Empty:
            pass
        finished = [result for answer in ended if (result := self._collect(*answer)) is not None]
        finished += self._overdue()
        self._hand_out()
        return finished

    def cancel(self, job: Job) -> None:
        """End a job, whether it runs or waits; `poll` does not return it any more."""
        if job in self._waiting:
            self._waiting.remove(job)
        for worker in list(self._workers):
            if worker.job == job:
                worker.job = None
                self._end(worker)
                self._workers.remove(worker)  # Another one starts where there is work for it.

    def queue(self) -> Mapping[int, Queued]:
        """Return nothing: a job that waits here waits for no one else."""
        return {}

    def close(self) -> None:
        """End every worker, in the middle of a job too."""
        for worker in self._workers:
            self._end(worker)
        self._workers = []
        self._waiting.clear()

    def _start(self, processes: int) -> _Worker:
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(self._threads))}
        for name in _RANK_VARIABLES:
            environment.pop(name, None)
        # What was importable here must be importable there.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-m", *_module(processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the loop, which then ends its workers.
        )
        worker = _Worker(process=process, processes=processes)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        return worker

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            worker.ready = True
            if worker.job is not None and Path(line.rstrip("\n")) == worker.job.folder:
                self._answers.put((worker, False))
        self._answers.put((worker, True))

    def _hand_out(self) -> None:
        for job in list(self._waiting)[: self.slots - len(self._workers)]:
            self._workers.append(self._start(job.processes))
        for free in list(self._workers):
            if free.job is None and self._waiting and free.process.poll() is None:
                job = self._waiting.popleft()
                worker = self._of_size(free, job.processes)
                worker.job = job
                worker.deadline = self._clock() + (job.timeout_s or float("inf"))
                worker.oom_kills = oom_kills()
                assert worker.process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # It died just now; its reader says so.
                    print(job.folder, file=worker.process.stdin, flush=True)

    def _of_size(self, worker: _Worker, processes: int) -> _Worker:
        """Return a free worker if it has so many processes, else another in its place."""
        if worker.processes == processes:
            return worker
        self._workers.remove(worker)
        self._end(worker)
        self._workers.append(self._start(processes))
        return self._workers[-1]

    def _collect(self, worker: _Worker, ended: bool) -> tuple[Job, Outcome] | None:
        job, worker.job = worker.job, None
        if ended and worker in self._workers:
            worker.process.wait()
            self._count_stillborn(worker)
            self._replace(worker)
        if job is None:
            return None
        return job, job.outcome() or self._lost(worker)

    def _count_stillborn(self, worker: _Worker) -> None:
        """Give up where workers end before they are ready: at once, unless something kills them."""
        self._stillborn = 0 if worker.ready else self._stillborn + 1
        code = worker.process.returncode
        if self._stillborn and (code >= 0 or self._stillborn > STILLBORN_KILLED):
            ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
            raise LaunchError(
                f"a worker ended with {ending} before it was ready",
                hint=f"run `python -m {' '.join(_module(worker.processes))}` to see why",
            )

    def _lost(self, worker: _Worker) -> Outcome:
        """Say why a worker ended without a result; the kernel's counter is the evidence."""
        code = worker.process.returncode
        if code == -signal.SIGKILL and oom_kills() > worker.oom_kills:
            return Outcome(failure="out_of_memory", reason="the kernel killed the worker (cgroup)")
        ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return Outcome(failure="node", reason=f"the worker ended with {ending} and no result")

    def _overdue(self) -> list[tuple[Job, Outcome]]:
        now = self._clock()
        late = []
        for worker in list(self._workers):
            if worker.job is None or now < worker.deadline:
                continue
            job, worker.job = worker.job, None
            self._end(worker)
            self._replace(worker)
            reason = f"took longer than {job.timeout_s:g} s"
            late.append((job, job.outcome() or Outcome(failure="timeout", reason=reason)))
        return late

    def _replace(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._workers.append(self._start(worker.processes))

    @staticmethod
    def _end(worker: _Worker) -> None:
        process = worker.process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # The worker ends with its standard input.
        try:
            process.wait(timeout=STOP_AFTER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _module(processes: int) -> list[str]:
    """Return the module that serves jobs with so many processes, and its arguments."""
    if processes == 1:
        return ["codesign.worker", "--serve"]
    return ["launch.ranks", str(processes)]
