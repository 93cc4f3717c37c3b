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

TEST_LOSSES = "test_losses.npy"

Value = int | float | str | bool
Design = Mapping[str, Value]
Columns = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One thing a space may search over.

    Attributes:
        kind: `int`, `float`, `choice` (one of `choices`), `flag` (true or false), or `metric`
            (one of `choices`, or METRIC.TASK for one of the data's tasks).
        low, high: the values that make sense at all, both included (int and float).
        affects_cost: whether any exact cost depends on it.
        affects_prediction: whether any predicted cost does.
        counted_by: the knob that counts its layers, where each may have a value of its own.
    """

    kind: Literal["int", "float", "choice", "flag", "metric"]
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    affects_cost: bool = False
    affects_prediction: bool = False
    counted_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quantity that a study reports; see `codesign.metrics` for the names of one task's.

    Attributes:
        goal: which way is better.
        source: `learned` needs a training run; `exact` is counted before anything is launched,
            `predicted` by a cost model of the hardware, with an interval.
    """

    name: str
    unit: str
    goal: Literal["minimize", "maximize"]
    source: Literal["learned", "exact", "predicted", "measured"]
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


@dataclass(frozen=True, kw_only=True)
class HardwareSpec:
    """The device that costs are predicted for.

    Attributes:
        name: of a shipped device, or the path of a file.
        precision: of matrix products.
        latency_batch: examples of the forward pass whose latency is predicted, ≥ 1.
    """

    name: str
    precision: Literal["fp32", "tf32"] = "fp32"
    latency_batch: int = 256


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One predicted metric of one design; the true value is above `low` and below `high`, each
    with the confidence asked for.

    Attributes:
        value: the median.
        label: where the figures come from: cost model, device, and what it was fitted to.
    """

    value: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, kw_only=True)
class PredictionColumns:
    """One predicted metric of N designs: as `Prediction`, each array (N,) or (1,)."""

    value: np.ndarray[Any, Any]
    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]
    label: str

    def bound(self, goal: Literal["minimize", "maximize"]) -> np.ndarray[Any, Any]:
        """The end of the interval that a budget holds: the worse one."""
        return self.high if goal == "minimize" else self.low

    def __getitem__(self, row: int) -> Prediction:
        ends = {"value": self.value, "low": self.low, "high": self.high}
        figures = {end: float(v[row if len(v) > 1 else 0]) for end, v in ends.items()}
        return Prediction(**figures, label=self.label)


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


class Costs(Protocol):
    """What designs cost before anything is launched."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Name → what is known of a metric, costs among them."""

    def costs(self, columns: Columns) -> dict[str, np.ndarray]:
        """Count exactly, design by design: `gflop_per_example`, `parameters`, `table_bytes`, …"""

    @property
    def cost_floor(self) -> Callable[[Columns, Columns], dict[str, np.ndarray]] | None:
        """Bound what budgets hold over boxes of designs, `low` ≤ design ≤ `high` by knob.

        The bound is from below, or from above where a metric is to be maximized. Exact where `low`
        equals `high`. Only ordered knobs may differ. None: no bound is known, and counting a design
        takes milliseconds (see `codesign.counted`).
        """


class Task(Costs, Protocol):
    """What is searched over: a model family on one prepared data set."""

    knobs: Mapping[str, Knob]

    def check(self, design: Design) -> list[str]:
        """Say what is wrong with a complete design (an empty list: nothing)."""

    def check_metric(self, name: str) -> list[str]:
        """Say why the data cannot have a learned metric of the family (an empty list: they can)."""

    def settings(self, design: Design) -> Mapping[str, Any]:
        """Everything that decides what a trial of the design measures, defaults filled in.

        What may differ by layer is a tuple, one value for each layer.
        """

    def predict(
        self, predictor: Any, low: Columns, high: Columns, *, confidence: float
    ) -> Mapping[str, PredictionColumns]:
        """Predict the family's metrics of source `predicted`, for one device.

        Over boxes of designs, as in `cost_floor`, each figure is the best that any design of a box
        could have: the least, or the greatest of a metric that is to be maximized.

        Args:
            predictor: what the family's `predictor` returned.
            confidence: of each end of the intervals, in (0.5, 1).
        """

    def cost_parts(self, design: Design) -> Sequence[CostPart]:
        """Count one design part by part; the parts add up to its costs."""

    def facts(self) -> Mapping[str, Any]:
        """Describe the data, plain JSON values.

        `source_md5` (file → checksum) says what the data are, and what the code of a model of one's
        own is; `data` what people call the data; `rows` how many each split has; `baseline` what a
        trivial predictor reaches: its `name`, `validation_auc`, `test_log_loss`, …; every other
        entry is shown as it is.
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

        `TEST_LOSSES` in `folder`, float32 (N,), says what each test example adds to the log loss,
        whose mean they have (nat): the same examples in the same order for every trial, or evenly
        spread ones of them. From it the report compares designs example by example.

        Args:
            folder: for the curve, checkpoints and `TEST_LOSSES`.
            earlier: the folders of attempts that ended without a result, to be continued from
                what they left.
        """


class TaskFamily(Protocol):
    """What stands behind a task's name: what is known of it before any data are there.

    Attributes:
        KNOBS: what a space may search over.
        SETTINGS: section (`model`, `train`) → all settings that may be fixed there, each with
            its knob; None: it has a form of its own, which `make` checks.
        SOURCES: names of data sources; a name with a colon, `package.module:function`, is code of
            the user's own, which `make` calls.
        METRICS: what may be an objective (learned, exact) or a budget (exact, predicted).
        NOT_YET_PREDICTED: metrics that are refused by name: no cost model predicts them.
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

    def predictor(self, hardware: HardwareSpec) -> Any:
        """Load what predicts costs on a device, for `Task.predict`.

        Called only where METRICS holds predicted ones.

        Raises:
            ConfigError: the device is unknown, or its files are missing or malformed.
        """


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
