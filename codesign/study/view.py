"""What a watcher of a running study may show, and how often it is put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from codesign.contracts import Executor
from codesign.spec.model import StudySpec
from codesign.study.findings import Finding, best_finding, findings, planned_trials
from codesign.study.folder import StudyFolder, read_json_if_whole
from codesign.study.queue import QueueSeen, read_queue, write_queue
from codesign.study.state import StudyState, Trial

# Looking at the trials takes at most this share of the loop's time, however many there are; a look
# at a few takes next to nothing.
LOOKING_SHARE = 0.05
NOTHING_S = 0.005
QUEUE_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class View:
    """What a watcher may show: the state, and what the running trials say of themselves.

    Attributes:
        planned: trials in all, confirming runs included, as far as is known.
        objectives: their names.
        best: the best design so far.
        running: trial → what its `progress.json` holds; none that waits in a queue.
        queue: where trials stand in a cluster's queue.
    """

    state: StudyState
    planned: int
    objectives: tuple[str, ...]
    best: Finding | None = None
    running: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    queue: QueueSeen = field(default_factory=QueueSeen)


class Watcher:
    """Shows a view now and then, and keeps the study's queue file up to date.

    Attributes:
        queue: as of the last view.

    Args:
        show: called with each view.
        now: seconds since the epoch, for the file.
        clock: seconds that are never set back.
    """

    def __init__(
        self,
        spec: StudySpec,
        folder: StudyFolder,
        executor: Executor,
        show: Callable[[View], None],
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._folder, self._executor, self._show = spec, folder, executor, show
        self._now, self._clock = now, clock
        self._best_of: tuple[int, Finding | None] = (0, None)  # So many ended trials.
        self._next_view = self._next_queue = -float("inf")
        self._written = self.queue = read_queue(folder)

    def refresh(self, state: StudyState) -> None:
        """Show the state, unless the last view was put together too lately for what it took."""
        began = self._clock()
        if began >= self._next_view:
            self.show(state)
            took_s = self._clock() - began
            self._next_view = began + (0.0 if took_s < NOTHING_S else took_s / LOOKING_SHARE)

    def show(self, state: StudyState) -> None:
        """Show the state."""
        queue = self.queue = self._queue()
        running = {}
        for trial in state.open_trials:
            if trial.status == "running" and not _waits(queue, trial.number):
                running[trial.number] = said_by(self._folder, trial)
        self._show(
            View(
                state=state,
                planned=planned_trials(state, self._spec),
                objectives=tuple(objective.name for objective in self._spec.objectives),
                best=self._best(state),
                running=running,
                queue=queue,
            )
        )

    def _best(self, state: StudyState) -> Finding | None:
        """Return the best design; looked for where a trial has ended since."""
        ended = sum(trial.ended is not None for trial in state.trials.values())
        if ended != self._best_of[0]:
            self._best_of = ended, best_finding(findings(state, self._spec), self._spec)
        return self._best_of[1]

    def _queue(self) -> QueueSeen:
        """Look where trials stand, and write it down where that has changed."""
        jobs, outage = dict(self._executor.queue()), self._executor.outage
        if (jobs, outage) == (self._written.jobs, self._written.outage):
            return self._written
        seen = QueueSeen(time=self._now(), outage=outage, jobs=jobs)
        if self._clock() >= self._next_queue or not jobs:
            write_queue(self._folder, seen)
            self._written = seen
            self._next_queue = self._clock() + QUEUE_EVERY_S
        return seen


def said_by(folder: StudyFolder, trial: Trial) -> Mapping[str, Any]:
    """Read what the latest attempt of a trial says of its progress; empty: nothing yet."""
    return read_json_if_whole(folder.attempt(trial.number, trial.attempt) / "progress.json")


def _waits(queue: QueueSeen, trial: int) -> bool:
    return trial in queue.jobs and not queue.jobs[trial].nodes
