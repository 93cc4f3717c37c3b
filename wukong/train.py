"""Trains one Wukong model on one prepared data set; keeps the best weights on validation.

On the CPU, the same seed and thread count give bit-identical results. B examples of a batch.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from wukong import metrics
from wukong.evaluate import Evaluation, Predictions, evaluate, example_losses, predict
from wukong.learner import Best, Learner
from wukong.model import Wukong, first_norm_input_std
from wukong.train_config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wukong.data.batch import Batch
    from wukong.data.dataset import DataSet
    from wukong.schema import InputSchema
    from wukong.shape import WukongConfig

__all__ = ["TrainConfig", "TrainProgress", "TrainResult", "train"]

# Both losses above this many times what a constant reaches, at this many evaluations in a row.
DIVERGED_NORMALIZED_ENTROPY = 1.5
DIVERGED_EVALUATIONS = 2
# Steps between two looks at whether the loss is still a number.
FINITE_CHECK_STEPS = 100
# Below this share of sqrt(ln_eps), a layer norm hands on less than a tenth of its unit variance.
SWALLOWED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """One line of the curve: where the run is and how good it is there.

    Attributes:
        examples: trained on so far; `total_examples` if the run is not stopped early.
        train_log_loss: mean over the labels since the evaluation before, as the loss weighs them.
        validation_auc, validation_log_loss: of several tasks, the means.
        by_task: `auc.TASK` and `log_loss.TASK` on validation; empty where there is one task.
        lr: the dense part's learning rate at the last step.
        seconds: since the run began, evaluations included.
    """

    step: int
    examples: int
    total_examples: int
    train_log_loss: float
    validation_auc: float
    validation_log_loss: float
    lr: float
    seconds: float
    by_task: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run, all measured.

    Attributes:
        diverged: the run was given up; `reason` says why, and nothing was evaluated.
        validation, test: quality of the weights that were best on validation; `model` holds them.
        test_losses: of each test example, or of evenly spread ones, with the test log loss for
            their mean (see `wukong.evaluate.example_losses`); None where the run diverged.
        best_step: the step after which the weights were best; 0 where the run diverged.
        examples_seen: training examples, counted in each pass.
        examples_per_s: of the training steps alone, without set-up and evaluations.
        train_seconds: the whole run, from building the model to the last evaluation.
        warnings: what a person should know about this run.
    """

    diverged: bool
    reason: str
    validation: Evaluation | None
    test: Evaluation | None
    best_step: int
    steps: int
    examples_seen: int
    examples_per_s: float
    train_seconds: float
    warnings: list[str]
    model: Wukong = field(repr=False, compare=False)
    test_losses: np.ndarray | None = field(default=None, repr=False, compare=False)


