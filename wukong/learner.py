"""One training step, and the best weights so far: what the training loop is made of.

B examples of a batch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import ConfigError
from wukong.embeddings import TableOptimizer, build_tables
from wukong.evaluate import Evaluation
from wukong.model import Wukong
from wukong.optim import LearningRateSchedule, OptimizerLike, build_optimizer
from wukong.shape import WukongConfig, table_specs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wukong.data.batch import Batch
    from wukong.schema import InputSchema
    from wukong.train_config import TrainConfig


class Learner:
    """A model with its optimizers: what one training step changes."""

    def __init__(
        self,
        model_config: WukongConfig,
        schema: InputSchema,
        config: TrainConfig,
        *,
        steps: int,
        seed: int,
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
        logit_B = self._forward(batch)
        loss, weight = weighted_log_loss(logit_B, batch)
        loss.backward()
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self._trained, self._clip_norm)
        for optimizer in self._optimizers:
            optimizer.step()
        self._loss_sum += loss.detach() * weight
        self._loss_weight += weight
        self.steps += 1
        self.examples += len(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return all that training has changed; tensors may share memory with the learner's."""
        return {
            "dense": {name: weight.detach() for name, weight in self.dense.items()},
            "tables": self.tables.weights(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "schedule": self.schedule.state_dict(),
            "steps": self.steps,
            "examples": self.examples,
            "loss_sum": self._loss_sum,
            "loss_weight": self._loss_weight,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where a learner with the same arguments stood."""
        self.load_weights(state_dict["dense"], state_dict["tables"])
        for optimizer, state in zip(self._optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.schedule.load_state_dict(state_dict["schedule"])
        self.steps, self.examples = state_dict["steps"], state_dict["examples"]
        self._loss_sum.copy_(state_dict["loss_sum"])
        self._loss_weight.copy_(state_dict["loss_weight"])

    def load_weights(self, dense: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> None:
        """Copy weights and buffers of the dense part, and one table (R, D) per feature."""
        for name, weight in self.dense.items():
            weight.detach().copy_(dense[name])
        self.tables.load_weights(tables)

    def log_loss(self) -> float:
        """Mean training log loss since `forget_log_loss`, weighted as the loss is."""
        weight = float(self._loss_weight)
        return float(self._loss_sum) / weight if weight else 0.0

    def forget_log_loss(self) -> None:
        """Start a new mean."""
        self._loss_sum.zero_()
        self._loss_weight.zero_()


def weighted_log_loss(logit: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean log loss in nats over the observed labels, each as heavy as its example.

    Args:
        logit: (B,) for data of one task, (B, T) for T.
        batch: its labels are NaN where they were not observed.

    Returns:
        The mean, 0 where nothing was observed, and the sum of the weights; both scalars.

    Raises:
        ConfigError: where the model's outputs are not as many as the tasks.
    """
    logit_BT, label_BT = logit.view(len(batch), -1), batch.label_BT
    if logit_BT.shape != label_BT.shape:
        raise ConfigError(
            f"the model has {logit_BT.shape[1]} outputs, the data {label_BT.shape[1]} tasks",
            hint="train on data with as many labels as the model predicts",
        )
    observed_BT = ~label_BT.isnan()
    weight_BT = observed_BT.to(logit.dtype)
    if batch.weight_B is not None:
        weight_BT = weight_BT * batch.weight_B[:, None]
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
        self._sign = 1.0 if monitor == "auc" else -1.0
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
        self._learner.load_weights(self._dense, self._tables)

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights with their evaluation, where there was one."""
        if self.evaluation is None:
            return {}
        return {
            "evaluation": asdict(self.evaluation),
            "step": self.step,
            "stale_evaluations": self.stale_evaluations,
            "dense": self._dense,
            "tables": self._tables,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another one stood."""
        if state_dict:
            self.evaluation = Evaluation(**state_dict["evaluation"])
            self.step = state_dict["step"]
            self.stale_evaluations = state_dict["stale_evaluations"]
            self._dense, self._tables = state_dict["dense"], state_dict["tables"]

    def _score(self, evaluation: Evaluation) -> float:
        return self._sign * float(getattr(evaluation, self._monitor))


def _dense_state(model: Wukong) -> dict[str, Tensor]:
    """Parameters and buffers outside the tables, by name."""
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: w for name, w in state.items() if not name.startswith("tables.")}
