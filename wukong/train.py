"""Trains one model on one prepared data set; keeps the best weights on validation.

On the CPU, the same seed and thread count give bit-identical results. B examples of a batch.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from wukong import checkpoint
from wukong.curve import TrainProgress, curve_file
from wukong.divergence import Divergence
from wukong.evaluate import Evaluation, Predictions, evaluate, example_losses, predict
from wukong.heap import kept_heap
from wukong.learner import Best, Learner
from wukong.model import Wukong, initial_warnings
from wukong.train_config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wukong.data.batch import Batch
    from wukong.data.dataset import DataSet
    from wukong.learner import Builder
    from wukong.schema import InputSchema
    from wukong.shape import WukongConfig

__all__ = ["TrainConfig", "TrainProgress", "TrainResult", "train"]

# Steps between two looks at whether the loss is still a number, and a checkpoint due.
FINITE_CHECK_STEPS = 100


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
        resumed_at_step: the step of the checkpoint that the run continued from; 0: of none.
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
    resumed_at_step: int
    warnings: list[str]
    model: nn.Module = field(repr=False, compare=False)
    test_losses: np.ndarray | None = field(default=None, repr=False, compare=False)


def train(
    model: WukongConfig | Builder,
    schema: InputSchema,
    data: DataSet,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path | None = None,
    earlier: Sequence[Path] = (),
    report: Callable[[TrainProgress], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train, evaluate and return; divergence is a value of the result, not an error.

    A run has diverged when a loss or a logit is not finite, or when at two evaluations in a row
    the training log loss since the last one *and* the validation log loss are above 1.5 times
    the entropy of the base rate (of several tasks: the mean loss, and the largest entropy). A
    constant prediction reaches 1, and overfitting raises the validation loss alone, so only a
    broken descent gets there.

    Where a checkpoint of the same run is found, it continues from there: on the CPU as if it had
    never been interrupted, to the bit.

    Args:
        model: the shape of a Wukong, or what builds another model (see `wukong.learner`).
        seed: decides the initial weights, the order of the examples and dropout. torch's global
            generator is left as it was.
        folder: receives `curve.jsonl`, one line per evaluation, and while the run lasts a
            checkpoint every `checkpoint_min` minutes; None writes nothing.
        earlier: folders of earlier attempts at this run, whose checkpoints may be continued; they
            are removed once this attempt has one of its own, or has ended.
        report: called after every evaluation.
        clock: seconds.

    Raises:
        ConfigError: settings that cannot be together.
        DataError: a split cannot be judged by a task's labels, or not by `monitor`.
        MissingPackageError: the table backend needs a package that does not load.
    """
    with _threads(config.threads), kept_heap(), torch.random.fork_rng(devices=[]):
        run = _Run(model, schema, data, config, seed=seed, clock=clock)
        if folder is not None:
            run.continue_from(folder, earlier)
        with curve_file(folder, run.curve) as write:
            for progress in run.evaluations(folder):
                write(progress)
                if report:
                    report(progress)
        result = run.result()
        if folder is not None:
            for place in (folder, *earlier):
                checkpoint.remove(place)
        return result