def train(
    model_config: WukongConfig,
    schema: InputSchema,
    data: DataSet,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path | None = None,
    report: Callable[[TrainProgress], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train, evaluate and return; divergence is a value of the result, not an error.

    A run has diverged when a loss or a logit is not finite, or when at two evaluations in a row
    the training log loss since the last one *and* the validation log loss are above 1.5 times
    the entropy of the base rate (of several tasks: the mean loss, and the largest entropy). A
    constant prediction reaches 1, and overfitting raises the validation loss alone, so only a
    broken descent gets there.

    Args:
        seed: decides the initial weights, the order of the examples and dropout. torch's global
            generator is left as it was.
        folder: receives `curve.jsonl`, one line per evaluation; None writes nothing.
        report: called after every evaluation.
        clock: seconds.

    Raises:
        ConfigError: settings that cannot be together.
        DataError: a split cannot be judged by a task's labels, or not by `monitor`.
        MissingPackageError: the table backend needs a package that does not load.
    """
    with _threads(config.threads), torch.random.fork_rng(devices=[]):
        run = _Run(model_config, schema, data, config, seed=seed, clock=clock)
        with _curve(folder) as write:
            for progress in run.evaluations():
                write(progress)
                if report:
                    report(progress)
        return run.result()


class _Run:
    """One training run, from the first step to its result."""

    def __init__(
        self,
        model_config: WukongConfig,
        schema: InputSchema,
        data: DataSet,
        config: TrainConfig,
        *,
        seed: int,
        clock: Callable[[], float],
    ) -> None:
        self._data, self._config, self._seed, self._clock = data, config, seed, clock
        self._started = clock()
        whole, rest = divmod(data.rows("train"), config.batch_size)
        self._steps_per_pass = whole + (rest > 1)
        self._learner = Learner(
            model_config,
            schema,
            config,
            steps=config.passes * self._steps_per_pass,
            seed=seed,
            task_weights=[task.weight for task in data.tasks],
        )
        self._best = Best(self._learner, config.monitor)
        self._divergence = _Divergence([task.base_rate for task in data.tasks])
        self._warnings = _initial_warnings(self._learner.model, data)
        self._step_seconds = 0.0

    def evaluations(self) -> Iterator[TrainProgress]:
        """Train to the end, yielding every evaluation; ends early where there is no point."""
        segment_started = self._clock()
        for batch in self._batches():
            self._learner.step(batch)
            due = self._is_due(self._learner.steps)
            if not due and self._learner.steps % FINITE_CHECK_STEPS:
                continue
            self._step_seconds += self._clock() - segment_started
            if self._divergence.at_step(self._learner.log_loss(), self._learner.steps):
                return
            if due:
                yield from self._evaluate()
                if self._divergence.reason or self._is_over():
                    return
            segment_started = self._clock()

    def result(self) -> TrainResult:
        """Restore the best weights, evaluate them on the test split, and sum up the run."""
        reason = self._divergence.reason
        predictions = None
        if not reason:
            self._best.restore()
            predictions = self._predict("test")
            if predictions is None:
                reason = "a logit of the test split is not finite"
        return TrainResult(
            diverged=bool(reason),
            reason=reason,
            validation=None if reason else self._best.evaluation,
            test=None if predictions is None else self._judge(predictions),
            test_losses=None if predictions is None else example_losses(predictions),
            best_step=0 if reason else self._best.step,
            steps=self._learner.steps,
            examples_seen=self._learner.examples,
            examples_per_s=self._learner.examples / max(self._step_seconds, 1e-9),
            train_seconds=self._clock() - self._started,
            warnings=self._warnings,
            model=self._learner.model,
        )

    def _batches(self) -> Iterator[Batch]:
        size = self._config.batch_size
        for pass_index in range(self._config.passes):
            batches = self._data.batches(
                "train", size, shuffle=True, seed=self._seed, pass_index=pass_index
            )
            # A last batch of a single example is left out: batch norm finds no variance in it.
            yield from islice(batches, self._steps_per_pass)

    def _is_due(self, step: int) -> bool:
        """Whether one of the pass's evaluations, evenly spaced, comes after this step."""
        per_pass, steps = self._config.evals_per_pass, self._steps_per_pass
        return step * per_pass // steps > (step - 1) * per_pass // steps

    def _evaluate(self) -> Iterator[TrainProgress]:
        """Measure the present weights on validation; nothing where a logit is not finite."""
        learner = self._learner
        train_log_loss, lr = learner.log_loss(), learner.lr
        learner.forget_log_loss()
        predictions = self._predict("validation")
        evaluation = None if predictions is None else self._judge(predictions)
        self._divergence.at_evaluation(train_log_loss, evaluation, learner.steps)
        if evaluation is None:
            return
        learner.schedule.after_evaluation(self._best.offer(evaluation))
        yield TrainProgress(
            step=learner.steps,
            examples=learner.examples,
            total_examples=self._config.passes * self._data.rows("train"),
            train_log_loss=train_log_loss,
            validation_auc=evaluation["auc"],
            validation_log_loss=evaluation["log_loss"],
            lr=lr,
            seconds=self._clock() - self._started,
            by_task={
                name: value
                for name, value in evaluation.figures.items()
                if name.startswith(("auc.", "log_loss."))
            },
        )

    def _predict(self, split: str) -> Predictions | None:
        """Predict with the present weights; None where a logit is not finite."""
        predictions = predict(self._learner.model, self._data, split, self._config.eval_batch_size)
        return predictions if np.isfinite(predictions.logit_NT).all() else None

    def _judge(self, predictions: Predictions) -> Evaluation:
        return evaluate(predictions, self._data.tasks)

    def _is_over(self) -> bool:
        patience = self._config.early_stop_patience
        return bool(patience) and self._best.stale_evaluations >= patience


class _Divergence:
    """Decides whether a run has diverged; see `train` for the rule."""

    def __init__(self, base_rates: Sequence[float]) -> None:
        self.reason = ""
        self._limit = DIVERGED_NORMALIZED_ENTROPY * max(map(metrics.entropy, base_rates))
        self._bad_evaluations = 0

    def at_step(self, train_log_loss: float, step: int) -> bool:
        """Look at the mean training loss so far; return whether the run has diverged."""
        if not math.isfinite(train_log_loss):
            self.reason = f"the training log loss is {train_log_loss} at step {step}"
        return bool(self.reason)

    def at_evaluation(
        self, train_log_loss: float, evaluation: Evaluation | None, step: int
    ) -> None:
        """Look at one evaluation; None stands for logits that are not finite."""
        if evaluation is None:
            self.reason = f"a validation logit is not finite at step {step}"
            return
        bad = min(train_log_loss, evaluation["log_loss"]) > self._limit
        self._bad_evaluations = self._bad_evaluations + 1 if bad else 0
        if self._bad_evaluations == DIVERGED_EVALUATIONS:
            self.reason = (
                f"log loss {train_log_loss:.3g} in training and {evaluation['log_loss']:.3g} on "
                f"validation at step {step}, evaluation {DIVERGED_EVALUATIONS} in a row "
                f"above {self._limit:.3g}, {DIVERGED_NORMALIZED_ENTROPY} times a constant's"
            )


def _initial_warnings(model: Wukong, data: DataSet) -> list[str]:
    """Look at the untrained model through the first examples."""
    batch = next(data.batches("train", 1024, shuffle=False))
    model.eval()
    std, epsilon_root = first_norm_input_std(model, batch), math.sqrt(model.config.ln_eps)
    model.train()
    if std >= SWALLOWED_SHARE * epsilon_root:
        return []
    warning = (
        f"the first layer norm's input has standard deviation {std:.2g}, far below the root of "
        f"ln_eps, {epsilon_root:.2g}: the first FMB starts switched off; raise table_init_std "
        f"({model.config.table_init_std:g}) or lower ln_eps ({model.config.ln_eps:g})"
    )
    return [warning]


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _curve(folder: Path | None) -> Iterator[Callable[[TrainProgress], None]]:
    """Write one JSON line per evaluation to `curve.jsonl`, at once, so that others can follow."""
    if folder is None:
        yield lambda _: None
        return
    with (folder / "curve.jsonl").open("w", encoding="utf-8", buffering=1) as lines:
        yield lambda progress: print(json.dumps(asdict(progress)), file=lines)
