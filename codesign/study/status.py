"""How a study stands: who runs it, what its trials do, what went wrong."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codesign.contracts import Queued, Value
from codesign.report.content import Savings
from codesign.study.findings import best_finding, findings, planned_trials
from codesign.study.halving import savings
from codesign.study.lock import Owner, owner_of
from codesign.study.queue import read_queue
from codesign.study.recorded import RecordedStudy
from codesign.study.spending import gpu_hours
from codesign.study.state import Trial
from codesign.study.view import said_by

LoopState = Literal["running", "silent", "dead", "none"]


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A trial under way, or waiting in a cluster's queue.

    Attributes:
        share: of its work, 0 to 1, as it said last; None: it has said nothing yet.
        left_s: seconds until it ends, at the pace so far.
        metrics: *measured*, the latest it said.
        queued: where its job stood when the loop last looked; None: it is in no queue.
    """

    trial: int
    attempt: int
    share: float | None
    left_s: float | None
    metrics: Mapping[str, float]
    design: Mapping[str, Value]
    queued: Queued | None = None

    @property
    def waits(self) -> bool:
        """Whether no node runs it."""
        return self.queued is not None and not self.queued.nodes


@dataclass(frozen=True, kw_only=True)
class FailedTrial:
    """A trial that failed, with the kind and its line."""

    trial: int
    failure: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The best design so far.

    Attributes:
        metrics: *measured* ones, exact costs, and `predicted_…` ones.
        system: that was chosen for it; empty: the study's own settings.
    """

    trial: int
    metrics: Mapping[str, float]
    confirmed: bool | None
    system: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """How a study stands, as of its snapshot.

    Attributes:
        loop: `running`; `silent`: held by a process on another host whose heartbeat does not move;
            `dead`: its process ended without a word; `none`: nothing runs.
        owner: who runs it, or ran it last and died.
        objectives: their names.
        trials: status → how many; `running` are those that had begun where nothing runs any more.
        warm_start: earlier study → how many of its trials the proposer knows.
        planned: trials in all, confirming runs included, as far as is known.
        gpu_hours: *measured*: hours of all attempts, each times its processes.
        gpu_hours_limit: `budgets.study_gpu_hours`.
        left_s: seconds until all have ended, at the pace so far; None: unknown, or nothing runs.
        savings: what pausing at rungs has saved; None where every design trains in full.
        outage: since when and why nothing can be known of the queue; empty: all is well.
        event: number of the latest event; `time` of it in seconds since the epoch, for people.
    """

    study: str
    folder: Path
    loop: LoopState
    owner: Owner | None
    objectives: tuple[str, ...]
    trials: Mapping[str, int]
    warm_start: Mapping[str, int]
    planned: int
    gpu_hours: float
    gpu_hours_limit: float | None
    left_s: float | None
    savings: Savings | None
    event: int
    time: float | None
    best: BestTrial | None
    running: tuple[RunningTrial, ...]
    outage: str
    failures: tuple[FailedTrial, ...]

    @property
    def ended(self) -> int:
        """How many trials have ended, whichever way."""
        return sum(self.trials.values()) - len(self.running) - self.trials.get("pending", 0)

    @property
    def failed(self) -> dict[str, int]:
        """Kind of failure → how many trials ended so."""
        return dict(Counter(each.failure for each in self.failures))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "folder": str(self.folder),
            "ended": self.ended,
            "failed": self.failed,
        }


def status_of(study: RecordedStudy) -> StudyStatus:
    """Put a status together; takes a few seconds where the heartbeat of another host is watched."""
    owner, life = owner_of(study.folder.path)
    loop: LoopState = "none"
    if owner is not None:
        states: dict[str, LoopState] = {"alive": "running", "dead": "dead", "unknown": "silent"}
        loop = states[life]
    trials = study.state.trials.values()
    planned, queue = planned_trials(study.state, study.spec), read_queue(study.folder)
    running = tuple(
        running_trial(trial, said_by(study.folder, trial), queue.jobs.get(trial.number))
        for trial in trials
        if trial.status == "running"
    )
    at_work = sum(not trial.waits for trial in running)
    best = best_finding(findings(study.state, study.spec), study.spec)
    return StudyStatus(
        study=study.spec.name,
        folder=study.folder.path,
        loop=loop,
        owner=owner,
        objectives=tuple(objective.name for objective in study.spec.objectives),
        trials=dict(Counter(trial.status for trial in trials)),
        warm_start={each.name: len(each.observations) for each in study.state.earlier},
        planned=planned,
        gpu_hours=gpu_hours(study.state, queue=queue.jobs),
        gpu_hours_limit=study.spec.study_budgets.study_gpu_hours,
        left_s=_left_s(study, planned, at_work) if loop == "running" else None,
        savings=savings(study.state, study.spec),
        event=study.state.events,
        time=study.state.ended,
        best=None if best is None else BestTrial(
            trial=best.trial.number,
            metrics={**best.metrics, **best.trial.predicted},
            confirmed=best.confirmed,
            system=best.trial.system,
        ),
        running=running,
        outage=queue.outage,
        failures=tuple(
            FailedTrial(trial=trial.number, failure=trial.failure, reason=trial.reason)
            for trial in trials
            if trial.failure is not None
        ),
    )  # fmt: skip


def running_trial(
    trial: Trial, said: Mapping[str, Any], queued: Queued | None = None
) -> RunningTrial:
    """Say how a trial under way stands.

    Args:
        said: what its `progress.json` holds; empty: nothing yet.
    """
    share = min(1.0, said["done"] / said["total"]) if said.get("total") else None
    return RunningTrial(
        trial=trial.number,
        attempt=trial.attempt,
        share=share,
        left_s=said["seconds"] * (1 - share) / share if share and "seconds" in said else None,
        metrics=said.get("metrics", {}),
        design=trial.awake,
        queued=queued,
    )


def _left_s(study: RecordedStudy, planned: int, running: int) -> float | None:
    trials = study.state.trials.values()
    took = [trial.seconds for trial in trials if trial.seconds is not None]
    left = planned - sum(not trial.open for trial in trials)
    return statistics.median(took) * left / max(running, 1) if took else None
