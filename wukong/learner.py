"""One training step, and the best weights so far: what the training loop is made of.

Each rank trains on its part of every batch. The loss is the mean over the whole batch: a rank's
share of it is its own sum over the weight of all, so gradients are sums over ranks, and right for
unequal and empty parts. Initial weights are the same on all ranks, dropout differs from rank to
rank and so between numbers of ranks.

B examples of a batch, on this rank where there are several; T tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from codesign.errors import ConfigError
from wukong.device.compute import Logits
from wukong.device.heap import return_freed_memory
from wukong.embeddings import Cluster, TableLayout, TableOptimizer, Tables, build_tables
from wukong.evaluate import Evaluation, Quality
from wukong.loss import batch_totals, label_weights, loss_share
from wukong.model import Wukong
from wukong.optim import LearningRateSchedule, OptimizerLike, build_optimizer, state_tensors
from wukong.parallel.ranks import ALONE, Ranks
from wukong.parallel.sharding import dense_mesh, prepare
from wukong.parallel.side_stream import prefetched
from wukong.shape import WukongConfig, table_specs
from wukong.train_config import MONITORS, TrainConfig
from wukong.weights import Weights, split_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
        ranks: that train it together, each on its own device; all must call every method.

    Attributes:
        model: what is trained.
        logits: predicts with it, on the ranks' device and in the run's precision.
        loss_sum: this rank's part of the training losses since `forget_log_loss`.

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
        ranks: Ranks = ALONE,
        cluster: Cluster | None = None,
    ) -> None:
        mesh = dense_mesh(config, ranks)
        self.model = _built(model, schema, config, ranks, cluster or Cluster(), seed=seed)
        return_freed_memory()  # Each table was made beside its place.
        trained = prepare(self.model, config, ranks, mesh)
        self.logits = Logits(self.model, ranks.device, config.precision)
        self._train_logits = Logits(trained, ranks.device, config.precision)
        self.weights = split_weights(self.model)
        self._clip_norm = config.clip_norm
        self._task_weight_T = None
        if any(weight != 1 for weight in task_weights):
            self._task_weight_T = torch.tensor(task_weights, device=ranks.device)
        self._optimizers = list(_optimizers(self.weights, config))
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
        self.steps = 0
        self._ranks = ranks
        zero = torch.zeros((), dtype=torch.float64, device=ranks.device)
        self.loss_sum, self._loss_weight, self._examples = zero, zero.clone(), zero.clone()

    @property
    def lr(self) -> float:
        """The dense part's learning rate at the last step (the tables', where it is empty)."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def ahead(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches; on GPUs each is on its way while the one before is trained on."""
        if self._ranks.device.type == "cpu":
            return iter(batches)
        return prefetched(batches, self.weights.backends, self._ranks.device)

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        self.schedule.before_step(self.steps)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        batch = batch.to(self._ranks.device)
        weight_BT = label_weights(batch, self._task_weight_T)
        total = batch_totals(weight_BT, self._ranks)
        loss = loss_share(self._train_logits(batch), batch.label_BT, weight_BT, total)
        loss.backward()
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self.weights.dense, self._clip_norm)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()  # An evaluation, or the best weights, may need the room.
        self.loss_sum += loss.detach() * total.weight
        self._loss_weight += total.weight
        self._examples += total.examples
        self.steps += 1

    @property
    def examples(self) -> int:
        """Examples trained on so far, on all ranks together."""
        return int(self._examples)

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
        self.steps = values["steps"]
        self._examples.fill_(values["examples"])
        self._loss_weight.fill_(values["loss_weight"])

    def log_loss(self) -> float:
        """Mean training log loss since `forget_log_loss`, weighted as the loss is."""
        weight = float(self._loss_weight)
        loss_sum = float(self._ranks.sum(self.loss_sum.clone()))
        return loss_sum / weight if weight else 0.0

    def forget_log_loss(self) -> None:
        """Start a new mean."""
        self.loss_sum.zero_()
        self._loss_weight.zero_()


def _built(
    model: WukongConfig | Builder,
    schema: InputSchema,
    config: TrainConfig,
    ranks: Ranks,
    cluster: Cluster,
    *,
    seed: int,
) -> nn.Module:
    """Build the model, all ranks with the same weights; dropout then differs from rank to rank."""
    if not isinstance(model, WukongConfig):
        torch.manual_seed(seed)
        built = model(schema)
    else:
        tables = _tables(model, schema, config, ranks, cluster, seed=seed)
        # After the tables, so that every backend starts the dense part and dropout alike.
        torch.manual_seed(seed)
        built = Wukong(model, schema, tables)
    if ranks.world > 1:
        torch.manual_seed(int(np.random.SeedSequence([seed, ranks.rank]).generate_state(1)[0]))
    return built


def _tables(
    model: WukongConfig,
    schema: InputSchema,
    config: TrainConfig,
    ranks: Ranks,
    cluster: Cluster,
    *,
    seed: int,
) -> Tables:
    return build_tables(
        config.table_backend,
        table_specs(model, schema),
        init_std=model.table_init_std,
        optimizer=_table_optimizer(config),
        seed=seed,
        layout=TableLayout(
            sharding=config.table_sharding,
            shard_columns=config.table_shard_columns,
            precision=config.table_precision,
            lookup_precision=config.lookup_precision,
            batch_size=config.batch_size,
            cluster=cluster,
        ),
        ranks=ranks,
    )


def _table_optimizer(config: TrainConfig) -> TableOptimizer:
    return TableOptimizer(name=config.table_optimizer, lr=config.table_lr, l2=config.table_l2)


def _optimizers(weights: Weights, config: TrainConfig) -> Iterator[OptimizerLike]:
    """Yield one optimizer for each kind of weight that the model has; the dense part's first."""
    if weights.dense:
        yield build_optimizer(
            config.dense_optimizer, weights.dense, lr=config.dense_lr, l2=config.dense_l2
        )
    if weights.tables:
        name, lr, l2 = config.table_optimizer, config.table_lr, config.table_l2
        yield build_optimizer(name, weights.tables, lr=lr, l2=l2)
    yield from (tables.optimizer() for tables in weights.backends if tables.specs)


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
        self._weights.clear()  # The last ones are freed before the new ones take their place.
        return_freed_memory()
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
