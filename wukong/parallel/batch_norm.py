"""Batch norm over the examples of all ranks, equal to that of one process with the whole batch.

torch's own looks at a rank's share alone, and its SyncBatchNorm needs GPUs. B examples of this
rank, C channels.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wukong.parallel.ranks import Ranks


class RanksBatchNorm(nn.Module):
    """Batch norm whose mean and variance are those of the batch as all ranks hold it together.

    Shares may be unequal or empty. In training every rank must call it; in evaluation it uses the
    running statistics alone. It takes the weights and statistics of the norm that it replaces.

    Args:
        norm: of any number of dimensions; (B, C, …).

    Raises:
        ConfigError: the norm keeps no running statistics.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, ranks: Ranks, *, where: str) -> None:
        super().__init__()
        if norm.running_mean is None:
            raise ConfigError(
                f"the batch norm {where!r} keeps no running statistics, so what it predicts "
                "depends on how examples are shared out; must have track_running_stats=True"
            )
        self.eps, self.momentum, self._ranks = norm.eps, norm.momentum, ranks
        self.weight: nn.Parameter | None = norm.weight
        self.bias: nn.Parameter | None = norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.counts = True

    # Its collectives cannot be traced.
    @torch.compiler.disable
    def forward(self, x_BC: Tensor) -> Tensor:
        """Return the same shape and dtype, normed."""
        x = x_BC.float()
        if not self.training:
            return self._normed(x, self.running_mean, self.running_var).to(x_BC.dtype)
        others = [dim for dim in range(x.ndim) if dim != 1]
        count = x.new_tensor([x.numel() / x.shape[1]])
        total = self._over_ranks(torch.cat([x.sum(others), count]))
        mean_C, n = total[:-1] / total[-1], total[-1].detach()
        variance_C = self._over_ranks((x - _as(mean_C, x)).square().sum(others)) / n
        if self.counts:
            self._count(mean_C.detach(), variance_C.detach() * n / (n - 1))
        return self._normed(x, mean_C, variance_C).to(x_BC.dtype)

    def _over_ranks(self, tensor: Tensor) -> Tensor:
        summed: Tensor = _SumOverRanks.apply(tensor, self._ranks)  # type: ignore[no-untyped-call]
        return summed

    def _normed(self, x: Tensor, mean_C: Tensor, variance_C: Tensor) -> Tensor:
        scale_C = (variance_C + self.eps).rsqrt()
        normed = (x - _as(mean_C, x)) * _as(scale_C, x)
        if self.weight is None or self.bias is None:
            return normed
        return normed * _as(self.weight, x) + _as(self.bias, x)

    @torch.no_grad()
    def _count(self, mean_C: Tensor, unbiased_variance_C: Tensor) -> None:
        self.num_batches_tracked += 1
        momentum = self.momentum
        share = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        self.running_mean.lerp_(mean_C, share)
        self.running_var.lerp_(unbiased_variance_C, share)


class _SumOverRanks(torch.autograd.Function):
    """Backward sums, too: the loss is a sum over ranks, and each rank's depends on all terms."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(tensor.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum(grad.clone()), None


def norm_over_ranks(model: nn.Module, ranks: Ranks) -> None:
    """Let every batch norm of a model see the examples of all ranks.

    Raises:
        ConfigError: naming a norm that cannot.
    """
    for parent_name, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                where = f"{parent_name}.{name}" if parent_name else name
                setattr(parent, name, RanksBatchNorm(child, ranks, where=where))


@contextmanager
def statistics_kept(norms: Sequence[RanksBatchNorm]) -> Iterator[None]:
    """Leave the running statistics alone while a forward pass is computed for a second time."""
    for norm in norms:
        norm.counts = False
    try:
        yield
    finally:
        for norm in norms:
            norm.counts = True


def _as(vector_C: Tensor, x: Tensor) -> Tensor:
    return vector_C.view(-1, *[1] * (x.ndim - 2))
