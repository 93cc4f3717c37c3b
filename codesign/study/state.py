"""The state of a study: a pure fold over its events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from codesign.contracts import (
    Design,
    FailureKind,
    Goal,
    Observation,
    TrialKind,
    TrialStatus,
    Value,
)
from codesign.study.store import Event

Stopping = Literal["", "stop", "stop now"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One design with one seed, and what became of it.

    Attributes:
        of: for a confirming run, the trial whose design it repeats.
        attempt, token: the latest attempt (0: none yet), and the token its result must carry.
        lost: how often it began and was lost, requeued starts of one attempt among them.
        processes: that train it together in its latest attempt; 0: another study's did.
        began_s: when that attempt began, on the clock of `StudyState.wall_s`.
        device_s: seconds of all attempts that ended, each times its processes.
        reached: share of the full training, below 1 → metrics *measured* there.
        examples: that the full training sees at most; None: not recorded.
        ended: number of the event that ended it: the order in which trials ended.
        costs: exact counts; metrics: measured; predictions: fields of `Prediction` by metric.
        system: chosen for it (see `PredictedCosts.foreseen`); empty: the study's own settings.
        outgrown: the `system` and `predictions` under which it ran out of memory before it was
            given these, and the `reason`; None: it did not.
        misses: predicted budgets that it may break, each with its metric's goal.
        asleep: knobs of the design whose condition does not hold.
    """

    number: int
    kind: TrialKind
    design: Design
    seed: int
    costs: Mapping[str, float]
    predictions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    outgrown: Mapping[str, Any] | None = None
    misses: Mapping[str, Goal] = field(default_factory=dict)
    of: int | None = None
    asleep: Sequence[str] = ()
    status: TrialStatus = "pending"
    attempt: int = 0
    token: str = ""
    lost: int = 0
    processes: int = 1
    began_s: float = 0.0
    device_s: float = 0.0
    ended: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    reached: Mapping[float, Mapping[str, float]] = field(default_factory=dict)
    examples: float | None = None
    failure: FailureKind | None = None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def open(self) -> bool:
        """Whether an attempt at it still has to end."""
        return self.status in ("pending", "running")

    @property
    def may_go_on(self) -> bool:
        """Whether it may still train."""
        return self.open or self.status == "paused"

    @property
    def share(self) -> float:
        """The share of the full training that its latest figures rest on; 0: it has none."""
        return 1.0 if self.status == "completed" else max(self.reached, default=0.0)

    @property
    def awake(self) -> dict[str, Value]:
        """The knobs of the design that are in effect."""
        return {name: value for name, value in self.design.items() if name not in self.asleep}

    @property
    def predicted(self) -> dict[str, float]:
        """The medians of what was predicted of it, by the names of predicted objectives."""
        return {f"predicted_{name}": found["value"] for name, found in self.predictions.items()}

    def system_train(self, processes: int) -> Mapping[str, Any]:
        """Return the settings of its system, where that was chosen for so many processes."""
        return self.system["train"] if self.system.get("devices") == processes else {}

    @property
    def system_settings(self) -> dict[str, Any]:
        """Its system as one table: `devices`, and the settings chosen with them."""
        if not self.system:
            return {}
        return {"devices": self.system["devices"], **self.system["train"]}

    @property
    def rerun(self) -> str:
        """One line of the system that it ran out of memory under, for people; empty: none."""
        if self.outgrown is None:
            return ""
        system, reason = self.outgrown["system"], self.outgrown["reason"]
        settings = ", ".join(f"{k} {v}" for k, v in system["train"].items())
        on = f"devices {system['devices']}" + (f", {settings}" if settings else "")
        return f"ran out of memory under another plan before ({on}): {reason}"

    def device_s_at(self, wall_s: float, held_s: float | None = None) -> float:
        """Seconds that it has held devices, its present attempt among them.

        Args:
            held_s: seconds of that attempt; None: it has run since it was submitted.
        """
        if self.status != "running":
            return self.device_s
        return self.device_s + self.processes * (
            wall_s - self.began_s if held_s is None else held_s
        )

    @cached_property
    def observations(self) -> tuple[Observation, ...]:
        """What a proposer may know of it: how it ended, and where it paused on the way."""
        found = [
            Observation(design=self.design, metrics={**self.costs, **metrics}, fidelity=share)
            for share, metrics in self.reached.items()
        ]
        if self.ended is not None:
            metrics = {**self.costs, **self.metrics} if self.status == "completed" else {}
            # A cancelled trial says as little of its design as one that was preempted.
            cancelled = "cancelled" in (self.status, self.failure)
            failure = "preempted" if cancelled else self.failure
            found.append(Observation(design=self.design, metrics=metrics, failure=failure))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class EarlierStudy:
    """What a warm start has read of another study.

    Attributes:
        name: of the task that its observations belong to, unique in this study.
        folder: where it was read, for people.
        observations: its trials as designs of this study's space.
        left_out: reason → how many of its trials were not used.
    """

    name: str
    folder: str
    observations: tuple[Observation, ...]
    left_out: Mapping[str, int]

    @property
    def told(self) -> str:
        """One line of what was read, for people."""
        why = "; ".join(f"{count} left out: {reason}" for reason, count in self.left_out.items())
        read = f"{len(self.observations)} trials of {self.name}"
        return f"{read} ({why})" if why else read


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """All trials by number, and the payload of the latest `opened` event.

    Attributes:
        earlier: the studies that a warm start has read.
        exhausted: no feasible design was left to propose.
        requests: ids of the requests that were obeyed.
        stopping: how the loop was asked to stop, if it was.
        extended_to: designs to search in all, as the latest request says; 0: none does.
        events: how many there are; started, ended: time of the first and of the latest event.
        wall_s: seconds that a loop ran, all runs together; earlier_s: all runs but the latest.
    """

    trials: Mapping[int, Trial] = field(default_factory=dict)
    opened: Mapping[str, Any] = field(default_factory=dict)
    earlier: tuple[EarlierStudy, ...] = ()
    exhausted: bool = False
    requests: frozenset[str] = frozenset()
    stopping: Stopping = ""
    extended_to: int = 0
    events: int = 0
    started: float | None = None
    ended: float | None = None
    wall_s: float = 0.0
    earlier_s: float = 0.0

    def of_kind(self, *kinds: TrialKind) -> list[Trial]:
        """The trials of some kinds, by number."""
        return [trial for trial in self.trials.values() if trial.kind in kinds]

    @cached_property
    def searched(self) -> tuple[Trial, ...]:
        """The trials of the search, the baseline among them, by number."""
        return tuple(self.of_kind("baseline", "search"))

    @cached_property
    def open_trials(self) -> tuple[Trial, ...]:
        """The trials that still have to end, by number."""
        return tuple(trial for trial in self.trials.values() if trial.open)

    def confirming(self, number: int) -> list[Trial]:
        """The confirming runs that repeat a trial."""
        return self._confirming.get(number, [])

    @cached_property
    def _confirming(self) -> Mapping[int | None, list[Trial]]:
        """Trial → the confirming runs that repeat it."""
        runs: dict[int | None, list[Trial]] = {}
        for run in self.of_kind("confirm"):
            runs.setdefault(run.of, []).append(run)
        return runs


