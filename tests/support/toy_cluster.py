"""A cluster in one process: its jobs outlive the loop that submitted them, and run when told to.

The module is an executor's. Every study has a cluster of its own, which a test drives: a job waits
until it is started, trains by a real worker when it is finished, and is adopted by the next loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from codesign.contracts import Job, LaunchRequest, Outcome, Queued
from codesign.worker import Runner

WAITS = Queued(job="", state="PENDING", reason="Priority")


class Cluster:
    """What goes on without a loop.

    Attributes:
        open: trial → its job and where it stands.
        ended: trial → its job and how it ended, until a loop has collected it.
        submitted: jobs in order; batches: how many came together.
        cancelled: trials whose jobs a loop has ended.
        answers: whether it can be asked.
    """

    def __init__(self) -> None:
        self.open: dict[int, tuple[Job, Queued]] = {}
        self.ended: dict[int, tuple[Job, Outcome]] = {}
        self.submitted: list[Job] = []
        self.batches: list[int] = []
        self.cancelled: list[int] = []
        self.answers = True

    def start(self, trial: int, *, seconds: float = 0.0) -> None:
        """Let a job run; it has run so long by now."""
        job, stands = self.open[trial]
        running = replace(stands, state="RUNNING", reason="", nodes="n1", starts=stands.starts + 1)
        self.open[trial] = job, replace(running, seconds=seconds)

    def finish(self, trial: int, *, seconds: float = 1.0) -> None:
        """Train a trial to its end."""
        job, _ = self.open[trial]
        self.end(trial, replace(Runner().run_trial(job.folder), seconds=seconds))

    def end(self, trial: int, outcome: Outcome) -> None:
        """End a job in some way."""
        job, _ = self.open.pop(trial)
        self.ended[trial] = job, outcome


CLUSTERS: dict[Path | None, Cluster] = {}


def cluster(study: Path) -> Cluster:
    """The cluster of a study."""
    return CLUSTERS.setdefault(study.absolute(), Cluster())


class ToyExecutor:
    """Satisfies `codesign.contracts.Executor`."""

    def __init__(self, request: LaunchRequest) -> None:
        assert request.study is not None
        self.slots = request.workers or 1
        self._cluster = cluster(request.study)
        self._waiting: list[Job] = []

    @property
    def outage(self) -> str:
        """See `Executor`."""
        return "" if self._cluster.answers else "the cluster does not answer"

    def submit(self, job: Job) -> None:
        """Hand it over at the next poll."""
        self._waiting.append(job)

    def adopt(self, jobs: Sequence[Job]) -> Collection[Job]:
        """Return those that the cluster knows."""
        known = self._cluster.open | self._cluster.ended
        return [job for job in jobs if known.get(job.trial, (None,))[0] == job]

    def poll(self, wait_s: float = 0.0) -> Iterable[tuple[Job, Outcome]]:
        """Return what has ended."""
        if not self._cluster.answers:
            return []
        for job in self._waiting:
            stands = replace(WAITS, job=str(1000 + len(self._cluster.submitted)))
            self._cluster.submitted.append(job)
            self._cluster.open[job.trial] = job, stands
        self._cluster.batches += [len(self._waiting)] * bool(self._waiting)
        self._waiting.clear()
        ended = list(self._cluster.ended.values())
        self._cluster.ended.clear()
        return ended

    def cancel(self, job: Job) -> None:
        """End it."""
        if self._cluster.open.pop(job.trial, None):
            self._cluster.cancelled.append(job.trial)

    def queue(self) -> Mapping[int, Queued]:
        """See `Executor`."""
        return {trial: stands for trial, (_, stands) in self._cluster.open.items()}

    def close(self) -> None:
        """Let all go on."""


def make(request: LaunchRequest) -> ToyExecutor:
    """Make the executor of a study."""
    return ToyExecutor(request)
