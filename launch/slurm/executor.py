"""Submits attempts as jobs, follows them with one question for all, and finds them again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from codesign.contracts import Job, LaunchRequest, Outcome, Queued
from codesign.errors import LaunchError
from codesign.study.folder import write_text
from launch.slurm.batch import FOLDER, NOBODY, Batch, Starts, Ticket, batch_file, claim, claimed_by
from launch.slurm.client import Client, NoAnswerError, RefusedError, Seen
from launch.slurm.ends import is_over, log_tail, outcome_of, result_of, vanished
from launch.slurm.options import Options
from launch.slurm.refusals import is_temporary, refused
from launch.slurm.script import ARRAY, jobs_of_size, trial_script

T = TypeVar("T")

LOOK_EVERY_S, LOOK_AT_MOST_EVERY_S = 1.0, 30.0
# A look may take this share of the time between looks.
LOOK_SHARE = 0.05
# What a result may take to reach this machine through a shared file system.
SETTLED_AFTER_S = 5.0
# So many jobs in a row may end before their trial begins.
STILLBORN = 5


@dataclass(kw_only=True)
class _Open:
    """A job that is followed.

    Attributes:
        since: when it was handed over, `over_since` when it was first seen to be over without a
            result; by the clock of the executor.
    """

    job: Job
    id: str
    since: float
    seen: Seen | None = None
    over_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What SLURM told of all jobs, and when it was asked; `outage`: why it told nothing."""

    began: float
    took_s: float
    jobs: Mapping[str, Seen] = field(default_factory=dict)
    outage: str = ""


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
        self.outage = ""
        self._study = request.study
        self._name = request.name
        self._say = request.say
        self._options = options
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._waiting: list[Job] = []
        self._batches: deque[Batch] = deque()
        self._uncertain: set[str] = set()  # Keys of batches that sbatch may have taken.
        self._send_after = -float("inf")
        self._open: dict[int, _Open] = {}
        self._cancelled: dict[str, Job] = {}  # By id: jobs that are to end.
        self._ended: list[tuple[Job, Outcome]] = []
        self._refusal = ""
        self._numbers: dict[str, str | None] = {}  # Key → id that an earlier loop did not note.
        self._stillborn = 0
        self._asked: Future[_Look] | None = None
        self._ask_after = -float("inf")

    def submit(self, job: Job) -> None:
        """Queue the job here; all that wait for the same are handed over together at `poll`."""
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
        ids = {job: ticket.job or self._recovered(ticket) for job, ticket in tickets.items()}
        if gone := [number for number in ids.values() if number and number not in known]:
            known |= self._patiently(partial(self._client.ended, gone))
        return [job for job, number in ids.items() if self._adopted(job, number, known)]

    def _recovered(self, ticket: Ticket) -> str | None:
        """Return the id of a job that sbatch told to an earlier loop alone, if it took it."""
        if ticket.key not in self._numbers:
            self._numbers[ticket.key] = self._patiently(partial(self._find, ticket.key))
        number = self._numbers[ticket.key]
        return None if number is None else ticket.id_in(number)

    def _adopted(self, job: Job, number: str | None, known: Mapping[str, Seen]) -> bool:
        """Follow a job, if there is one; else see to it that there never will be."""
        if number is None or (number not in known and result_of(job) is None):
            owner = claim(job.folder)
            if owner == NOBODY:
                return False
            number = owner
        self._open[job.trial] = _Open(job=job, id=number, since=-float("inf"))
        return True

    def poll(self, wait_s: float = 0.0) -> Iterable[tuple[Job, Outcome]]:
        """Hand over what waits, and return the jobs that ended by the latest look."""
        self._end_cancelled()
        self._gather()
        self._send()
        self._ask()
        if not self._ended and self._asked is not None:
            with contextlib.suppress(TimeoutError):
                self._take(self._asked.result(timeout=wait_s))
                self._asked = None
        elif not self._ended:
            self._sleep(wait_s)
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job: Job) -> None:
        """End a job at the next `poll` or `close`, with all others that are to end."""
        followed = self._open.pop(job.trial, None)
        if job in self._waiting:
            self._waiting.remove(job)
        elif followed is None:
            claim(job.folder)  # It is about to be handed over; once it begins, it ends.
        else:
            self._cancelled[followed.id] = job

    def queue(self) -> Mapping[int, Queued]:
        """Return where the jobs stood at the last look, by trial."""
        return {
            trial: Queued(
                job=followed.id,
                state=followed.seen.state,
                reason=followed.seen.reason,
                nodes=followed.seen.nodes,
                starts=starts.starts,
                seconds=starts.seconds,
            )
            for trial, followed in self._open.items()
            if followed.seen is not None and (starts := Starts.read(followed.job.folder))
        }

    def close(self) -> None:
        """Follow no job any more; all go on, and another loop can adopt them."""
        self._end_cancelled()
        self._open.clear()

    def _end_cancelled(self) -> None:
        """End the jobs that are not wanted any more; waits until the controller answers."""
        if not self._cancelled:
            return
        self._patiently(partial(self._client.cancel, list(self._cancelled)))
        for job in self._cancelled.values():
            if (ticket := Ticket.read(job.folder)) is not None:
                replace(ticket, cancelled=True).write(job.folder)
        self._cancelled.clear()

    def _gather(self) -> None:
        """Make batches of the jobs that wait, and write all that their jobs read."""
        for jobs in jobs_of_size(self._waiting, ARRAY):
            batch = Batch.of(jobs)
            batch.write(self._study)
            text = trial_script(self._options, batch, study=self._study, name=self._name)
            write_text(self._script(batch), text)
            self._batches.append(batch)
        self._waiting = []

    def _script(self, batch: Batch) -> Path:
        return batch_file(self._study, batch.key).with_suffix(".sh")

    def _send(self) -> None:
        """Hand batches to sbatch, none of them twice."""
        while self._batches and not self.outage and self._clock() >= self._send_after:
            batch = self._batches[0]
            try:
                number = self._find(batch.key) if batch.key in self._uncertain else None
                number = number or self._client.submit(self._script(batch))
            except NoAnswerError as error:
                self._uncertain.add(batch.key)
                self._note_outage(str(error))
            except RefusedError as error:
                self._wait_or_raise(str(error))
            else:
                batch.note(number)
                self._follow(batch, number)
                self._batches.popleft()

    def _follow(self, batch: Batch, number: str) -> None:
        self._refusal = ""
        for ticket, job in batch.tickets():
            self._open[job.trial] = _Open(job=job, id=ticket.id_in(number), since=self._clock())

    def _wait_or_raise(self, refusal: str) -> None:
        if not is_temporary(refusal):
            raise refused(refusal)
        if refusal != self._refusal:
            self._say(f"sbatch takes no more jobs for now: {refusal.splitlines()[0]}")
        self._refusal = refusal
        self._send_after = self._clock() + LOOK_AT_MOST_EVERY_S

    def _find(self, key: str) -> str | None:
        """Return the id of a submission that sbatch took, if it did."""
        made = batch_file(self._study, key).stat().st_mtime
        found = self._client.find(key, since=made)
        return min((job.split("_")[0] for job in found), key=int, default=None)

    def _ask(self) -> None:
        """Have SLURM asked how the jobs stand, where it is time to."""
        if self._asked is None and (self._open or self.outage) and self._clock() >= self._ask_after:
            ids = [followed.id for followed in self._open.values()]
            self._asked = _in_background(partial(self._look, ids))

    def _look(self, ids: Sequence[str]) -> _Look:
        began, outage = self._clock(), ""
        jobs: dict[str, Seen] = {}
        try:
            jobs = self._client.queue()
            if gone := [number for number in ids if number not in jobs]:
                jobs |= self._client.ended(gone)
        except (NoAnswerError, RefusedError) as error:
            outage = str(error)
        return _Look(began=began, took_s=self._clock() - began, jobs=jobs, outage=outage)

    def _take(self, look: _Look) -> None:
        every_s = min(LOOK_AT_MOST_EVERY_S, max(LOOK_EVERY_S, look.took_s / LOOK_SHARE))
        self._ask_after = self._clock() + every_s
        if look.outage:
            self._note_outage(look.outage)
            return
        if self.outage:
            self._say("SLURM answers again")
            self.outage = ""
            # A request that was on its way has arrived by then.
            self._send_after = self._clock() + SETTLED_AFTER_S
        for followed in list(self._open.values()):
            if followed.since < look.began:
                self._update(followed, look.jobs.get(followed.id) or vanished(followed.id))

    def _update(self, followed: _Open, seen: Seen) -> None:
        """Take in how a job stands; it has ended once its result is there, or cannot come."""
        followed.seen, folder = seen, followed.job.folder
        if not is_over(seen.state):
            followed.over_since = None
            return
        if result_of(followed.job) is None:
            owner = claimed_by(folder)
            if owner not in ("", NOBODY, followed.id):
                followed.id, followed.over_since = owner, None  # sbatch had taken it twice.
                return
            followed.over_since = followed.over_since or self._clock()
            if self._clock() < followed.over_since + SETTLED_AFTER_S:
                return
            self._count_stillborn(followed, began=claim(folder) != NOBODY)
        else:
            self._stillborn = 0
        del self._open[followed.job.trial]
        self._ended.append((followed.job, outcome_of(followed.job, seen, self._study)))

    def _count_stillborn(self, followed: _Open, *, began: bool) -> None:
        """Give up where jobs fail one after another before their trials begin."""
        dead = followed.seen is not None and followed.seen.state == "FAILED" and not began
        self._stillborn = self._stillborn + 1 if dead else 0
        if self._stillborn >= min(STILLBORN, self.slots):
            raise LaunchError(
                f"{self._stillborn} jobs in a row failed before their trials began; the last, "
                f"{followed.id}:\n{log_tail(followed.job.folder, self._study)}",
                where="launch.slurm",
                hint=f"the logs lie in {self._study / FOLDER}; look at launch.slurm.setup and "
                "launch.slurm.python, and whether the nodes see the study's folder",
            )

    def _note_outage(self, said: str) -> None:
        if not self.outage:
            self._say(f"SLURM does not answer, waiting: {said}")
        self.outage = said

    def _patiently(self, call: Callable[[], T]) -> T:
        """Ask until the controller answers."""
        while True:
            try:
                return call()
            except NoAnswerError as error:
                self._note_outage(str(error))
                self._sleep(SETTLED_AFTER_S)
            except RefusedError as error:
                raise LaunchError(str(error), where="launch.slurm") from error


def _in_background(call: Callable[[], T]) -> Future[T]:
    """Call in a thread that does not hold up the end of the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
