"""The loop of a study: ask, launch, collect, record, until the trials are done."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codesign.contracts import Design, Executor, Job, Outcome, Proposer
from codesign.designs import as_columns
from codesign.errors import LaunchError
from codesign.spec.problem import Problem, complete_baseline, task_section
from codesign.study.folder import StudyFolder, read_json, write_json
from codesign.study.results import planned_trials, to_confirm
from codesign.study.state import StudyState, Trial, TrialKind, apply, fold
from codesign.study.store import EventKind, Store

POLL_S = 0.2
RETRIED = ("node", "preempted")


@dataclass(frozen=True, kw_only=True)
class View:
    """What a watcher may show: the state, and what the running trials say of themselves."""

    state: StudyState
    planned: int
    running: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


class StudyLoop:
    """Runs one study to its end; everything it decides follows from the store and the spec.

    Args:
        watch: called a few times a second with a `View`.
        now: seconds since the epoch, for the record only.
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
        now: Callable[[], float] = time.time,
    ) -> None:
        self._problem = problem
        self._folder = folder
        self._store = store
        self._executor = executor
        self._proposer = proposer
        self._watch = watch
        self._now = now
        self.state = fold(store.events())

    def run(self, provenance: Mapping[str, Any]) -> StudyState:
        """Train until the spec's trials, and then its confirming runs, have ended.

        Raises:
            LaunchError: too many trials failed with a bug; the message holds the last traceback.
        """
        facts = dict(self._problem.task.facts())
        self._record("opened", None, {"provenance": dict(provenance), "facts": facts})
        self._watch(self._view())
        self._resume()
        while True:
            self._launch()
            if not self._running():
                break
            for job, outcome in self._executor.poll(POLL_S):
                self._ended(job, outcome)
            self._watch(self._view())
        self._watch(self._view())
        return self.state

    def _resume(self) -> None:
        """Collect what finished while no loop ran; start the rest again."""
        for trial in [t for t in self.state.trials.values() if t.open]:
            job = self._job(trial)
            if trial.status == "running" and self._result(job).get("token") == trial.token:
                self._ended(job, Outcome.from_json(self._result(job)))
            else:
                self._submit(trial, lost=trial.lost)

    def _launch(self) -> None:
        while self._running() < self._executor.slots:
            if not self._create():
                return

    def _create(self) -> bool:
        """Create and submit one more trial; False where none is due yet."""
        if self.is_over_time():
            return False
        searched = self.state.of_kind("baseline", "search")
        if len(searched) < self._problem.spec.trials and not self.state.exhausted:
            baseline = complete_baseline(self._problem)
            if baseline is not None and not self.state.of_kind("baseline"):
                self._add("baseline", baseline)
                return True
            design = self._propose()
            if design is not None:
                self._add("search", design)
                return True
            self._record("exhausted", None, {})
        if any(trial.open for trial in searched):
            return False
        for trial in self._unconfirmed():
            self._add("confirm", trial.design, of=trial.number)
            return True
        return False

    def is_over_time(self) -> bool:
        """Whether the study has run for its `budgets.wall_hours`."""
        wall_hours = self._problem.spec.study_budgets.wall_hours
        since_event_s = max(0.0, self._now() - (self.state.ended or self._now()))
        return wall_hours is not None and self.state.wall_s + since_event_s >= 3600 * wall_hours

    def _propose(self) -> Design | None:
        number = len(self.state.trials)
        searched = self.state.of_kind("baseline", "search")
        proposed = self._proposer.ask(
            self._problem.feasible,
            [trial.observation() for trial in searched if not trial.open],
            [trial.design for trial in searched if trial.open],
            1,
            np.random.default_rng([self._problem.spec.seed, number]),
        )
        return proposed[0] if proposed else None

    def _unconfirmed(self) -> list[Trial]:
        """Trials that still need a confirming run."""
        confirm = self._problem.spec.search.confirm
        started = [run.of for run in self.state.of_kind("confirm")]
        return [
            trial
            for trial in to_confirm(self.state, self._problem.spec)
            if started.count(trial.number) < confirm.seeds
        ]

    def _add(self, kind: TrialKind, design: Design, of: int | None = None) -> None:
        number = len(self.state.trials)
        costs = self._problem.task.costs(as_columns([dict(design)]))
        drawn = np.random.SeedSequence([self._problem.spec.seed, number])
        payload = {
            "kind": kind,
            "design": dict(design),
            # Fresh for every trial: a confirming run must not repeat the luck of its original.
            "seed": int(drawn.generate_state(1)[0]),
            "costs": {name: float(values[0]) for name, values in costs.items()},
            "predictions": self._problem.predictions(design),
            "of": of,
            "asleep": self._problem.space.asleep(design),
        }
        self._record("created", number, payload)
        self._submit(self.state.trials[number])

    def _submit(self, trial: Trial, *, lost: int = 0) -> None:
        attempt, token = trial.attempt + 1, uuid.uuid4().hex
        folder = self._folder.attempt(trial.number, attempt)
        write_json(
            folder / "trial.json",
            {
                "trial": trial.number,
                "attempt": attempt,
                "token": token,
                "task": task_section(self._problem.spec),
                "design": dict(trial.design),
                "seed": trial.seed,
                "costs": dict(trial.costs),
            },
        )
        self._record("submitted", trial.number, {"attempt": attempt, "token": token, "lost": lost})
        self._executor.submit(self._job(self.state.trials[trial.number]))

    def _job(self, trial: Trial) -> Job:
        timeout_min = self._problem.spec.launch.timeout_min
        return Job(
            trial=trial.number,
            attempt=trial.attempt,
            folder=self._folder.attempt(trial.number, trial.attempt).absolute(),
            timeout_s=None if timeout_min is None else timeout_min * 60,
        )

    def _ended(self, job: Job, outcome: Outcome) -> None:
        trial = self.state.trials[job.trial]
        lost = trial.lost + 1
        retry = outcome.failure in RETRIED and lost < self._problem.spec.launch.attempts
        if job.attempt != trial.attempt or not trial.open:
            return
        if retry:
            self._submit(trial, lost=lost)
            return
        outcome = self._checked(outcome, trial)
        seconds = self._result(job).get("seconds")
        payload = {
            "token": trial.token,
            "metrics": dict(outcome.metrics),
            "failure": outcome.failure,
            "reason": outcome.reason,
            "facts": dict(outcome.facts),
            "seconds": seconds,
        }
        kind: EventKind = "completed" if outcome.failure is None else "failed"
        self._record(kind, job.trial, payload)
        if outcome.failure == "bug":
            self._stop_on_bugs(outcome)

    def _checked(self, outcome: Outcome, trial: Trial) -> Outcome:
        """A trial completes only with a finite value of every objective."""
        if outcome.failure is not None:
            return outcome
        found = {**trial.costs, **outcome.metrics}
        names = [o.metric for o in self._problem.spec.objectives]
        missing = [name for name in names if name not in found]
        if missing:
            reason = f"the task reported no {', '.join(missing)}"
            return dataclasses.replace(outcome, failure="bug", reason=reason)
        # JSON has no NaN: a value that was not finite comes back as None.
        wild = [name for name in names if found[name] is None]
        if wild:
            reason = f"{', '.join(wild)} is not finite"
            return dataclasses.replace(outcome, failure="diverged", reason=reason)
        return outcome

    def _stop_on_bugs(self, outcome: Outcome) -> None:
        bugs = [t for t in self.state.trials.values() if t.failure == "bug"]
        limit = self._problem.spec.launch.max_bugs
        if len(bugs) >= limit:
            raise LaunchError(
                f"{len(bugs)} trials failed with a bug (launch.max_bugs is {limit}); the last:\n"
                + str(outcome.facts.get("traceback", outcome.reason)),
                where=str(self._folder.path),
                hint=f"the logs lie in {self._folder.path}/trials/*/attempt-*/log.txt",
            )

    def _result(self, job: Job) -> Mapping[str, Any]:
        path = job.folder / "result.json"
        result: Mapping[str, Any] = read_json(path) if path.exists() else {}
        return result

    def _record(self, kind: EventKind, trial: int | None, payload: Mapping[str, Any]) -> None:
        self.state = apply(self.state, self._store.append(kind, trial, payload, time=self._now()))

    def _running(self) -> int:
        return sum(trial.open for trial in self.state.trials.values())

    def _view(self) -> View:
        running = {}
        for trial in self.state.trials.values():
            if trial.status == "running":
                path = self._job(trial).folder / "progress.json"
                running[trial.number] = read_json(path) if path.exists() else {}
        planned = planned_trials(self.state, self._problem.spec)
        return View(state=self.state, planned=planned, running=running)
