"""Trains a small model on some ranks, step by step, so that numbers of ranks can be compared.

All ranks draw the same batches and each takes its part of them, which may be empty.
B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from wukong.data.batch import Batch
from wukong.device.compute import products_in
from wukong.learner import Builder, Learner
from wukong.parallel.ranks import Ranks
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig
from wukong.train_config import TrainConfig

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=40),
        CategoricalFeature(name="genres", cardinality=6, multi_hot=True, pooling="mean"),
        CategoricalFeature(name="constant", cardinality=1),
        CategoricalFeature(name="item", cardinality=30),
    ),
    dense=("age", "price"),
    tasks=("ctr", "cvr"),
)
MODEL = WukongConfig(
    layers=2, n_F=3, n_L=2, k=3, mlp_depth=1, mlp_width=9, d=8, bottom_width=8, head_depth=1,
    head_width=7, dropout=0.0, table_init_std=0.3,
)  # fmt: skip
NORMED = replace(MODEL, mlp_norm="batch", head_norm="batch")
# Parts of unequal size, and over four ranks three, two and one empty ones.
BATCHES = (33, 16, 7, 3, 2, 1)
SGD = TrainConfig(
    dense_optimizer="sgd", table_optimizer="sgd", dense_lr=0.3, table_lr=0.3, warmup_share=0.0,
    threads=1, device="cpu",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Course:
    """What became of a run.

    Attributes:
        losses: of every step, the mean over the whole batch.
        weights: name → weight or buffer after the last step, whole.
        logits: of the first batch after the last step, this rank's part.
    """

    losses: list[float]
    weights: dict[str, Tensor]
    logits: Tensor


def batch_of(examples: int, seed: int) -> Batch:
    """Draw a batch: weighted, with labels that were not observed, and bags that may be empty."""
    rng = np.random.default_rng([examples, seed])
    lengths = rng.integers(0, 4, (1, examples))
    label_BT = rng.integers(0, 2, (examples, 2)).astype(np.float32)
    label_BT[rng.random((examples, 2)) < 0.2] = np.nan
    label_BT[0, 0] = 1
    one_hot_BF = np.stack([rng.integers(0, rows, examples) for rows in (40, 1, 30)], axis=1)
    return Batch(
        one_hot_BF=torch.tensor(one_hot_BF),
        bag_values=torch.tensor(rng.integers(0, 6, lengths.sum())),
        bag_lengths_FB=torch.tensor(lengths),
        dense_BD=torch.tensor(rng.normal(size=(examples, 2)), dtype=torch.float32),
        label_BT=torch.tensor(label_BT),
        weight_B=torch.tensor(rng.random(examples) + 0.5, dtype=torch.float32),
    )


def course(
    model: WukongConfig | Builder, config: TrainConfig, sizes: Sequence[int] = BATCHES
) -> Course:
    """Train on one batch of each size, on all ranks that there are."""
    ranks = Ranks.present()
    torch.manual_seed(0)
    with products_in(config.precision, ranks.device):
        learner = Learner(
            model, SCHEMA, config, steps=len(sizes), seed=5, task_weights=(1.0, 0.5), ranks=ranks
        )
        losses = []
        for seed, examples in enumerate(sizes):
            learner.step(batch_of(examples, seed).part(*ranks.share(examples)))
            losses.append(learner.log_loss())
            learner.forget_log_loss()
        assert learner.examples == sum(sizes)
        learner.model.eval()
        with torch.no_grad():
            logits = learner.logits(batch_of(sizes[0], 0).part(*ranks.share(sizes[0])))
    return Course(losses=losses, weights=whole_state(learner), logits=logits)


def whole_state(learner: Learner) -> dict[str, Tensor]:
    """Return weights and buffers by name, gathered; every rank must call it."""
    weights = learner.weights
    shards = dict(weights.state)
    for tables in weights.backends:
        if tables.is_sharded:
            shards |= tables.weights()
        else:
            shards |= dict(tables.named_parameters())
    whole = {name: w.full_tensor() if isinstance(w, DTensor) else w for name, w in shards.items()}
    return {name: weight.detach().clone() for name, weight in whole.items()}


class OwnModel(nn.Module):
    """A model of one's own with embeddings, a batch norm and a weight used twice."""

    def __init__(self, schema: InputSchema) -> None:
        super().__init__()
        self.users = nn.Embedding(40, 6)
        self.norm = nn.BatchNorm1d(8)
        self.inner = nn.Linear(8, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, batch: Batch) -> Tensor:
        x_BD = torch.cat([self.users(batch.one_hot_BF[:, 0].long()), batch.dense_BD], dim=1)
        hidden_BD = torch.relu(self.norm(self.inner(x_BD)))
        return self.out(torch.relu(self.inner(hidden_BD)))
