"""What ranks send each other, against what real groups of 2 and 4 hand to torch.distributed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from cost_models.memory.table_shares import TableShare
from cost_models.times.messages import (
    Message,
    UnitMessages,
    id_messages,
    sum_messages,
    vector_messages,
)
from cost_models.times.step_ops import step_work
from cost_models.training import Training
from tests.support.collectives import Collectives
from tests.support.ranks import on_ranks
from wukong.data.batch import Batch
from wukong.learner import Learner
from wukong.parallel.ranks import Ranks
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig
from wukong.train_config import TrainConfig

# Rows of all matrices of a layer divide by four, so that FSDP pads nothing but the root's.
SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=10 + i) for i in range(7)),
    dense=("x",),
)
SHAPE: dict[str, Any] = {
    "layers": 3, "n_F": 4, "n_L": 4, "k": 4, "mlp_depth": 1, "mlp_width": 16, "d": 8,
    "dense_rows": 1, "bottom_depth": 0, "head_depth": 1, "head_width": 8,
}  # fmt: skip
BATCH = 16
FUSED = {"table_backend": "fused", "table_optimizer": "rowwise_adagrad"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fused tables": ({}, FUSED),
    "columns of four, FP16 lookups": (
        {},
        {**FUSED, "table_shard_columns": 4, "lookup_precision": "fp16"},
    ),
    "whole tables, BF16 gradients": (
        {},
        {**FUSED, "table_sharding": "table_wise", "gradient_precision": "bf16"},
    ),
    "replicas": ({}, {**FUSED, "dense_shard_ranks": 1}),
    "groups of two": ({}, {**FUSED, "dense_shard_ranks": 2}),
    "plain tables, recomputed": (
        {},
        {"table_optimizer": "sgd", "activation_checkpointing": True},
    ),
    "batch norm": ({"mlp_norm": "batch", "head_norm": "batch"}, FUSED),
}


def drawn(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        one_hot_BF=torch.tensor(rng.integers(0, 10, (BATCH, 7))),
        bag_values=torch.zeros(0, dtype=torch.int64),
        bag_lengths_FB=torch.zeros((0, BATCH), dtype=torch.int64),
        dense_BD=torch.tensor(rng.normal(size=(BATCH, 1)), dtype=torch.float32),
        label_BT=torch.tensor(rng.integers(0, 2, (BATCH, 1)), dtype=torch.float32),
    )


def handed_over() -> list[Counter[tuple[str, int]]]:
    """Of each case: what this rank hands over in its second step."""
    ranks = Ranks.present()
    found = []
    for knobs, settings in CASES.values():
        config = TrainConfig(batch_size=BATCH, threads=1, device="cpu", **settings)
        model = WukongConfig(**SHAPE, **knobs)
        learner = Learner(model, SCHEMA, config, steps=2, seed=0, ranks=ranks)
        learner.step(drawn(0).part(*ranks.share(BATCH)))
        with Collectives() as collectives:
            learner.step(drawn(1).part(*ranks.share(BATCH)))
        found.append(collectives.found)
    return found


def expected(case: str, ranks: int) -> Counter[tuple[str, int]]:
    knobs, settings = CASES[case]
    training = Training(ranks=ranks, **settings)
    batch = np.array([float(BATCH)])
    work = step_work({**SHAPE, **knobs}, SCHEMA, batch=batch, training=training)
    every: list[tuple[Message, float]] = []
    for unit in work.units[1:-1]:
        messages = UnitMessages.of(unit.weights, training)
        every += [(messages.gather, 2 * unit.repeats[0])]
        every += [(m, unit.repeats[0]) for m in (messages.scatter, messages.replicate)]
    # Of the root, FSDP pads the head's last map, which has one row, and 91 rows of plain tables.
    padding = (training.shard_ranks - 1) * (8 + 1) + (0 if training.fused else 8)
    root = UnitMessages.of(work.units[0].weights + padding, training)
    every += [(m, 1) for m in (root.gather, root.scatter, root.replicate)]
    if work.share is not None:
        sent = id_messages(work.share, batch, work.features, training)
        every += [(m, 1) for m in [*sent, *vector_messages(work.share, batch, training)]]
    forward = [op for unit in work.units for op in unit.forward]
    every += [(m, float(np.sum(m.count))) for m in sum_messages(forward, training)]
    found: Counter[tuple[str, int]] = Counter()
    for message, times in every:
        if message.ranks > 1:
            found[message.collective, round(float(message.size_bytes[0]))] += round(times)
    return found


@pytest.mark.parametrize("ranks", [2, 4])
def test_collectives_of_a_step_are_those_that_torch_is_asked_for(ranks: int) -> None:
    of_ranks = on_ranks(ranks, handed_over)
    for number, case in enumerate(CASES):
        found = [sorted(rank[number].elements()) for rank in of_ranks]
        largest = Counter(max(each) for each in zip(*found, strict=True))
        assert largest == expected(case, ranks), case


def test_row_wise_vectors_are_sums_over_ranks_and_lengths_go_to_every_rank() -> None:
    training = Training(ranks=8, table_sharding="row_wise", lookup_precision="fp16", **FUSED)
    # 5 features of 16 columns each; a rank has an eighth of each table's rows.
    share = TableShare(
        weights=np.ones(1), rows=np.ones(1), columns=np.array([80.0]), tables=np.array([5 / 8])
    )
    batch = np.array([64.0])
    forward, backward = vector_messages(share, batch, training)
    assert (forward.collective, backward.collective) == ("reduce_scatter", "all_gather")
    assert forward.size_bytes == backward.size_bytes == 64 * 80 * 2
    _, lengths, ids = id_messages(share, batch, 5, training)
    assert (lengths.size_bytes, ids.size_bytes) == (64 * 5 * 8, 64 * 5 * 8 / 8)
