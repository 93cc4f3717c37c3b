"""Submits attempts as jobs, follows them, and finds those of an earlier loop again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from codesign.contracts import Job, LaunchRequest, Outcome, Queued
from codesign.errors import LaunchError
from codesign.study.folder import CLUSTER_NAME
from launch.slurm.batch import NOBODY, Starts, Ticket, claim, claimed_by
from launch.slurm.client import Client, NoAnswerError, RefusedError, Seen
from launch.slurm.ends import (
    is_over,
    log_tail,
    outcome_of,
    result_of,
    vanished,
    waits_for_ever,
)
from launch.slurm.looks import Looks, Outage
from launch.slurm.options import Options
from launch.slurm.submission import Submitter

T = TypeVar("T")

ASK_AGAIN_S = 5.0
# What a result may take to reach this machine through a shared file system.
SETTLED_AFTER_S = 5.0
# So many jobs in a row may end before their trials begin.
STILLBORN = 3


@dataclass(kw_only=True)
class _Followed:
    """A job that is followed.

    Attributes:
        since: when it was handed over; over_since: when it was first seen to be over without a
            result. Both by the clock of the executor.
    """

    job: Job
    id: str
    since: float
    over_since: float | None = None


class SlurmExecutor:
    """Satisfies `codesign.contracts.Executor`.

    Args:
        client: calls SLURM's commands.
        slots: jobs at a time, those that wait in the queue among them.
        clock: seconds that are never set back.
        sleep: waits, while SLURM is asked for what cannot wait.
    """

    def __init__(
        self,
        request: LaunchRequest,
        options: Options,
        client: Client,
        *,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if request.study is None:
            raise LaunchError("jobs of SLURM belong to a study", where="launch.executor")
        self.slots = slots
        self._study = request.study
        self._say = request.say
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._submitter = Submitter(request, options, client, study=self._study, clock=clock)
        self._looks = Looks(client, clock, sleep)
        self._outage = Outage(request.say)
        self._waiting: list[Job] = []
        self._cancelled: list[str] = []  # Ids of jobs that are to end.
        self._followed: dict[int, _Followed] = {}
        self._queue: dict[int, Queued] = {}
        self._ended: list[tuple[Job, Outcome]] = []
        self._stillborn = 0
        self._said: set[str] = set()

    @property
    def outage(self) -> str:
        """Since when and why SLURM does not answer; empty: it does."""
        return self._outage.line

    def submit(self, job: Job) -> None:
        """Keep the job; all that are here at the next `poll` are handed over together."""
        self._waiting.append(job)

    def adopt(self, jobs: Sequence[Job]) -> Collection[Job]:
        """Find the jobs of an earlier loop by their ids, and where these were lost by their keys.

        Waits until the controller answers. A job that cannot be found and has not begun is fenced
        off, so that it ends at once should it appear after all.
        """
        found = {job: Ticket.read(job.folder) for job in jobs}
        tickets = {job: each for job, each in found.items() if each and not each.cancelled}
        if not tickets:
            return ()
        known = self._patiently(self._client.queue)
        ids = {job: ticket.job for job, ticket in tickets.items()}
        for key in {ticket.key for ticket in tickets.values() if ticket.job is None}:
            number = self._patiently(partial(self._submitter.find, key))
            if number is not None:
                ids |= {j: t.id_in(number) for j, t in tickets.items() if t.key == key}
        if gone := [number for number in ids.values() if number and number not in known]:
            known |= self._patiently(partial(self._client.ended, gone))
        return [job for job, number in ids.items() if self._adopted(job, number, known)]

    def _adopted(self, job: Job, number: str | None, known: Mapping[str, Seen]) -> bool:
        """Follow a job, if there is one; else see to it that there never will be."""
        seen = known.get(number or "")
        lives_or_told = seen is not None and seen.state != "FAILED"
        if number is None or not (lives_or_told or result_of(job)):
            number = claim(job.folder)
            if number == NOBODY:
                return False
        self._follow(job, number, since=-float("inf"))
        return True

    def poll(self, wait_s: float = 0.0) -> Iterable[tuple[Job, Outcome]]:
        """Hand over what waits, and return the jobs that ended by the latest look."""
        self._submitter.take(self._waiting)
        self._waiting = []
        if not self.outage:
            self._tell()
        if self._followed or self.outage:
            self._look(wait_s)
        else:
            self._sleep(wait_s)
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job: Job) -> None:
        """End a job: at the next `poll` or `close`, together with all others."""
        followed = self._forget(job.trial)
        if job in self._waiting:
            self._waiting.remove(job)
        elif followed is not None:
            self._cancelled.append(followed.id)
            if (ticket := Ticket.read(job.folder)) is not None:
                dataclasses.replace(ticket, cancelled=True).write(job.folder)
        else:
            claim(job.folder)  # It is about to be handed over; once it begins, it ends.

    def queue(self) -> Mapping[int, Queued]:
        """Return where the jobs stood at the last look, by trial."""
        return self._queue

    def close(self) -> None:
        """End what was cancelled, and follow no job any more; another loop can adopt them."""
        self._patiently(self._end_cancelled)
        self._followed.clear()

    def _tell(self) -> None:
        """Tell SLURM what to begin and what to end."""
        try:
            for job, number in self._submitter.send():
                self._follow(job, number, since=self._clock())
            self._end_cancelled()
        except NoAnswerError as error:
            self._outage.began(str(error))

    def _end_cancelled(self) -> None:
        if self._cancelled:
            self._client.cancel(self._cancelled)
            self._cancelled = []

    def _follow(self, job: Job, number: str, *, since: float) -> None:
        self._followed[job.trial] = _Followed(job=job, id=number, since=since)
        ticket = Ticket.read(job.folder)
        if ticket is not None and ticket.job != number:
            dataclasses.replace(ticket, job=number).write(job.folder, durable=False)

    def _forget(self, trial: int) -> _Followed | None:
        self._queue.pop(trial, None)
        return self._followed.pop(trial, None)

    def _look(self, wait_s: float) -> None:
        look = self._looks.next([followed.id for followed in self._followed.values()], wait_s)
        if look is None:
            return
        if look.outage:
            self._outage.began(look.outage)
        else:
            self._outage.ended()
            for followed in list(self._followed.values()):
                if followed.since < look.began:
                    self._update(followed, look.jobs.get(followed.id) or vanished(followed.id))

    def _update(self, followed: _Followed, seen: Seen) -> None:
        """Take in how a job stands; it has ended once its result is there, or cannot come."""
        job = followed.job
        starts = Starts.read(job.folder)
        self._queue[job.trial] = Queued(
            job=followed.id, state=seen.state, reason=seen.reason, nodes=seen.nodes,
            starts=starts.starts, seconds=starts.seconds,
        )  # fmt: skip
        if not is_over(seen.state):
            followed.over_since = None
            self._warn(followed, seen)
        elif result_of(job) is not None:
            self._stillborn = 0
            self._end(followed, seen)
        elif claimed_by(job.folder) not in ("", NOBODY, followed.id):
            # sbatch had taken it twice, and the other one began first.
            self._follow(job, claimed_by(job.folder), since=self._clock())
        else:
            followed.over_since = followed.over_since or self._clock()
            if self._clock() >= followed.over_since + SETTLED_AFTER_S:
                self._count_stillborn(followed, seen)
                self._end(followed, seen)

    def _end(self, followed: _Followed, seen: Seen) -> None:
        self._forget(followed.job.trial)
        self._ended.append((followed.job, outcome_of(followed.job, seen, self._study)))

    def _warn(self, followed: _Followed, seen: Seen) -> None:
        """Say once what only a person can mend."""
        if waits_for_ever(seen) and seen.reason not in self._said:
            self._said.add(seen.reason)
            self._say(
                f"warning: SLURM will not begin job {followed.id} of trial {followed.job.trial} by "
                f"itself: {seen.reason}; see scontrol show job {followed.id}"
            )

    def _count_stillborn(self, followed: _Followed, seen: Seen) -> None:
        """Give up where jobs fail one after another before their trials begin."""
        began = claim(followed.job.folder) != NOBODY
        self._stillborn = 0 if began or seen.state != "FAILED" else self._stillborn + 1
        if self._stillborn >= STILLBORN:
            raise LaunchError(
                f"{self._stillborn} jobs in a row failed before their trials began; the last, "
                f"{followed.id}:\n{log_tail(followed.job.folder, self._study)}",
                where="launch.slurm",
                hint=f"the logs lie in {self._study / CLUSTER_NAME}; look at launch.slurm.setup "
                "and launch.slurm.python, and whether the nodes see the study's folder",
            )

    def _patiently(self, call: Callable[[], T]) -> T:
        """Ask until the controller answers."""
        while True:
            try:
                answer = call()
            except NoAnswerError as error:
                self._outage.began(str(error))
                self._sleep(ASK_AGAIN_S)
            except RefusedError as error:
                raise LaunchError(str(error), where="launch.slurm") from error
            else:
                self._outage.ended()
                return answer
