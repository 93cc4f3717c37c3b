"""One training step, and the best weights so far: what the training loop is made of.

B examples of a batch, T tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import ConfigError
from wukong.embeddings import TableOptimizer, build_tables
from wukong.model import Wukong
from wukong.optim import LearningRateSchedule, OptimizerLike, build_optimizer
from wukong.shape import WukongConfig, table_specs
from wukong.train_config import MAXIMIZED, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wukong.data.batch import Batch
    from wukong.evaluate import Evaluation
    from wukong.schema import InputSchema


class Learner:
    """A model with its optimizers: what one training step changes.

    Args:
        task_weights: of each task's loss, in the order of `schema.tasks`; empty: all alike.
        steps: of the whole run.
    """

    def __init__(
        self,
        model_config: WukongConfig,
        schema: InputSchema,
        config: TrainConfig,
        *,
        steps: int,
        seed: int,
        task_weights: Sequence[float] = (),
    ) -> None:
        table_optimizer = TableOptimizer(
            name=config.table_optimizer, lr=config.table_lr, l2=config.table_l2
        )
        self.tables = build_tables(
            config.table_backend,
            table_specs(model_config, schema),
            init_std=model_config.table_init_std,
            optimizer=table_optimizer,
            seed=seed,
        )
        # After the tables, so that every backend starts the dense part and dropout alike.
        torch.manual_seed(seed)
        self.model = Wukong(model_config, schema, self.tables)
        self._forward = torch.compile(self.model) if config.compile else self.model
        self.dense = _dense_state(self.model)
        self._trained = [w for w in self.dense.values() if isinstance(w, nn.Parameter)]
        self._clip_norm = config.clip_norm
        self._task_weights = task_weights if any(w != 1 for w in task_weights) else ()
        self._optimizers: list[OptimizerLike] = [
            build_optimizer("adam", self._trained, lr=config.dense_lr, l2=config.dense_l2)
        ]
        if self.tables.specs:
            self._optimizers.append(self.tables.optimizer())
        self.schedule = LearningRateSchedule(
            self._optimizers,
            steps=steps,
            warmup_steps=round(config.warmup_share * steps),
            decay_steps=round(config.decay_share * steps),
            plateau_factor=config.plateau_factor,
            plateau_patience=config.plateau_patience,
        )
        self.steps = self.examples = 0
        self._loss_sum = torch.zeros((), dtype=torch.float64)
        self._loss_weight = torch.zeros((), dtype=torch.float64)

    @property
    def lr(self) -> float:
        """The dense part's learning rate at the last step."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        self.schedule.before_step(self.steps)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        logit_BT = self._forward(batch)
        loss, weight = weighted_log_loss(logit_BT, batch, self._task_weights)
        loss.backward()
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self._trained, self._clip_norm)
        for optimizer in self._optimizers:
            optimizer.step()
        self._loss_sum += loss.detach() * weight
        self._loss_weight += weight
        self.steps += 1
        self.examples += len(batch)

    def log_loss(self) -> float:
        """Mean training log loss since `forget_log_loss`, weighted as the loss is."""
        weight = float(self._loss_weight)
        return float(self._loss_sum) / weight if weight else 0.0

    def forget_log_loss(self) -> None:
        """Start a new mean."""
        self._loss_sum.zero_()
        self._loss_weight.zero_()


def weighted_log_loss(
    logit_BT: Tensor, batch: Batch, task_weights: Sequence[float] = ()
) -> tuple[Tensor, Tensor]:
    """Mean log loss in nats over the observed labels, each as heavy as its example and task.

    Args:
        batch: its labels are NaN where they were not observed.
        task_weights: T numbers ≥ 0; empty: all alike.

    Returns:
        The mean, 0 where nothing was observed, and the sum of the weights; both scalars.

    Raises:
        ConfigError: where the logits are not one for each example and task.
    """
    label_BT = batch.label_BT
    if logit_BT.shape != label_BT.shape:
        raise ConfigError(
            f"the model's logits are {tuple(logit_BT.shape)}, the labels {tuple(label_BT.shape)}; "
            "both must be (examples, tasks)",
            hint="train on data with as many labels as the model predicts",
        )
    observed_BT = ~label_BT.isnan()
    weight_BT = observed_BT.to(logit_BT.dtype)
    if batch.weight_B is not None:
        weight_BT = weight_BT * batch.weight_B[:, None]
    if task_weights:
        weight_BT = weight_BT * weight_BT.new_tensor(task_weights)
    weighted_mean = F.binary_cross_entropy_with_logits(
        logit_BT, label_BT.where(observed_BT, 0.0), weight=weight_BT
    )
    # Divided by a mean, not by a sum: so weights of 1 change no bit of the loss and its gradient.
    return weighted_mean / weight_BT.mean().clamp_min(1e-30), weight_BT.sum()


class Best:
    """The weights that were best on validation so far, and since when."""

    def __init__(self, learner: Learner, monitor: str) -> None:
        self.evaluation: Evaluation | None = None
        self.step = 0
        self.stale_evaluations = 0
        self._learner = learner
        self._sign = 1.0 if monitor.partition(".")[0] in MAXIMIZED else -1.0
        self._monitor = monitor

    def offer(self, evaluation: Evaluation) -> bool:
        """Keep the present weights where they are better; return whether they are."""
        if self.evaluation is not None and not self._score(evaluation) > self._score(
            self.evaluation
        ):
            self.stale_evaluations += 1
            return False
        self.evaluation, self.step = evaluation, self._learner.steps
        self.stale_evaluations = 0
        self._dense = {name: w.detach().clone() for name, w in self._learner.dense.items()}
        self._tables = {name: w.clone() for name, w in self._learner.tables.weights().items()}
        return True

    def restore(self) -> None:
        """Put the best weights back into the model."""
        for name, weight in self._learner.dense.items():
            weight.detach().copy_(self._dense[name])
        self._learner.tables.load_weights(self._tables)

    def _score(self, evaluation: Evaluation) -> float:
        return self._sign * evaluation[self._monitor]


def _dense_state(model: Wukong) -> dict[str, Tensor]:
    """Parameters and buffers outside the tables, by name."""
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: w for name, w in state.items() if not name.startswith("tables.")}
