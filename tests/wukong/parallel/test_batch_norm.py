"""Batch norm over ranks, at one rank against torch's own; over ranks in test_learner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from codesign.errors import ConfigError
from wukong.parallel.batch_norm import RanksBatchNorm, norm_over_ranks, statistics_kept
from wukong.parallel.ranks import Ranks

NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vectors": (lambda: nn.BatchNorm1d(3), (7, 3)),
    "sequences": (lambda: nn.BatchNorm1d(3, momentum=None), (4, 3, 5)),
    "images": (lambda: nn.BatchNorm2d(3, affine=False), (2, 3, 4, 4)),
}


@pytest.mark.parametrize(("build", "shape"), NORMS.values(), ids=NORMS)
def test_at_one_rank_it_is_torchs_batch_norm(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    theirs, ours = nn.Sequential(build()), nn.Sequential(build())
    norm_over_ranks(ours, Ranks())
    assert isinstance(ours[0], RanksBatchNorm)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        x, weight = 3 * torch.randn(shape) + 100, torch.randn(shape)
        grads = []
        for norm in (ours, theirs):
            x_leaf = x.clone().requires_grad_()
            out = norm(x_leaf)
            wanted = [x_leaf, *norm.parameters()]
            grads.append((out, *torch.autograd.grad((out * weight).sum(), wanted)))
        for one, other in zip(*grads, strict=True):
            assert torch.allclose(one, other, atol=2e-4)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-5), name


def test_a_second_look_at_a_batch_leaves_the_statistics_alone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    norm_over_ranks(model, Ranks())
    norm = model[0]
    assert isinstance(norm, RanksBatchNorm)
    model(torch.randn(5, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with statistics_kept([norm]):
        model(torch.randn(5, 2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model(torch.randn(5, 2))
    assert int(norm.num_batches_tracked) == 2


def test_a_norm_without_running_statistics_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(ConfigError, match="the batch norm '1' keeps no running statistics"):
        norm_over_ranks(model, Ranks())
