"""One Wukong layer as a single step of autograd, for a CPU in FP32.

The same arithmetic as `wukong.layers.WukongLayer` of the paper's form, differentiated by hand:
gradients of X are added up in place, LCB and residual mix are one product, and gradients of maps
over rows never exist for each example at once.

B examples, N rows of the input, D width, K columns of Y, M rows of an output, F and L rows of FMB
and LCB, P entries of a flattened FM matrix or of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wukong.linear import product

CHUNK = 256  # examples whose weight gradients are added up together

_norm = torch.ops.aten.native_layer_norm
_norm_backward = torch.ops.aten.native_layer_norm_backward
_ALL = [True, True, True]


class FusedLayer(torch.autograd.Function):
    """`apply(x_BND, eps, y_NK, lcb_LN, mix_MN or None, *norms, *mlp)` → (B, F + L, D).

    `norms` are weight and bias of the norm over FM(X), then of the one over D; `mlp` weights and
    biases of the linear maps, a ReLU after each but the last.
    """

    @staticmethod
    def forward(ctx: Any, x_BND: Tensor, eps: float, *weights: Any) -> Tensor:
        """Return (B, F + L, D)."""
        y_NK, lcb_LN, mix_MN, fm_w, fm_b, out_w, out_b, *mlp = weights
        B, _, D = x_BND.shape
        F = len(mlp[-1]) // D
        compressed_BKD = _mix(y_NK.T, x_BND)
        fm_BP = (x_BND @ compressed_BKD.mT).flatten(1)
        hidden, *fm_stats = _norm(fm_BP, [fm_BP.shape[1]], fm_w, fm_b, eps)
        hiddens = [hidden]
        for weight, bias in zip(mlp[:-2:2], mlp[1:-2:2], strict=True):
            hiddens.append(product(hiddens[-1], weight, bias, relu=True))
        fmb_BFD = product(hiddens[-1], *mlp[-2:]).view(B, F, D)
        if mix_MN is None:
            own_MN = lcb_LN
            sum_BMD = torch.cat((fmb_BFD, _mix(lcb_LN, x_BND)), dim=1).add_(x_BND)
        else:
            own_MN = torch.cat((mix_MN[:F], mix_MN[F:] + lcb_LN))
            sum_BMD = _mix(own_MN, x_BND)
            sum_BMD[:, :F] += fmb_BFD
        out_BMD, *out_stats = _norm(sum_BMD, [D], out_w, out_b, eps)
        ctx.rows, ctx.mixes, ctx.depth = F, mix_MN is not None, len(hiddens)
        ctx.save_for_backward(
            x_BND, y_NK, own_MN, fm_w, fm_b, out_w, out_b, compressed_BKD, fm_BP, *fm_stats,
            sum_BMD, *out_stats, *mlp[::2], *hiddens,
        )  # fmt: skip
        return out_BMD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BMD: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` took."""
        x_BND, y_NK, own_MN, fm_w, fm_b, out_w, out_b, compressed_BKD, *saved = ctx.saved_tensors
        fm_BP, fm_mean, fm_rstd, sum_BMD, mean, rstd, *mlp = saved
        F, D, P = ctx.rows, x_BND.shape[2], fm_BP.shape[1]
        grad_BMD, *out_grads = _norm_backward(
            grad_BMD, sum_BMD, [D], mean, rstd, out_w, out_b, _ALL
        )
        maps, hiddens = mlp[: ctx.depth], mlp[ctx.depth :]
        grad_BP, mlp_grads = _mlp_backward(grad_BMD[:, :F].reshape(-1, F * D), maps, hiddens)
        grad_BP, *fm_grads = _norm_backward(grad_BP, fm_BP, [P], fm_mean, fm_rstd, fm_w, fm_b, _ALL)
        grad_BNK = grad_BP.view(*x_BND.shape[:2], -1)
        x_grad_BND = grad_BNK @ compressed_BKD
        grad_BKD = grad_BNK.mT @ x_BND
        x_grad_BND.baddbmm_(_each(y_NK, x_BND), grad_BKD)
        y_grad_NK = _mix_gradient(x_BND, grad_BKD)
        own_BMD = grad_BMD if ctx.mixes else grad_BMD[:, F:]
        x_grad_BND.baddbmm_(_each(own_MN.T, x_BND), own_BMD)
        own_grad_MN = _mix_gradient(own_BMD, x_BND)
        if ctx.mixes:
            mix_grads: tuple[Tensor | None, ...] = (own_grad_MN[F:], own_grad_MN)
        else:
            x_grad_BND += grad_BMD
            mix_grads = (own_grad_MN, None)
        return x_grad_BND, None, y_grad_NK, *mix_grads, *fm_grads, *out_grads, *mlp_grads


def _each(weight_MN: Tensor, x_BND: Tensor) -> Tensor:
    return weight_MN.expand(len(x_BND), -1, -1)


def _mix(weight_MN: Tensor, x_BND: Tensor) -> Tensor:
    return torch.bmm(_each(weight_MN, x_BND), x_BND)


def _mix_gradient(left_BMD: Tensor, right_BND: Tensor) -> Tensor:
    """Return the sum over examples of left · rightᵀ, (M, N)."""
    sums = left_BMD.new_zeros(min(CHUNK, len(left_BMD)), left_BMD.shape[1], right_BND.shape[1])
    for left, right in zip(left_BMD.split(CHUNK), right_BND.split(CHUNK), strict=True):
        sums[: len(left)].baddbmm_(left, right.mT)
    return sums.sum(0)


def _mlp_backward(
    grad: Tensor, maps: Sequence[Tensor], hiddens: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradient of the input, and of each map's weight and bias, first to last."""
    found: list[Tensor] = []
    for i in reversed(range(len(maps))):
        found = [product(grad.T, hiddens[i].T), grad.sum(0), *found]
        grad = product(grad, maps[i].T)
        if i:
            grad = torch.ops.aten.threshold_backward(grad, hiddens[i], 0)
    return grad, found
