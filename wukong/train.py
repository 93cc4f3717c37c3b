"""Trains one model on one prepared data set; keeps the best weights on validation.

On the CPU, the same seed and thread count give bit-identical results. B examples of a batch.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from wukong.checkpoint.folders import fingerprint
from wukong.checkpoint.run_state import RunState
from wukong.checkpoint.saver import Saver, State
from wukong.curve import TrainProgress, curve_file
from wukong.device.compute import pick_device, products_in, torch_threads
from wukong.device.heap import give_back_garbage, kept_heap
from wukong.device.memory import ExpectedMemory, PeakMeter, refuse_what_does_not_fit
from wukong.divergence import Divergence
from wukong.evaluate import Evaluation, evaluate, example_losses, predict
from wukong.learner import Best, Learner
from wukong.model import Wukong, initial_warnings
from wukong.parallel.looks import Looks
from wukong.parallel.ranks import Ranks
from wukong.parallel.sharding import whole_weights
from wukong.passes import Passes
from wukong.train_config import NOT_OF_RESULT, TrainConfig
from wukong.train_result import TrainResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wukong.data.dataset import DataSet
    from wukong.embeddings import Cluster
    from wukong.learner import Builder
    from wukong.schema import InputSchema
    from wukong.shape import WukongConfig

__all__ = ["TrainConfig", "TrainProgress", "TrainResult", "train"]

# Steps between two looks at whether the loss is still a number, and a checkpoint due.
FINITE_CHECK_STEPS = 100


def train(
    model: WukongConfig | Builder,
    schema: InputSchema,
    data: DataSet,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path | None = None,
    earlier: Sequence[Path] = (),
    until: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[TrainProgress], None] | None = None,
    expected: ExpectedMemory | None = None,
    cluster: Cluster | None = None,
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

    With `until` below 1 the run pauses after that share of its steps (at least one): the weights
    there are judged on validation, which the run does not learn from (no best weights, no plateau),
    and its checkpoint stays in `folder`. The same call without `until`, or with a larger one,
    goes on from there. A run that would have ended before, early or diverged, ends.

    Told to `stop`, the run saves a checkpoint in `folder` after the step at which it looks next,
    and returns; the same call goes on from there.

    Args:
        model: the shape of a Wukong, or what builds another model (see `wukong.learner`).
        seed: decides the initial weights, the order of the examples and dropout. torch's global
            generator is left as it was.
        folder: receives `curve.jsonl`, one line per evaluation, and while the run lasts a
            checkpoint every `checkpoint_min` minutes; None writes nothing.
        earlier: folders of earlier attempts at this run, whose checkpoints may be continued; they
            are removed once this attempt has one of its own, or has ended.
        until: share of the steps after which the run pauses, in (0, 1]; 1: it does not.
        stop: asked every few seconds while it trains, on each rank; any of them stops the run.
        report: called after every evaluation, on rank 0.
        expected: what the run is predicted to hold; None: nothing is known, or checked.
        cluster: what the planner of fused tables is to know of devices and links.
        clock: seconds.

    Raises:
        ConfigError: settings that cannot be together.
        DoesNotFitError: `config.memory_check`, and what is expected does not fit into memory.
        DataError: a split cannot be judged by a task's labels, or not by `monitor`.
        MissingPackageError: the table backend needs a package that does not load.
    """
    device = pick_device(config.device)
    gpus = [device] if device.type == "cuda" else []
    with (
        torch_threads(config.threads),
        kept_heap(),
        products_in(config.precision, device),
        torch.random.fork_rng(devices=gpus),
    ):
        give_back_garbage()  # of earlier runs: it is neither lacking nor part of this one's peak
        ranks = Ranks.present(device)
        if expected is not None and config.memory_check:
            refuse_what_does_not_fit(expected, ranks)
        run = _Run(
            model, schema, data, config,
            seed=seed, until=until, stop=stop, ranks=ranks, cluster=cluster, clock=clock,
        )  # fmt: skip
        every_min = config.checkpoint_min
        with Saver(
            folder, earlier, run=run.fingerprint, ranks=ranks, every_min=every_min, clock=clock
        ) as saver:
            run.continue_from(saver)
            with curve_file(folder if ranks.is_first else None, run.curve) as write:
                for progress in run.evaluations(saver):
                    write(progress)
                    if report and ranks.is_first:
                        report(progress)
            result = run.result()
            if result.paused or result.stopped:
                saver.pause(run.state())
            else:
                saver.remove()
        return replace(result, warnings=[*result.warnings, *saver.warnings])


