"""Training over ranks against the same training in one process, step by step.

Tolerances are those of FP32 sums in another order: 1e-6 of a loss, 1e-5 of the largest weight;
with batch norm over two or three examples ten times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.distributed.tensor import DTensor

from codesign.errors import ConfigError
from tests.support.rank_training import (
    BATCHES,
    MODEL,
    NORMED,
    SCHEMA,
    SGD,
    Course,
    OwnModel,
    batch_of,
    course,
)
from tests.support.ranks import on_ranks
from wukong.learner import Builder, Learner
from wukong.parallel.ranks import Ranks
from wukong.schema import InputSchema
from wukong.shape import WukongConfig
from wukong.train_config import TrainConfig

ADAM = replace(SGD, dense_optimizer="adam", table_optimizer="adam", dense_lr=0.01, table_lr=0.01)
ADAGRAD = replace(SGD, table_optimizer="rowwise_adagrad", table_lr=0.02)
FUSED = {"table_backend": "fused", "table_shard_columns": 4}
CONFIGS = {
    "sgd, one copy": SGD,
    "sgd, each its own copy": replace(SGD, dense_shard_ranks=1),
    "sgd, pairs, clipped": replace(SGD, dense_shard_ranks=2, clip_norm=0.05),
    "row-wise adagrad, clipped": replace(ADAGRAD, clip_norm=0.05),
    "adam, l2": replace(ADAM, table_l2=1e-3, dense_l2=1e-3),
    "torchrec's tables": replace(ADAM, table_backend="dense"),
    "fused tables, sgd, clipped": replace(SGD, **FUSED, clip_norm=0.05),
    "fused tables, row-wise adagrad, pairs": replace(ADAGRAD, **FUSED, dense_shard_ranks=2),
    "recomputed": replace(SGD, activation_checkpointing=True),
}


def assert_same_course(
    whole: Course, parts: Sequence[Course], *, loss: float = 1e-6, weight: float = 1e-5
) -> None:
    for part in parts:
        assert part.losses == pytest.approx(whole.losses, rel=loss)
        assert part.weights.keys() == whole.weights.keys()
        for name, tensor in whole.weights.items():
            scale = max(1.0, float(tensor.abs().max()))
            assert torch.allclose(part.weights[name], tensor, rtol=0, atol=weight * scale), name
    logits = torch.cat([part.logits for part in parts])
    assert torch.allclose(logits, whole.logits, rtol=0, atol=100 * weight)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_four_ranks_together_do_what_one_does_alone(config: TrainConfig) -> None:
    assert_same_course(course(MODEL, config), on_ranks(4, course, MODEL, config))


@pytest.mark.parametrize("name", ["sgd, one copy", "adam, l2", "fused tables, sgd, clipped"])
def test_two_ranks_together_do_what_one_does_alone(name: str) -> None:
    config = CONFIGS[name]
    assert_same_course(course(MODEL, config), on_ranks(2, course, MODEL, config))


@pytest.mark.parametrize("model", [NORMED, OwnModel], ids=["wukong", "own"])
def test_batch_norm_is_that_of_the_whole_batch(model: WukongConfig | Builder) -> None:
    sizes = BATCHES[:-1]  # one example has no variance
    alone = course(model, SGD, sizes)
    parts = on_ranks(4, course, model, SGD, sizes)
    assert_same_course(alone, parts, loss=1e-5, weight=1e-4)


def test_what_is_computed_again_changes_no_dropout_and_counts_no_batch_twice() -> None:
    model = replace(NORMED, dropout=0.3)
    again = replace(SGD, activation_checkpointing=True)
    sizes = BATCHES[:-1]
    assert_same_course(course(model, SGD, sizes), [course(model, again, sizes)], weight=1e-4)
    kept, computed = (on_ranks(2, course, model, config, sizes) for config in (SGD, again))
    for one, other in zip(kept, computed, strict=True):
        assert one.losses == other.losses
        for name, tensor in one.weights.items():
            assert torch.equal(tensor, other.weights[name]), name


def kept_for_backward(config: TrainConfig) -> int:
    learner = Learner(MODEL, SCHEMA, config, steps=1, seed=0)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (sizes.append(tensor.numel()), tensor)[1], lambda tensor: tensor
    ):
        learner.step(batch_of(64, 0))
    return sum(sizes)


def test_what_is_computed_again_is_not_kept() -> None:
    again = replace(SGD, activation_checkpointing=True)
    assert kept_for_backward(again) < 0.5 * kept_for_backward(SGD)


def test_after_a_step_no_gradient_takes_room() -> None:
    learner = Learner(MODEL, SCHEMA, SGD, steps=1, seed=0)
    learner.step(batch_of(64, 0))
    assert all(weight.grad is None for weight in learner.model.parameters())


def test_bf16_stays_within_its_rounding_of_fp32_at_every_number_of_ranks() -> None:
    """BF16 keeps 8 bits: 0.4% of a number. Here losses differ by less than that after six steps."""
    exact = course(MODEL, SGD)
    products = replace(SGD, precision="bf16")
    gradients = replace(SGD, gradient_precision="bf16")
    courses = [course(MODEL, products)]
    for config in (products, gradients, replace(products, gradient_precision="bf16")):
        courses += on_ranks(2, course, MODEL, config)
    for rough in courses:
        assert rough.losses != exact.losses
        assert rough.losses == pytest.approx(exact.losses, rel=4e-3)
        assert rough.logits.dtype == torch.float32
        for name, tensor in rough.weights.items():
            assert tensor.dtype == exact.weights[name].dtype
            assert torch.allclose(tensor, exact.weights[name], rtol=0, atol=0.02), name


class DifferentEverywhere(OwnModel):
    """Starts with other weights on each rank."""

    def __init__(self, schema: InputSchema) -> None:
        super().__init__(schema)
        torch.nn.init.constant_(self.users.weight, Ranks.present().rank + 1)
        self.norm.running_mean.fill_(Ranks.present().rank + 1)
        self.dropout = torch.nn.Dropout(0.5)


def looks(shard_ranks: int) -> dict[str, object]:
    """Look into a learner on this rank: its shards, its first weights, dropout, an evaluation."""
    ranks = Ranks.present()
    config = replace(SGD, dense_shard_ranks=shard_ranks)
    own = Learner(DifferentEverywhere, SCHEMA, config, steps=1, seed=0, ranks=ranks)
    model = replace(MODEL, dropout=0.5)
    learner = Learner(model, SCHEMA, config, steps=1, seed=0, ranks=ranks)
    batch = batch_of(8, 0)
    first = learner.weights.copy()
    with torch.no_grad():
        dropped = learner.logits(batch)
        learner.model.eval()
        before = learner.logits(batch)
    learner.model.train()
    learner.step(batch)
    learner.model.eval()
    with torch.no_grad():
        after = learner.logits(batch)
        learner.weights.load(first)
        back = learner.logits(batch)
    state = own.weights.state
    shards = [w.to_local().numel() for w in learner.weights.dense if isinstance(w, DTensor)]
    return {
        "held": sum(shards),
        "users": state["users.weight"].full_tensor(),
        "mean": state["norm.running_mean"],
        "dropped": dropped,
        "before": before,
        "moved": not torch.equal(before, after),
        "back": torch.equal(before, back),
    }


@pytest.mark.parametrize(("shard_ranks", "copies"), [(0, 1), (2, 2), (1, 4)])
def test_ranks_share_weights_and_differ_in_dropout_alone(shard_ranks: int, copies: int) -> None:
    found = on_ranks(4, looks, shard_ranks)
    whole = Learner(MODEL, SCHEMA, SGD, steps=1, seed=0)
    assert sum(one["held"] for one in found) == copies * sum(w.numel() for w in whole.weights.dense)
    for one in found:
        assert (one["users"] == 1).all()
        assert (one["mean"] == 1).all()
        assert torch.equal(one["before"], found[0]["before"])
        assert one["moved"]
        assert one["back"], "an evaluation used the weights of an earlier one"
    assert len({tuple(one["dropped"].flatten().tolist()) for one in found}) == 4


@pytest.mark.parametrize("shard_ranks", [3, 8])
def test_shares_of_the_dense_part_that_cannot_be_are_refused(shard_ranks: int) -> None:
    config = replace(SGD, dense_shard_ranks=shard_ranks)
    with pytest.raises(ConfigError, match="with 4 ranks; must divide them: one of 1, 2, 4, or 0"):
        Learner(MODEL, SCHEMA, config, steps=1, seed=0, ranks=Ranks(world=4))


def test_only_the_layers_of_a_wukong_can_be_computed_again() -> None:
    config = replace(SGD, activation_checkpointing=True)
    with pytest.raises(ConfigError, match="must be false with a model of one's own"):
        Learner(OwnModel, SCHEMA, config, steps=1, seed=0)


@pytest.mark.parametrize("model", [NORMED, OwnModel])
def test_a_batch_norm_over_single_examples_is_refused(model: WukongConfig | Builder) -> None:
    config = replace(SGD, batch_size=1)
    Learner(MODEL, SCHEMA, config, steps=1, seed=0)
    with pytest.raises(ConfigError, match="batch_size is 1 with a batch norm, which needs two"):
        Learner(model, SCHEMA, config, steps=1, seed=0)


def test_compiled_layers_train_alike_over_ranks() -> None:
    model, sizes = replace(MODEL, layers=1), (8, 8)
    config = replace(SGD, compile=True, activation_checkpointing=True)
    assert_same_course(course(model, SGD, sizes), on_ranks(2, course, model, config, sizes))