class _Run:
    """One training run, from the first step to its result."""

    def __init__(
        self,
        model: WukongConfig | Builder,
        schema: InputSchema,
        data: DataSet,
        config: TrainConfig,
        *,
        seed: int,
        clock: Callable[[], float],
    ) -> None:
        self._data, self._config, self._seed, self._clock = data, config, seed, clock
        self._started = self._saved = clock()
        whole, rest = divmod(data.rows("train"), config.batch_size)
        self._steps_per_pass = whole + (rest > 1)
        self._learner = Learner(
            model,
            schema,
            config,
            steps=config.passes * self._steps_per_pass,
            seed=seed,
            task_weights=[task.weight for task in data.tasks],
        )
        self._best = Best(self._learner, config.monitor)
        self._divergence = Divergence([task.base_rate for task in data.tasks])
        self._warnings: list[str] = []
        if isinstance(self._learner.model, Wukong):
            first_batch = next(data.batches("train", 1024, shuffle=False))
            self._warnings += initial_warnings(self._learner.model, first_batch)
        self._step_seconds = 0.0
        self._resumed_at_step = 0
        self._earlier: Sequence[Path] = ()
        self.curve: list[TrainProgress] = []
        self._fingerprint = checkpoint.fingerprint(
            repr(model),
            schema.to_json(),
            {**asdict(config), "checkpoint_min": None},
            seed,
            dict(data.source_md5),
            data.rows("train"),
        )

    def evaluations(self, folder: Path | None = None) -> Iterator[TrainProgress]:
        """Train to the end, yielding every evaluation; ends early where there is no point.

        Args:
            folder: receives a checkpoint now and then.
        """
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
            if folder is not None and self._is_unsaved_for_long():
                self._save(folder)
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
            resumed_at_step=self._resumed_at_step,
            warnings=self._warnings,
            model=self._learner.model,
        )

    def _batches(self) -> Iterator[Batch]:
        """Yield what is left of the run."""
        size = self._config.batch_size
        first_pass, first_batch = divmod(self._learner.steps, self._steps_per_pass)
        for pass_index in range(first_pass, self._config.passes):
            batches = self._data.batches(
                "train",
                size,
                shuffle=True,
                seed=self._seed,
                pass_index=pass_index,
                first_batch=first_batch,
            )
            # A last batch of a single example is left out: batch norm finds no variance in it.
            yield from islice(batches, self._steps_per_pass - first_batch)
            first_batch = 0

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
        progress = TrainProgress(
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
        self.curve.append(progress)
        yield progress

    def _predict(self, split: str) -> Predictions | None:
        """Predict with the present weights; None where a logit is not finite."""
        predictions = predict(self._learner.model, self._data, split, self._config.eval_batch_size)
        return predictions if np.isfinite(predictions.logit_NT).all() else None

    def _judge(self, predictions: Predictions) -> Evaluation:
        return evaluate(predictions, self._data.tasks)

    def continue_from(self, folder: Path, earlier: Sequence[Path]) -> None:
        """Go to where the furthest checkpoint of this run in these folders stands, if any."""
        state, complaints = checkpoint.latest([folder, *earlier], run=self._fingerprint)
        self._earlier = earlier
        if state is not None:
            self._load_state_dict(state)
        self._warnings += complaints

    def _is_unsaved_for_long(self) -> bool:
        every_s = 60 * self._config.checkpoint_min
        return bool(every_s) and self._clock() - self._saved >= every_s

    def _save(self, folder: Path) -> None:
        """Write a checkpoint; a full disk costs the checkpoint and not the run."""
        try:
            checkpoint.save(folder, self._state_dict(), run=self._fingerprint)
            for passed in self._earlier:
                checkpoint.remove(passed)
        except OSError as error:
            warning = f"no checkpoint at step {self._learner.steps}: {error}"
            self._warnings = [w for w in self._warnings if not w.startswith("no checkpoint")]
            self._warnings.append(warning)
        self._saved = self._clock()

    def _state_dict(self) -> dict[str, Any]:
        return {
            "steps": self._learner.steps,
            "learner": self._learner.state_dict(),
            "best": self._best.state_dict(),
            "divergence": self._divergence.state_dict(),
            "random": torch.get_rng_state(),
            "curve": [asdict(progress) for progress in self.curve],
            "seconds": self._clock() - self._started,
            "step_seconds": self._step_seconds,
        }

    def _load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._learner.load_state_dict(state["learner"])
        self._best.load_state_dict(state["best"])
        self._divergence.load_state_dict(state["divergence"])
        torch.set_rng_state(state["random"])
        self.curve = [TrainProgress(**progress) for progress in state["curve"]]
        self._started = self._clock() - state["seconds"]
        self._step_seconds = state["step_seconds"]
        self._resumed_at_step = self._learner.steps

    def _is_over(self) -> bool:
        patience = self._config.early_stop_patience
        return bool(patience) and self._best.stale_evaluations >= patience


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
