"""The training loss on labels that are weighted or missing, against sums over single labels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from codesign.errors import ConfigError
from wukong.data.batch import Batch
from wukong.loss import batch_totals, label_weights, loss_share
from wukong.parallel.ranks import Ranks

NAN = math.nan


def batch_of(label_BT: Tensor, weight_B: Tensor | None = None) -> Batch:
    return Batch(
        one_hot_BF=torch.empty(len(label_BT), 0, dtype=torch.int64),
        bag_values=torch.empty(0, dtype=torch.int64),
        bag_lengths_FB=torch.empty(0, len(label_BT), dtype=torch.int64),
        dense_BD=torch.empty(len(label_BT), 0),
        label_BT=label_BT,
        weight_B=weight_B,
    )


def loss_of(
    logit_BT: Tensor, batch: Batch, task_weights: tuple[float, ...] = ()
) -> tuple[Tensor, Tensor]:
    weight_BT = label_weights(batch, torch.tensor(task_weights) if task_weights else None)
    total = batch_totals(weight_BT, Ranks())
    return loss_share(logit_BT, batch.label_BT, weight_BT, total), total.weight


@given(st.integers(1, 3000), st.integers(0, 99))
def test_without_weights_and_gaps_loss_and_gradient_are_those_of_the_plain_mean_to_the_bit(
    examples: int, seed: int
) -> None:
    torch.manual_seed(seed)
    logit_B = torch.randn(examples, requires_grad=True)
    label_B = (torch.rand(examples) < 0.3).float()
    plain = F.binary_cross_entropy_with_logits(logit_B, label_B)
    (plain_grad,) = torch.autograd.grad(plain, logit_B)
    loss, weight = loss_of(logit_B[:, None], batch_of(label_B[:, None]))
    (grad,) = torch.autograd.grad(loss, logit_B)
    assert torch.equal(loss, plain)
    assert torch.equal(grad, plain_grad)
    assert weight == examples


cases = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=2, max_size=2),
        st.just(0.0) | st.floats(0.125, 5, width=32),
        st.lists(st.floats(-6, 6, width=32), min_size=2, max_size=2),
    ),
    min_size=1,
    max_size=8,
)


@given(cases, st.sampled_from([(), (2.0, 0.25)]))
def test_each_observed_label_counts_as_much_as_its_example_and_its_task_weigh(
    examples: list[tuple[list[float], float, list[float]]], task_weights: tuple[float, ...]
) -> None:
    batch = batch_of(
        torch.tensor([labels for labels, _, _ in examples]),
        torch.tensor([weight for _, weight, _ in examples]),
    )
    logit_BT = torch.tensor([logits for _, _, logits in examples], requires_grad=True)
    total = weights = 0.0
    for labels, weight, logits in examples:
        factors = task_weights or (1.0, 1.0)
        for label, logit, factor in zip(labels, logits, factors, strict=True):
            if not math.isnan(label):
                sign = 1 if label else -1
                total += factor * weight * math.log1p(math.exp(-sign * logit))
                weights += factor * weight
    loss, weight_sum = loss_of(logit_BT, batch, task_weights)
    loss.backward()
    assert weight_sum.item() == pytest.approx(weights, rel=1e-5)
    expected = total / weights if weights else 0.0
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    grad_BT = logit_BT.grad
    assert grad_BT is not None
    assert not grad_BT[batch.label_BT.isnan()].any()
    assert grad_BT.isfinite().all()


@given(cases, st.integers(1, 5))
def test_the_shares_of_any_number_of_ranks_add_up_to_the_mean_and_so_do_their_gradients(
    examples: list[tuple[list[float], float, list[float]]], world: int
) -> None:
    label_BT = torch.tensor([labels for labels, _, _ in examples])
    weight_B = torch.tensor([weight for _, weight, _ in examples])
    logit_BT = torch.tensor([logits for _, _, logits in examples], requires_grad=True)
    batch = batch_of(label_BT, weight_B)
    whole, _ = loss_of(logit_BT, batch)
    (whole_grad_BT,) = torch.autograd.grad(whole, logit_BT)
    total = batch_totals(label_weights(batch), Ranks())
    parts = [slice(*Ranks(rank=rank, world=world).share(len(batch))) for rank in range(world)]
    shares = [
        loss_share(
            logit_BT[part],
            label_BT[part],
            label_weights(batch_of(label_BT[part], weight_B[part])),
            total,
        )
        for part in parts
    ]
    (grad_BT,) = torch.autograd.grad(sum(shares, torch.zeros(())), logit_BT)
    assert sum(share.item() for share in shares) == pytest.approx(whole.item(), rel=1e-5, abs=1e-6)
    assert torch.allclose(grad_BT, whole_grad_BT, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 4)])
def test_logits_that_are_not_one_for_each_example_and_task_are_refused(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ConfigError, match=r"logits are \(.*, the labels \(4, 2\); both must be"):
        loss_of(torch.zeros(shape), batch_of(torch.zeros(4, 2)))
