"""What every plug-in sees: frozen dataclasses and protocols. Standard library only.

A *design* is one value per knob. *Columns* are many designs at once: knob → array of values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

Value = int | float | str | bool
Design = Mapping[str, Value]
Columns = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One thing a space may search over.

    Attributes:
        kind: `int`, `float`, `choice` (one of `choices`) or `flag` (true or false).
        low, high: the values that make sense at all, both included (int and float).
        affects_cost: whether any exact cost depends on it.
        counted_by: the knob that counts its layers, where each may have a value of its own.
    """

    kind: Literal["int", "float", "choice", "flag"]
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    affects_cost: bool = False
    counted_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quantity that a study reports.

    Attributes:
        goal: which way is better.
        source: `learned` needs a training run; `exact` is counted before anything is launched.
    """

    name: str
    unit: str
    goal: Literal["minimize", "maximize"]
    source: Literal["learned", "exact", "measured"]
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a running trial says of itself: `done` of `total` examples and the latest figures."""

    done: float
    total: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CostPart:
    """One part of a design's exact cost.

    Attributes:
        layer: the first layer it is of, from 1; 0: it stands outside the layers.
        layers_alike: how many layers, `layer` and those after it, it stands for.
        flop_per_example: forward + backward.
    """

    name: str
    layer: int
    layers_alike: int
    flop_per_example: float
    parameters: float


FailureKind = Literal[
    "infeasible", "out_of_memory", "diverged", "timeout", "preempted", "node", "bug"
]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt of a trial ended.

    Attributes:
        metrics: name → value, all *measured* (e.g. `log_loss`, `test_auc`, `examples_per_s`).
        failure: None for a completed trial.
        reason: one line for a person, where the attempt failed.
        facts: anything else worth keeping (warnings, best step), plain JSON values. What stands
            under `chosen_train_settings` is written into `best.yaml`, so that training the design
            again repeats the result.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: FailureKind | None = None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Outcome:
        """Rebuild an outcome from a `result.json`, which holds a token and seconds besides."""
        return cls(**{name: v for name, v in fields.items() if name not in ("token", "seconds")})


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A finished trial as a proposer sees it. `metrics` is empty where `failure` is set."""

    design: Design
    metrics: Mapping[str, float]
    failure: FailureKind | None = None


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric to improve, with its direction and, optionally, its reference point."""

    metric: str
    goal: Literal["minimize", "maximize"]
    reference: float | None = None


class Task(Protocol):
    """What is searched over: a model family on one prepared data set."""

    knobs: Mapping[str, Knob]
    metrics: Mapping[str, Metric]

    def check(self, design: Design) -> list[str]:
        """Say what is wrong with a complete design (an empty list: nothing)."""

    def settings(self, design: Design) -> Mapping[str, Any]:
        """Everything that decides what a trial of the design measures, defaults filled in.

        What may differ by layer is a tuple, one value for each layer.
        """

    def costs(self, columns: Columns) -> dict[str, np.ndarray]:
        """Count exactly, design by design: `gflop_per_example`, `parameters`, `table_bytes`, …"""

    def cost_floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray]:
        """Bound the costs from below over boxes of designs, `low` ≤ design ≤ `high` by knob.

        Exact where `low` equals `high`. Only ordered knobs may differ.
        """

    def cost_parts(self, design: Design) -> Sequence[CostPart]:
        """Count one design part by part; the parts add up to its costs."""

    def facts(self) -> Mapping[str, Any]:
        """Describe the data, plain JSON values.

        `source_md5` (file → checksum) says what the data are; `data` what people call them; `rows`
        how many each split has; `baseline` what a trivial predictor reaches: its `name`,
        `validation_auc`, `test_log_loss`, …; every other entry is shown as it is.
        """

    def run(
        self,
        design: Design,
        *,
        seed: int,
        folder: Path,
        earlier: Sequence[Path],
        report: Callable[[Progress], None],
    ) -> Outcome:
        """Train one design.

        Args:
            folder: for curve and checkpoints.
            earlier: the folders of attempts that ended without a result, to be continued from
                what they left.
        """


class TaskFamily(Protocol):
    """The module behind a task's name: what is known of it before any data are there.

    Attributes:
        KNOBS: what a space may search over.
        SETTINGS: section (`model`, `train`) → all settings that may be fixed there, each with
            its knob; None: it has a form of its own, which `make` checks.
        SOURCES: names of data sources; a name with a colon, `package.module:function`, is code of
            the user's own, which `make` calls.
        METRICS: what may be an objective or, where exact, a budget.
        NOT_YET_PREDICTED: metrics that are refused by name until a cost model predicts them.
    """

    KNOBS: Mapping[str, Knob]
    SETTINGS: Mapping[str, Mapping[str, Knob | None]]
    SOURCES: Collection[str]
    METRICS: Mapping[str, Metric]
    NOT_YET_PREDICTED: Collection[str]

    def make(
        self, *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
    ) -> Task:
        """Prepare the data (or find it prepared) and bind the fixed settings to it."""


class Feasible(Protocol):
    """The designs that a study may launch: its space within its exact budgets.

    Attributes:
        levels: the lattice, every knob's allowed values in order (one value: fixed).
    """

    levels: Mapping[str, tuple[Value, ...]]

    def sample(self, n: int, rng: np.random.Generator) -> Columns:
        """Draw up to `n` distinct designs (fewer only where no more exist)."""

    def neighbours(self, design: Design) -> Columns:
        """All feasible designs that differ by one step of one knob."""

    def encode(self, columns: Columns) -> np.ndarray:
        """Features in [0, 1], shape (designs, features), float64."""

    def costs(self, columns: Columns) -> dict[str, np.ndarray]:
        """The exact costs of each design."""


class Proposer(Protocol):
    """Chooses what to train next. Everything it may know comes with the call."""

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """Propose up to `n` designs, none observed or pending; none where none is left."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt of one trial, handed to an executor: a folder and a time limit."""

    trial: int
    attempt: int
    folder: Path
    timeout_s: float | None = None


class Executor(Protocol):
    """Runs jobs somewhere. The payload is the path to the attempt's folder."""

    slots: int

    def submit(self, job: Job) -> None:
        """Start the job, or queue it."""

    def poll(self, wait_s: float = 0.0) -> Iterable[tuple[Job, Outcome]]:
        """Return the jobs that ended since the last call; wait up to `wait_s` for the first."""

    def cancel(self, job: Job) -> None:
        """End a job that was submitted; `poll` does not return it any more."""

    def close(self) -> None:
        """Stop what still runs and free everything; safe to call twice."""
