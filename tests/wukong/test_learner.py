"""Training over ranks against the same training in one process, step by step.

Tolerances are those of FP32 sums in another order: 1e-6 of a loss, 1e-5 of the largest weight.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.rank_training import BATCHES, MODEL, NORMED, SGD, Course, OwnModel, course
from tests.support.ranks import on_ranks
from wukong.learner import Builder
from wukong.shape import WukongConfig
from wukong.train_config import TrainConfig

ADAM = replace(SGD, dense_optimizer="adam", table_optimizer="adam", dense_lr=0.01, table_lr=0.01)
CONFIGS = {
    "sgd, one copy": SGD,
    "sgd, each its own copy": replace(SGD, dense_shard_ranks=1),
    "sgd, pairs": replace(SGD, dense_shard_ranks=2),
    "row-wise adagrad, clipped": replace(
        SGD, table_optimizer="rowwise_adagrad", table_lr=0.02, clip_norm=0.05
    ),
    "adam, l2": replace(ADAM, table_l2=1e-3, dense_l2=1e-3),
    "torchrec's tables": replace(ADAM, table_backend="dense"),
    "fused tables, sgd": replace(SGD, table_backend="fused", table_shard_columns=4),
    "fused tables, row-wise adagrad, pairs": replace(
        SGD,
        table_backend="fused",
        table_optimizer="rowwise_adagrad",
        table_lr=0.02,
        dense_shard_ranks=2,
    ),
}


def assert_same_course(whole: Course, parts: list[Course], loss: float, weight: float) -> None:
    for part in parts:
        assert part.losses == pytest.approx(whole.losses, rel=loss)
        assert part.weights.keys() == whole.weights.keys()
        for name, tensor in whole.weights.items():
            scale = max(1.0, float(tensor.abs().max()))
            assert torch.allclose(part.weights[name], tensor, rtol=0, atol=weight * scale), name
    logits = torch.cat([part.logits for part in parts])
    assert torch.allclose(logits, whole.logits, rtol=0, atol=100 * weight)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_ranks_together_do_what_one_does_alone(config: TrainConfig, world: int) -> None:
    assert_same_course(
        course(MODEL, config), on_ranks(world, course, MODEL, config), loss=1e-6, weight=1e-5
    )


@pytest.mark.parametrize("model", [NORMED, OwnModel], ids=["wukong", "own"])
def test_batch_norm_is_that_of_the_whole_batch(model: WukongConfig | Builder) -> None:
    sizes = BATCHES[:-1]  # one example has no variance
    alone = course(model, SGD, sizes)
    assert_same_course(alone, on_ranks(4, course, model, SGD, sizes), loss=1e-5, weight=1e-4)