def fold(events: Iterable[Event]) -> StudyState:
    """Compute the state from all events."""
    state = StudyState()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: StudyState, event: Event) -> StudyState:
    """Compute the state after one more event."""
    started = event.time if state.started is None else state.started
    earlier_s = state.wall_s if event.kind == "opened" else state.earlier_s
    state = dataclasses.replace(
        state,
        events=event.number,
        started=started,
        ended=event.time,
        earlier_s=earlier_s,
        wall_s=max(state.wall_s, earlier_s + event.elapsed_s),
    )
    if event.kind == "exhausted":
        return dataclasses.replace(state, exhausted=True)
    if event.kind == "requested":
        return _obeyed(state, event)
    if event.kind == "warm_started":
        return dataclasses.replace(state, earlier=(*state.earlier, _earlier(event.payload)))
    if event.kind == "opened" or event.trial is None:
        return dataclasses.replace(state, opened=event.payload, stopping="")
    if event.kind == "created":
        trial = Trial(number=event.trial, **event.payload)
    else:
        trial = _changed(state.trials[event.trial], event, state.wall_s)
    return dataclasses.replace(state, trials={**state.trials, event.trial: trial})


def _earlier(payload: Mapping[str, Any]) -> EarlierStudy:
    name = payload["name"]
    observations = [Observation(task=name, **fields) for fields in payload["observations"]]
    return EarlierStudy(
        name=name,
        folder=payload["folder"],
        observations=tuple(observations),
        left_out=payload["left_out"],
    )


def _obeyed(state: StudyState, event: Event) -> StudyState:
    request = event.payload
    state = dataclasses.replace(state, requests=state.requests | {request["id"]})
    if request["ask"] == "cancel":
        held_s = request.get("held_s", {})
        cancelled = {
            number: dataclasses.replace(
                trial,
                status="cancelled",
                reason="cancelled on request",
                device_s=trial.device_s_at(state.wall_s, held_s.get(str(number))),
                ended=event.number,
            )
            for number in request["trials"]
            if (trial := state.trials.get(number)) is not None and trial.may_go_on
        }
        return dataclasses.replace(state, trials={**state.trials, **cancelled})
    if request["ask"] == "extend":
        return dataclasses.replace(state, extended_to=request["total"])
    return dataclasses.replace(state, stopping=request["ask"])


def _on_another_system(trial: Trial, payload: Mapping[str, Any]) -> Trial:
    """Keep what it ran out of memory under beside what it is given instead."""
    outgrown = {
        "system": trial.system,
        "predictions": trial.predictions,
        "reason": payload["outgrown"],
    }
    return dataclasses.replace(
        trial, system=payload["system"], predictions=payload["predictions"], outgrown=outgrown
    )


def _changed(trial: Trial, event: Event, wall_s: float) -> Trial:
    payload = event.payload
    # The worker, or a cluster, knows better than the loop, which looks now and then.
    device_s = trial.device_s_at(wall_s, payload.get("seconds"))
    if event.kind == "submitted":
        return dataclasses.replace(
            _on_another_system(trial, payload) if "outgrown" in payload else trial,
            status="running",
            attempt=payload["attempt"],
            token=payload["token"],
            lost=payload["lost"],
            processes=payload.get("processes", 1),
            began_s=wall_s,
            device_s=device_s,
        )
    if not trial.open or payload["token"] != trial.token:
        return trial  # An orphan's late result: the attempt it belongs to no longer counts.
    seconds = payload["seconds"]
    # Of all attempts that have led to where it stands.
    seconds = (
        None if seconds is None else seconds + ((trial.seconds or 0.0) if trial.reached else 0.0)
    )
    if event.kind == "reached":
        return dataclasses.replace(
            trial,
            status="paused",
            reached={**trial.reached, payload["share"]: payload["metrics"]},
            facts=payload["facts"],
            seconds=seconds,
            device_s=device_s,
        )
    return dataclasses.replace(
        trial,
        status="completed" if event.kind == "completed" else "failed",
        metrics=payload["metrics"],
        failure=payload["failure"],
        reason=payload["reason"],
        facts=payload["facts"],
        seconds=seconds,
        device_s=device_s,
        ended=event.number,
    )
