"""Attempts of trials: what one reports, how it ended, and what runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from codesign.contracts.values import Design

TEST_LOSSES = "test_losses.npy"
# A design that a proposer chose, the one that was given, or a rerun on a fresh seed.
TrialKind = Literal["search", "baseline", "confirm"]
# Paused: trained a part of the way; it may yet train on.
TrialStatus = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
FailureKind = Literal[
    "infeasible", "out_of_memory", "diverged", "timeout", "preempted", "node", "cancelled", "bug"
]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a running trial says of itself: `done` of `total` examples and the latest figures."""

    done: float
    total: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt of a trial ended.

    Attributes:
        metrics: name → value, all *measured* (e.g. `log_loss`, `test_auc`, `examples_per_s`).
        share: of the full training that it has seen, in (0, 1]; below 1 the attempt paused there
            as it was asked to, and another can go on from what it left.
        failure: None for a completed trial.
        reason: one line for a person, where the attempt failed.
        facts: anything else worth keeping (warnings, best step), plain JSON values. What stands
            under `chosen_train_settings` is written into `best.yaml`, so that training the design
            again repeats the result. `memory` holds the peak of the run on the process with most,
            `measured_gib`, and where it was predicted `predicted_gib` with its `label`. `refusal`
            holds `what`, `where` and `hint` of an error that a person can mend. Of a job that
            failed on a cluster, `log_tail` holds the last lines of its logs, and `starts` how often
            it began, where that was more than once.
        seconds: that it held its devices, all starts of its job together; None: not known.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    share: float = 1.0
    failure: FailureKind | None = None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Outcome:
        """Rebuild an outcome from a `result.json`, which holds a token besides."""
        return cls(**{name: value for name, value in fields.items() if name != "token"})


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """A completed trial of a study, as far as its speed goes.

    Attributes:
        study: its folder, for messages; trial: its number there.
        design: the knobs in effect.
        settings: everything that decides what the trial measures, defaults filled in.
        schema: what the task's family knows of the data.
        device: what torch calls the device that it ran on, or `cpu`.
        processes: that trained it together.
        examples_per_s: of the training steps, waiting for data included.
    """

    study: str
    trial: int
    design: Design
    settings: Mapping[str, Any]
    schema: Any
    device: str
    processes: int
    examples_per_s: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt of one trial, handed to an executor: a folder and a time limit.

    Attributes:
        token: unique to the attempt; its result must carry it.
        processes: that run it together, ≥ 1.
        starts: how often a cluster may begin it, ≥ 1, where it can go on from a checkpoint.
    """

    trial: int
    attempt: int
    folder: Path
    timeout_s: float | None = None
    token: str = ""
    processes: int = 1
    starts: int = 1

    def outcome(self) -> Outcome | None:
        """Read the result of the attempt, if its worker wrote one."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        try:
            return Outcome.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            return Outcome(failure="node", reason=f"result.json cannot be read: {error}")


@dataclass(frozen=True, kw_only=True)
class Queued:
    """Where a job stands in a cluster's queue.

    Attributes:
        job: its id there, `123` or, in an array, `123_4`.
        state: as the cluster calls it: `PENDING`, `RUNNING`, ….
        reason: why it is in that state, as the cluster says it; may be empty.
        nodes: that run it; empty: none yet.
        starts: how often it has begun, requeued starts among them.
        seconds: that it has run, all starts together.
    """

    job: str
    state: str
    reason: str = ""
    nodes: str = ""
    starts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """What a study asks of an executor's module.

    Attributes:
        workers: jobs at a time; None: the executor chooses.
        processes: that run one job together at most, ≥ 1.
        options: the section of `launch` that has the executor's name.
        study: its folder; None: the jobs are no study's.
        name: of the study, for people.
        say: called with a line for a person.
    """

    workers: int | None = None
    processes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    study: Path | None = None
    name: str = ""
    say: Callable[[str], None] = print


class Executor(Protocol):
    """Runs jobs somewhere. The payload is the path to the attempt's folder.

    Attributes:
        slots: jobs at a time.
        outage: since when and why nothing can be known of the jobs, one line; empty: all is well.
    """

    slots: int
    outage: str

    def submit(self, job: Job) -> None:
        """Start the job, or queue it; several may be handed on together at the next `poll`."""

    def adopt(self, jobs: Sequence[Job]) -> Collection[Job]:
        """Take over jobs that an earlier process submitted, and return those that it has.

        Called once, before any other call. What became of a job that is returned, `poll` says in
        time, also where it has ended meanwhile. One that is not returned never began, or was lost
        with that process: nothing runs it any more, nor ever will.
        """

    def poll(self, wait_s: float = 0.0) -> Iterable[tuple[Job, Outcome]]:
        """Return the jobs that ended since the last call; wait up to `wait_s` for the first."""

    def cancel(self, job: Job) -> None:
        """End a job that this process or an earlier one submitted.

        Neither `poll` nor a later `adopt` returns it any more. Several may be ended together at the
        next `poll` or `close`.
        """

    def queue(self) -> Mapping[int, Queued]:
        """Return where open jobs stood at the last look, by trial; nothing where none queue."""

    def close(self) -> None:
        """Free everything; safe to call twice. Jobs that another process can adopt go on."""