class _Judged(NamedTuple):
    """How good predictions are; of the test split, with the loss of each example."""

    evaluation: Evaluation
    losses: np.ndarray | None


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
        until: float,
        stop: Callable[[], bool],
        ranks: Ranks,
        cluster: Cluster | None,
        clock: Callable[[], float],
    ) -> None:
        self._data, self._config, self._clock = data, config, clock
        self._ranks = ranks
        self._started = clock()
        self._memory = PeakMeter(ranks)
        self._passes = Passes(data, config, ranks, seed=seed, until=until)
        self._learner = Learner(
            model,
            schema,
            config,
            steps=self._passes.steps,
            seed=seed,
            task_weights=[task.weight for task in data.tasks],
            ranks=ranks,
            cluster=cluster,
        )
        self._best = Best(self._learner, config.monitor)
        self._divergence = Divergence([task.base_rate for task in data.tasks])
        self._state = RunState(self._learner, self._best, self._divergence, ranks=ranks, seed=seed)
        self._warnings = self._initial_warnings()
        self._looks = Looks(stop, ranks)
        self._stopped = False
        self._step_seconds = 0.0
        self._resumed_at_step = 0
        self._latest: Evaluation | None = None
        self.curve: list[TrainProgress] = []
        settings = asdict(config)
        of_result = {name: settings[name] for name in settings if name not in NOT_OF_RESULT}
        of_data = schema.to_json(), dict(data.source_md5), data.rows("train")
        self.fingerprint = fingerprint(repr(model), of_result, seed, *of_data)

    def evaluations(self, saver: Saver) -> Iterator[TrainProgress]:
        """Train to the end, yielding every evaluation; ends early where there is no point."""
        self._memory.steps_begin()
        segment_started = self._clock()
        passes = self._passes
        for batch in self._learner.ahead(passes.batches(self._learner.steps)):
            self._learner.step(batch)
            due = passes.is_judged(self._learner.steps)
            last = self._learner.steps == passes.last_step
            told = self._looks.at_step() and not last
            look = due or last or told
            if not look and self._learner.steps % FINITE_CHECK_STEPS:
                continue
            self._step_seconds += self._clock() - segment_started
            if self._divergence.at_step(self._learner.log_loss(), self._learner.steps):
                return
            if due:
                yield from self._evaluate()
                if self._divergence.reason or self._is_over():
                    return
            if told:
                self._stopped = True
                return
            if saver.is_due():
                saver.save(self.state())
            segment_started = self._clock()
        if self._pauses and (self._latest is None or not passes.is_judged(self._learner.steps)):
            yield from self._judge_pause()

    def result(self) -> TrainResult:
        """Sum up the run; unless it pauses, restore the best weights and evaluate them on test."""
        reason, test, paused = self._divergence.reason, None, self._pauses
        if not reason and not paused and not self._stopped:
            self._best.restore()
            test = self._judged("test")
            if test is None:
                reason = "a logit of the test split is not finite"
        return TrainResult(
            diverged=bool(reason),
            paused=paused,
            stopped=self._stopped,
            reason=reason,
            validation=None if reason else self._latest if paused else self._best.evaluation,
            test=None if test is None else test.evaluation,
            test_losses=None if test is None else test.losses,
            best_step=0 if reason else self._best.step,
            steps=self._learner.steps,
            examples_seen=self._learner.examples,
            examples_per_s=self._learner.examples / max(self._step_seconds, 1e-9),
            train_seconds=self._clock() - self._started,
            resumed_at_step=self._resumed_at_step,
            warnings=self._warnings,
            model=self._learner.model,
            memory=self._memory.peaks(),
        )

    def _initial_warnings(self) -> list[str]:
        model = self._learner.model
        if not isinstance(model, Wukong):
            return []
        first_batch = next(self._data.batches("train", 1024, shuffle=False))
        with whole_weights(model, model.layers[0]):
            return initial_warnings(model, first_batch.to(self._ranks.device))

    def _evaluate(self) -> Iterator[TrainProgress]:
        """Measure the present weights on validation; nothing where a logit is not finite."""
        learner = self._learner
        self._memory.steps_end()
        train_log_loss, lr = learner.log_loss(), learner.lr
        learner.forget_log_loss()
        judged = self._judged("validation")
        evaluation = None if judged is None else judged.evaluation
        self._divergence.at_evaluation(train_log_loss, evaluation, learner.steps)
        if evaluation is None:
            return
        self._latest = evaluation
        learner.schedule.after_evaluation(self._best.offer(evaluation))
        progress = self._progress(evaluation, train_log_loss, lr)
        self.curve.append(progress)
        yield progress

    def _judge_pause(self) -> Iterator[TrainProgress]:
        """Judge the weights where the run pauses; neither they nor the curve know of it."""
        learner = self._learner
        self._memory.steps_end()
        judged = self._judged("validation")
        if judged is None:
            self._divergence.at_evaluation(learner.log_loss(), None, learner.steps)
            return
        self._latest = judged.evaluation
        if not self.curve or self.curve[-1].step < learner.steps:
            yield self._progress(judged.evaluation, learner.log_loss(), learner.lr)

    def _progress(self, evaluation: Evaluation, train_log_loss: float, lr: float) -> TrainProgress:
        return TrainProgress.of(
            evaluation,
            step=self._learner.steps,
            examples=self._learner.examples,
            total_examples=self._passes.examples,
            train_log_loss=train_log_loss,
            lr=lr,
            seconds=self._clock() - self._started,
        )

    def _judged(self, split: str) -> _Judged | None:
        """Predict with the present weights, and judge; None where a logit is not finite."""
        batch_size = self._config.eval_batch_size
        found = predict(self._learner.logits, self._data, split, batch_size, self._ranks)

        def judged() -> _Judged | None:
            if not np.isfinite(found.logit_NT).all():
                return None
            losses = example_losses(found) if split == "test" else None
            return _Judged(evaluate(found, self._data.tasks), losses)

        return self._ranks.on_first(judged)

    def continue_from(self, saver: Saver) -> None:
        """Go to where the furthest checkpoint of this run stands, if any."""
        if found := saver.latest():
            loop = self._state.restore(saver, found)
            self.curve = [TrainProgress(**progress) for progress in loop["curve"]]
            self._started = self._clock() - loop["seconds"]
            self._step_seconds = loop["step_seconds"]
            self._resumed_at_step = self._learner.steps

    def state(self) -> State:
        """Return where the run stands, for `continue_from`."""
        loop = {
            "curve": [asdict(progress) for progress in self.curve],
            "seconds": self._clock() - self._started,
            "step_seconds": self._step_seconds,
        }
        return self._state.capture(loop)

    @property
    def _pauses(self) -> bool:
        """Whether the run stands where it is to pause, and would go on otherwise."""
        last = self._passes.last_step
        at_pause = last < self._passes.steps and self._learner.steps >= last
        return at_pause and not self._divergence.reason and not self._is_over()

    def _is_over(self) -> bool:
        patience = self._config.early_stop_patience
        return bool(patience) and self._best.stale_evaluations >= patience
