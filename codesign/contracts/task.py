"""What is searched over: a model family, and the same on one data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from codesign.contracts.costs import BestSystem, CostPart, Costs, HardwareSpec, PredictionColumns
from codesign.contracts.plan import PlanRequest
from codesign.contracts.trials import Outcome, Progress
from codesign.contracts.values import Columns, Design, Knob, Metric


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

    def step_parts_ms(self, predictor: Any, design: Design) -> Mapping[str, float]:
        """Predict the median milliseconds of each part of a training step.

        Called only with a predictor of the family's own.
        """

    def best_systems(
        self,
        predictor: Any,
        columns: Columns,
        *,
        confidence: float,
        budgets: Mapping[str, float],
    ) -> Sequence[BestSystem]:
        """Choose for each design the system that trains it in the fewest GPU-hours in the budgets.

        The devices are those of the hardware, or one of its `counts`. The global batch stays as it
        is; nothing is chosen that changes what a trial of the design measures. Where no system
        keeps the budgets, the one least beyond is chosen.

        Args:
            predictor: what the family's `predictor` returned.
            confidence: of each end of the intervals, in (0.5, 1).
            budgets: metric of source `predicted` → limit, held by the worse end of its interval.
        """

    def examples(self, design: Design) -> float:
        """Count the examples that training the design sees at most, all passes together."""

    def plan(
        self, design: Design, request: PlanRequest, *, say: Callable[[str], None]
    ) -> Mapping[str, Any]:
        """Choose the system to train a design on, and predict what it takes there.

        Returns:
            Plain values. `best` and the entries of `by_devices` (the best for each number of
            devices) hold `devices`, `batch_per_device`, settings of `train`, `predicted`: name →
            fields of `Prediction`, `within_budgets` and `tightest`; `parts_ms` and
            `memory_parts_gib` say what the best one's step consists of, `pf_days` what all
            examples take.

        Raises:
            ConfigError: the device or a choice is unknown, or the family plans no systems.
            InfeasibleError: no system is within the budgets.
        """

    def cost_parts(self, design: Design) -> Sequence[CostPart]:
        """Count one design part by part; the parts add up to its costs."""

    @property
    def schema(self) -> Any:
        """What the family's cost models know of the data."""

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
        until: float = 1.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Train one design.

        `TEST_LOSSES` in `folder`, float32 (N,), says what each test example adds to the log loss,
        whose mean they have (nat): the same examples in the same order for every trial, or evenly
        spread ones of them. From it the report compares designs example by example.

        Args:
            folder: for the curve, checkpoints and `TEST_LOSSES`.
            earlier: the folders of attempts that ended without a result or paused, to be
                continued from what they left.
            until: share of the full training at which to pause, in (0, 1]; below 1 is asked of a
                `Pausable` task alone. What is measured there must not change how the training
                goes on: it ends as one that never paused.
            stop: says whether to save what another run can go on from, and to return soon, with
                the failure `preempted`; to be asked every few seconds. Of several processes that
                train together, any may be the one that it says so to.
        """


@runtime_checkable
class Pausable(Protocol):
    """A task whose `run` can pause."""

    def discard(self, attempts: Sequence[Path]) -> None:
        """Remove what attempts that paused have left to be continued from.

        Args:
            attempts: their folders, of one trial.
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
