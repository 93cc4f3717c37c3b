"""The spec as the program sees it: frozen, complete, hashable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codesign.contracts import Design, HardwareSpec, Objective, Value
from codesign.predicted import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        step: distance of neighbouring levels (linear scale).
        log: levels are spread evenly in the logarithm.
        points: how many levels, where no `step` says so.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    points: int | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A list of values; numbers are ordered, words are not."""

    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One entry of `space`.

    Attributes:
        levels: what it may be.
        when: it is searched only where each of these knobs has one of these values.
        otherwise: its value elsewhere; None: its first level.
        by_layer: each layer has a value of its own.
        taper: factors; each layer's value is the one's before times the factor.
    """

    levels: Range | Choice
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    otherwise: Value | None = None
    by_layer: bool = False
    taper: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which data set, and where it is."""

    source: str
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConfirmSpec:
    """Retrain the `top` designs of the front with `seeds` fresh seeds each; 0: do not."""

    top: int = 0
    seeds: int = 3


@dataclass(frozen=True, kw_only=True)
class FidelitySpec:
    """Train every design a part of the way, and only the best of them further.

    Attributes:
        rungs: shares of the full training at which a design pauses, rising, each in (0, 1).
        keep: share of those that reached a rung that train on, in (0, 1).
    """

    rungs: tuple[float, ...]
    keep: float = 0.33

    @property
    def shares(self) -> tuple[float, ...]:
        """Where a design stands one after another: the rungs, and the full training."""
        return (*self.rungs, 1.0)

    @property
    def expected_share(self) -> float:
        """The share of its full training that a design sees on average, in (0, 1)."""
        steps = zip(self.shares, (0.0, *self.rungs), strict=True)
        return sum(self.keep**i * (share - before) for i, (share, before) in enumerate(steps))


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """How many designs to train, and who proposes them.

    Attributes:
        explore_infeasible: share of trials that are near misses: designs that keep the predicted
            budgets by the better ends of the intervals alone, in [0, 0.5].
        fidelity: None: every design trains in full.
        warm_start: folders of earlier studies whose trials the proposer learns from.
    """

    trials: int = 20
    proposer: str = "known_cost"
    options: Mapping[str, Value] = field(default_factory=dict)
    confirm: ConfirmSpec = field(default_factory=ConfirmSpec)
    explore_infeasible: float = 0.0
    fidelity: FidelitySpec | None = None
    warm_start: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyBudgets:
    """Bounds on the study itself; None: none.

    Attributes:
        trials: designs searched, the baseline among them.
        wall_hours: hours that the study has run, all its runs together, after which none starts.
        study_gpu_hours: hours of its attempts, each times its processes, all its runs together.
    """

    trials: int | None = None
    wall_hours: float | None = None
    study_gpu_hours: float | None = None


def study_budget_names() -> frozenset[str]:
    """Return the keys of `budgets` that bound the study and not a design."""
    return frozenset(field.name for field in dataclasses.fields(StudyBudgets))


def cost_budgets(budgets: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries of `budgets` that bound a cost of a design."""
    others = {*study_budget_names(), "confidence"}
    return {name: limit for name, limit in budgets.items() if name not in others}


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """Where trials run.

    Attributes:
        workers: trials at a time; None: the executor chooses.
        processes: that train one trial together; at most, where they are planned.
        timeout_min: a trial that takes longer is ended and counts as failed.
        attempts: how many workers a trial may lose before it counts as failed.
        max_bugs: the study stops once that many trials failed with a traceback.
        system: `planned`: each trial has the devices and the system that suit it best (see
            `HardwareSpec.counts`).
        slurm: options of the executor of that name (see `launch.slurm.Options`).
    """

    executor: str = "local"
    workers: int | None = None
    processes: int = 1
    timeout_min: float | None = None
    attempts: int = 3
    max_bugs: int = 3
    system: str = "given"
    slurm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> Mapping[str, Any]:
        """The section that has the executor's name."""
        return self.slurm if self.executor == "slurm" else {}


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """One study: a space, its budgets, what is better, and how to look for it.

    Attributes:
        model, train: fixed settings of the task; `model["name"]` names the task.
        budgets: bounds on exact and predicted costs: the most, or the least of what is to be
            maximized.
        hardware: the device that costs are predicted for; None: none is.
        confidence: with which predicted costs keep their bounds.
        baseline: the design that relative log loss refers to; trained first.
        tracking: tracker → its options.
        source: the YAML text it was read from.
        overrides: what replaced values of that text, each `section.key=value`.
    """

    name: str
    data: DataSpec
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    space: Mapping[str, Parameter]
    budgets: Mapping[str, float]
    objectives: tuple[Objective, ...]
    baseline: Design | None
    search: SearchSpec
    launch: LaunchSpec
    seed: int
    hardware: HardwareSpec | None = None
    confidence: float = CONFIDENCE
    study_budgets: StudyBudgets = StudyBudgets()
    tracking: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The YAML text with its overrides as comments: what a reader of a report has to see."""
        return "\n".join([self.source.rstrip(), *(f"# --set {line}" for line in self.overrides)])

    def to_json(self) -> dict[str, Any]:
        """Return the resolved spec as plain values, without its YAML text."""
        fields = dataclasses.asdict(self)
        del fields["source"]
        return fields

    def identity(self) -> dict[str, Any]:
        """Return what must not change within a study: all but how long and where it runs."""
        fields = self.to_json()
        del fields["launch"], fields["tracking"]
        del fields["overrides"]  # What they change stands in the values.
        del fields["data"]["path"]  # Where the data are may change; what they are may not.
        del fields["search"]["trials"]
        del fields["search"]["confirm"]
        del fields["study_budgets"]
        for objective in fields["objectives"]:
            del objective["predicted"]  # It follows from the metric.
        if self.search.fidelity is None:
            del fields["search"]["fidelity"]
        if not self.search.explore_infeasible:
            del fields["search"]["explore_infeasible"]
        if not self.search.warm_start:
            del fields["search"]["warm_start"]
        if self.hardware is None:  # Nothing is predicted, so these decide nothing.
            del fields["hardware"], fields["confidence"]
        else:
            del fields["hardware"]["price_per_hour"]
            if self.hardware.system == "given":
                del fields["hardware"]["system"]
            if not self.hardware.counts:
                del fields["hardware"]["counts"]
        return fields

    @property
    def trials(self) -> int:
        """Designs to search, the baseline among them."""
        return min(self.search.trials, self.study_budgets.trials or self.search.trials)

    @property
    def hash(self) -> str:
        """A short hash of `identity`."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class DesignFile:
    """A single design with all it takes to train it again: the content of `best.yaml`."""

    data: DataSpec
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    design: Design
    seed: int
    path: Path | None = None
