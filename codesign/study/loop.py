"""The loop of a study: ask, launch, collect, record, until the trials are done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from codesign.contracts import Design, Executor, Job, Outcome, Pausable, Proposer, TrialKind
from codesign.errors import LaunchError, StudyError
from codesign.spec.problem import Problem, complete_baseline
from codesign.study.attempts import attempt_file, created, job_of, processes_of, smaller_plan
from codesign.study.findings import designs_to_search, planned_trials, to_confirm
from codesign.study.folder import (
    StudyFolder,
    earlier_attempts,
    read_json_if_whole,
    read_resolved_spec,
    write_json,
)
from codesign.study.halving import last_resort, next_share, promotion
from codesign.study.outcomes import checked
from codesign.study.proposals import next_design
from codesign.study.requests import received
from codesign.study.snapshot import Snapshot
from codesign.study.spending import used_up
from codesign.study.state import StudyState, Trial, apply, fold
from codesign.study.store import EventKind, Store
from codesign.study.view import View, Watcher

POLL_S = 0.2
# Trials are created for so long at most before what happens elsewhere is looked at.
LAUNCH_FOR_S = 5.0
RETRIED = ("node", "preempted")


class StudyLoop:
    """Runs one study to its end; everything it decides follows from the store and the spec.

    Args:
        watch: called with a `View` a few times a second, less often where there are many trials.
        say: called with a line for a person.
        now: seconds since the epoch, for the record only.
        clock: seconds that are never set back, for durations.
    """

    def __init__(
        self,
        problem: Problem,
        folder: StudyFolder,
        store: Store,
        executor: Executor,
        proposer: Proposer,
        *,
        watch: Callable[[View], None],
        say: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._problem = problem
        self._folder = folder
        self._store = store
        self._executor = executor
        self._proposer = proposer
        self._watcher = Watcher(problem.spec, folder, executor, watch, now=now)
        self._say = say
        self._now = now
        self._clock = clock
        self._began = clock()
        self._snapshot = Snapshot(folder.snapshot, store)
        self.state = fold(store.events())

    def run(self, provenance: Mapping[str, Any]) -> StudyState:
        """Train until the spec's trials, and then its confirming runs, have ended.

        Raises:
            LaunchError: too many trials failed with a bug; the message holds the last traceback.
            StudyError: the record is gone, and trials are there.
            TakenOverError: another process goes on with the study; nothing more may be written.
        """
        self._require_record()
        adopted = self._adopted()
        self._obey()  # What nobody was there to obey; a request to stop ends with this run.
        facts = dict(self._problem.task.facts())
        study = read_resolved_spec(self._folder).get("study")
        self._record(
            "opened", None, {"study": study, "provenance": dict(provenance), "facts": facts}
        )
        self._show()
        self._resume(adopted)
        while self.state.stopping != "stop now":
            self._launch()
            self._snapshot.refresh()
            if not self.state.open_trials:
                break
            for job, outcome in self._executor.poll(POLL_S):
                self._ended(job, outcome)
            self._obey()
            self._show()
        if self.state.stopping == "stop now":
            self._cancel(trial for trial in self.state.open_trials if trial.status == "running")
        self._discard()
        self._watcher.show(self.state)
        return self.state

    @property
    def queued(self) -> int:
        """Trials in a cluster's queue, whose jobs go on without this loop."""
        return len(self._watcher.queue.jobs)

    def _discard(self) -> None:
        """Let go of what paused trials left, once the study is over: none of them trains on."""
        task = self._problem.task
        if self.state.stopping or self.stopped_by() or not isinstance(task, Pausable):
            return
        for trial in self.state.trials.values():
            if trial.reached and trial.status != "completed":
                latest = self._folder.attempt(trial.number, trial.attempt)
                task.discard([latest, *earlier_attempts(latest)])

    def _require_record(self) -> None:
        """A trial's folder is made after its event: without any event, the record was lost."""
        if not self.state.events and self._folder.attempt(0, 1).exists():
            raise StudyError(
                "has lost its record: there are trials, yet neither store nor snapshot has events",
                where=str(self._folder.path),
                hint=f"put a copy of {self._folder.store.name} or {self._folder.snapshot.name} "
                "there, or begin anew in another folder with --study",
            )

    def save(self) -> None:
        """Bring the snapshot up to date, whenever it was written last."""
        self._snapshot.write()

    def _show(self) -> None:
        self._store.require_mine()
        self._snapshot.refresh()
        self._watcher.refresh(self.state)

    def _obey(self) -> None:
        """Do what other processes asked for: the event first, then its consequences."""
        for path, request in received(self._folder, say=self._say):
            running = [t for t in self.state.open_trials if t.status == "running"]
            if request.id not in self.state.requests:
                queue = self._watcher.queue.jobs
                held_s = {str(n): queue[n].seconds for n in request.trials if n in queue}
                self._record("requested", None, {**asdict(request), "held_s": held_s})
                self._cancel(trial for trial in running if trial.number in request.trials)
                self._say(f"as requested: {request.effect}")
            path.unlink(missing_ok=True)

    def _cancel(self, trials: Iterable[Trial]) -> None:
        for trial in trials:
            self._executor.cancel(self._job(trial))

    def _adopted(self) -> set[int]:
        """Take over what an earlier loop submitted; return the trials whose jobs go on."""
        running = [trial for trial in self.state.open_trials if trial.status == "running"]
        found = {job.trial for job in self._executor.adopt([self._job(each) for each in running])}
        queued = self._watcher.queue.jobs
        if gone := [queued[t.number].job for t in running if t.number in queued.keys() - found]:
            self._say(
                f"warning: jobs that an earlier loop left in a queue are not found; their trials "
                f"run again: {', '.join(gone)}"
            )
        return found

    def _resume(self, adopted: Collection[int]) -> None:
        """Collect what finished while no loop ran, go on with what still runs, start the rest."""
        for trial in self.state.open_trials:
            if not self._collected(trial) and trial.number not in adopted:
                self._submit(trial, lost=trial.lost)

    def _collected(self, trial: Trial) -> bool:
        """Record how the latest attempt of a trial ended, if it left a result."""
        job = self._job(trial)
        mine = trial.status == "running" and _token(job) == trial.token
        outcome = job.outcome() if mine else None
        if outcome is None:
            return False
        self._ended(job, outcome)
        return True

    def _launch(self) -> None:
        until_s = self._clock() + LAUNCH_FOR_S
        while len(self.state.open_trials) < self._executor.slots and self._clock() < until_s:
            if not self._create():
                return

    def _create(self) -> bool:
        """Create and submit one more trial; False where none is due yet."""
        if self.state.stopping or self._used_up():
            return False
        searched = self.state.searched
        due = designs_to_search(self.state, self._problem.spec)
        if (trial := promotion(self.state, self._problem.spec)) is not None:
            self._submit(trial)
            return True
        if len(searched) < due and not self.state.exhausted:
            baseline = complete_baseline(self._problem)
            if baseline is not None and not any(t.kind == "baseline" for t in searched):
                self._add("baseline", baseline)
                return True
            design = next_design(self._problem, self._proposer, self.state)
            if design is not None:
                self._add("search", design)
                return True
            self._record("exhausted", None, {})
        if any(trial.kind != "confirm" for trial in self.state.open_trials):
            return False
        if (trial := last_resort(self.state, self._problem.spec)) is not None:
            self._submit(trial)
            return True
        for trial in self._unconfirmed():
            self._add("confirm", trial.design, of=trial.number)
            return True
        return False

    def stopped_by(self) -> str:
        """Say which of the study's own budgets kept it from its planned trials; empty: none."""
        spec = self._problem.spec
        due = len(self.state.trials) < planned_trials(self.state, spec)
        return self._used_up() if due or promotion(self.state, spec) is not None else ""

    def _used_up(self) -> str:
        wall_s = self.state.earlier_s + self._clock() - self._began
        return used_up(
            self.state, self._problem.spec.study_budgets, wall_s, self._watcher.queue.jobs
        )

    def _unconfirmed(self) -> list[Trial]:
        """Trials that still need a confirming run."""
        seeds = self._problem.spec.search.confirm.seeds
        return [
            trial
            for trial in to_confirm(self.state, self._problem.spec)
            if len(self.state.confirming(trial.number)) < seeds
        ]

    def _add(self, kind: TrialKind, design: Design, of: int | None = None) -> None:
        number = len(self.state.trials)
        self._record("created", number, created(self._problem, number, kind, design, of))
        self._submit(self.state.trials[number])

    def _submit(
        self,
        trial: Trial,
        *,
        lost: int = 0,
        seconds: float | None = None,
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        attempt, token = self._folder.new_attempt(trial.number, trial.attempt), uuid.uuid4().hex
        folder = self._folder.attempt(trial.number, attempt)
        # First the record: a loop that lost the study launches nothing.
        plan = plan or {}
        processes = processes_of(self._problem.spec, plan.get("system", trial.system))
        payload = {"attempt": attempt, "token": token, "lost": lost, "processes": processes,
                   "seconds": seconds, **plan}  # fmt: skip
        self._record("submitted", trial.number, payload)
        trial = self.state.trials[trial.number]
        write_json(folder / "trial.json", attempt_file(self._problem, trial))
        self._executor.submit(self._job(trial))

    def _job(self, trial: Trial) -> Job:
        return job_of(self._problem.spec, self._folder, trial)

    def _ended(self, job: Job, outcome: Outcome) -> None:
        trial = self.state.trials[job.trial]
        lost = trial.lost + outcome.facts.get("starts", 1)
        retry = outcome.failure in RETRIED and lost < self._problem.spec.launch.attempts
        if job.attempt != trial.attempt or not trial.open:
            return
        if retry:
            self._say(f"trial {trial.number} goes on: {outcome.failure}: {outcome.reason}")
            self._submit(trial, lost=lost, seconds=outcome.seconds)
            return
        if (plan := smaller_plan(self._problem, trial, outcome)) is not None:
            self._submit(trial, lost=trial.lost, seconds=outcome.seconds, plan=plan)
            return
        outcome = checked(outcome, trial, self._problem.spec.objectives)
        payload = {
            "token": trial.token,
            "metrics": dict(outcome.metrics),
            "failure": outcome.failure,
            "reason": outcome.reason,
            "facts": dict(outcome.facts),
            "seconds": outcome.seconds,
        }
        kind: EventKind = "completed" if outcome.failure is None else "failed"
        share = next_share(trial, self._problem.spec.search.fidelity)
        if outcome.failure is None and outcome.share < 1 and share < 1:
            kind, payload["share"] = "reached", share
        self._record(kind, job.trial, payload)
        if outcome.failure == "bug":
            self._stop_on_bugs(outcome)

    def _stop_on_bugs(self, outcome: Outcome) -> None:
        bugs = [t for t in self.state.trials.values() if t.failure == "bug"]
        limit = self._problem.spec.launch.max_bugs
        if len(bugs) >= limit:
            raise LaunchError(
                f"{len(bugs)} trials failed with a bug (launch.max_bugs is {limit}); the last:\n"
                + str(outcome.facts.get("traceback", outcome.reason)),
                where=str(self._folder.path),
                hint=outcome.facts.get("refusal", {}).get("hint")
                or f"the logs lie in {self._folder.path}/trials/*/attempt-*/log.txt",
            )

    def _record(self, kind: EventKind, trial: int | None, payload: Mapping[str, Any]) -> None:
        elapsed_s = self._clock() - self._began
        event = self._store.append(kind, trial, payload, time=self._now(), elapsed_s=elapsed_s)
        self.state = apply(self.state, event)


def _token(job: Job) -> Any:
    """Return the token of the result that lies in the folder of an attempt."""
    return read_json_if_whole(job.folder / "result.json").get("token")
