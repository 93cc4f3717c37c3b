"""One training step, and the best weights so far: what the training loop is made of.

B examples of a batch, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import ConfigError
from wukong.embeddings import TableOptimizer, build_tables
from wukong.evaluate import Evaluation, Quality
from wukong.model import Wukong
from wukong.optim import LearningRateSchedule, OptimizerLike, build_optimizer, state_tensors
from wukong.shape import WukongConfig, table_specs
from wukong.train_config import MONITORS, TrainConfig
from wukong.weights import Weights, split_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wukong.data.batch import Batch
    from wukong.schema import InputSchema

# Builds a model for the features of a data set: its forward takes a Batch, its logits are (B,) or,
# for T tasks, (B, T). A checkpoint is continued where its repr is the same.
Builder = Callable[["InputSchema"], nn.Module]


class Learner:
    """A model with its optimizers: what one training step changes.

    Args:
        model: the shape of a Wukong, or what builds another model.
        task_weights: of each task's loss, in the order of `schema.tasks`; empty: all alike.
        steps: of the whole run.

    Raises:
        ConfigError: the model cannot be, or has nothing to train.
    """

    def __init__(
        self,
        model: WukongConfig | Builder,
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
        if isinstance(model, WukongConfig):
            self.model: nn.Module = _wukong(model, schema, config, table_optimizer, seed=seed)
        else:
            torch.manual_seed(seed)
            self.model = model(schema)
        self._forward = torch.compile(self.model) if config.compile else self.model
        self.weights = split_weights(self.model)
        self._clip_norm = config.clip_norm
        self._task_weights = task_weights if any(w != 1 for w in task_weights) else ()
        self._optimizers = list(_optimizers(self.weights, config, table_optimizer))
        if not self._optimizers:
            raise ConfigError("the model has no weights that could be trained")
        self.schedule = LearningRateSchedule(
            self._optimizers,
            steps=steps,
            warmup_steps=round(config.warmup_share * steps),
            decay_steps=round(config.decay_share * steps),
            plateau_factor=config.plateau_factor,
            plateau_patience=config.plateau_patience,
        )
        self.steps = self.examples = 0
        self.loss_sum = torch.zeros((), dtype=torch.float64)
        self._loss_weight = torch.zeros((), dtype=torch.float64)

    @property
    def lr(self) -> float:
        """The dense part's learning rate at the last step (the tables', where it is empty)."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        self.schedule.before_step(self.steps)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        logit_BT = self._forward(batch).reshape(len(batch), -1)
        loss, weight = weighted_log_loss(logit_BT, batch, self._task_weights)
        loss.backward()
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self.weights.dense, self._clip_norm)
        for optimizer in self._optimizers:
            optimizer.step()
        self.loss_sum += loss.detach() * weight
        self._loss_weight += weight
        self.steps += 1
        self.examples += len(batch)

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's parts of all tensors that training changes, sharing memory."""
        found = {f"weights.{name}": weight for name, weight in self.weights.tensors().items()}
        for i, optimizer in enumerate(self._optimizers):
            if isinstance(optimizer, torch.optim.Optimizer):
                states = state_tensors(optimizer).items()
                found |= {f"optimizer{i}.{name}": state for name, state in states}
        for i, tables in enumerate(self.weights.backends):
            states = tables.sharded_accumulators().items()
            found |= {f"accumulators{i}.{name}": state for name, state in states}
        return found

    def values(self) -> dict[str, Any]:
        """Return what else training changes: plain values, the same on all ranks."""
        return {
            "schedule": self.schedule.state_dict(),
            "steps": self.steps,
            "examples": self.examples,
            "loss_weight": float(self._loss_weight),
        }

    def load_values(self, values: Mapping[str, Any]) -> None:
        """Continue where a learner with the same arguments stood, but for the tensors."""
        self.schedule.load_state_dict(values["schedule"])
        self.steps, self.examples = values["steps"], values["examples"]
        self._loss_weight.fill_(values["loss_weight"])

    def log_loss(self) -> float:
        """Mean training log loss since `forget_log_loss`, weighted as the loss is."""
        weight = float(self._loss_weight)
        return float(self.loss_sum) / weight if weight else 0.0

    def forget_log_loss(self) -> None:
        """Start a new mean."""
        self.loss_sum.zero_()
        self._loss_weight.zero_()


def _wukong(
    config: WukongConfig,
    schema: InputSchema,
    train: TrainConfig,
    table_optimizer: TableOptimizer,
    *,
    seed: int,
) -> Wukong:
    tables = build_tables(
        train.table_backend,
        table_specs(config, schema),
        init_std=config.table_init_std,
        optimizer=table_optimizer,
        seed=seed,
    )
    # After the tables, so that every backend starts the dense part and dropout alike.
    torch.manual_seed(seed)
    return Wukong(config, schema, tables)


def _optimizers(
    weights: Weights, config: TrainConfig, table_optimizer: TableOptimizer
) -> Iterator[OptimizerLike]:
    """Yield one optimizer for each kind of weight that the model has; the dense part's first."""
    if weights.dense:
        yield build_optimizer("adam", weights.dense, lr=config.dense_lr, l2=config.dense_l2)
    if weights.tables:
        name, lr, l2 = table_optimizer.name, table_optimizer.lr, table_optimizer.l2
        yield build_optimizer(name, weights.tables, lr=lr, l2=l2)
    yield from (tables.optimizer() for tables in weights.backends if tables.specs)


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
        self._weights: dict[str, Tensor] = {}
        self._learner = learner
        self._sign = 1.0 if MONITORS[monitor.partition(".")[0]] == "maximize" else -1.0
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
        self._weights = self._learner.weights.copy()
        return True

    def restore(self) -> None:
        """Put the best weights back into the model."""
        self._learner.weights.load(self._weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's parts of the best weights; none before the first evaluation."""
        return {f"best.{name}": weight for name, weight in self._weights.items()}

    def values(self) -> dict[str, Any]:
        """Return all but the weights as plain values."""
        evaluation = None if self.evaluation is None else asdict(self.evaluation)["by_task"]
        return {
            "evaluation": evaluation,
            "step": self.step,
            "stale_evaluations": self.stale_evaluations,
        }

    def load_values(self, values: Mapping[str, Any]) -> None:
        """Continue where another one stood, but for the weights, for which there is room then."""
        self.step, self.stale_evaluations = values["step"], values["stale_evaluations"]
        if values["evaluation"] is not None:
            by_task = {task: Quality(**quality) for task, quality in values["evaluation"].items()}
            self.evaluation = Evaluation(by_task=by_task)
            self._weights = self._learner.weights.copy()

    def _score(self, evaluation: Evaluation) -> float:
        return self._sign * evaluation[self._monitor]
