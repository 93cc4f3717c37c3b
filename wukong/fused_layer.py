"""One Wukong layer as a single step of autograd, for a CPU in FP32.

The same arithmetic as `wukong.layers.WukongLayer` of the paper's form, differentiated by hand:
gradients of X are added up in place, LCB and residual mix are one product, and gradients of maps
over rows never exist for each example at once.

B examples, N rows of the input, D width, K columns of Y, M rows of an output, F and L rows of FMB
and LCB, P entries of a flattened FM matrix or of a hidden layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wukong.linear import fits_onednn, product

CHUNK = 256  # examples whose weight gradients are added up together

_norm = torch.ops.aten.native_layer_norm
_norm_backward = torch.ops.aten.native_layer_norm_backward
_relu_backward = torch.ops.aten.threshold_backward.grad_input
_ALL = [True, True, True]


class FusedLayer(torch.autograd.Function):
    """`apply(x_BND, eps, y_NK, lcb_LN, mix_MN or None, *norms, *mlp)` → (B, F + L, D).

    `norms` are weight and bias of the norm over FM(X), then of the one over D; `mlp` weights and
    biases of the linear maps, a ReLU after each but the last.
    """

    # Backward frees what it needs no more: what was saved, and the gradient that comes in.
    clear_saved_tensors_on_access = True
    boxed_grads_call = True

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
        ctx.rows, ctx.mixes, ctx.maps = F, mix_MN is not None, len(hiddens)
        maps = [tensor for pair in zip(mlp[::2], hiddens, strict=True) for tensor in pair]
        ctx.save_for_backward(  # what backward needs first is last
            y_NK, compressed_BKD, fm_b, fm_w, *reversed(fm_stats), fm_BP, *maps, own_MN, x_BND,
            out_b, out_w, *reversed(out_stats), sum_BMD,
        )  # fmt: skip
        return out_BMD

    @staticmethod
    def backward(ctx: Any, grads: list[Tensor]) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` took; each tensor dies after its last use.

        Raises:
            RuntimeError: a second derivative is wanted.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "FusedLayer has no second derivative: call backward without "
                "create_graph, or turn torch.backends.mkldnn off"
            )
        saved, F = [*ctx.saved_tensors], ctx.rows
        grad_BMD, *out_grads = _through_norm(grads.pop(), saved)
        x_BND, own_MN = saved.pop(), saved.pop()
        own_BMD = grad_BMD if ctx.mixes else grad_BMD[:, F:]
        own_grad_MN = _mix_gradient(own_BMD, x_BND)
        mix_grads = (own_grad_MN[F:], own_grad_MN) if ctx.mixes else (own_grad_MN, None)
        to_x = _each(own_MN.T, x_BND)
        x_grad_BND = to_x.bmm(own_BMD) if ctx.mixes else torch.baddbmm(grad_BMD, to_x, own_BMD)
        grad_BP = grad_BMD[:, :F].flatten(1).contiguous()  # or each product would copy it
        del grad_BMD, own_BMD
        ones_B = grad_BP.new_ones(len(grad_BP))  # a product is faster than torch's sum
        mlp_grads: list[Tensor] = []
        for i in reversed(range(ctx.maps)):
            hidden, weight = saved.pop(), saved.pop()
            mlp_grads[:0] = product(grad_BP.T, hidden.T), ones_B @ grad_BP
            grad_BP = product(grad_BP, weight.T)
            if i:
                _relu_backward(grad_BP, hidden, 0, grad_input=grad_BP)
        del hidden
        grad_BP, *fm_grads = _through_norm(grad_BP, saved)
        grad_BNK = grad_BP.view(*x_BND.shape[:2], -1)
        x_grad_BND.baddbmm_(grad_BNK, saved.pop())
        grad_BKD = grad_BNK.mT @ x_BND
        del grad_BP, grad_BNK
        y_grad_NK = _mix_gradient(x_BND, grad_BKD)
        x_grad_BND.baddbmm_(_each(saved.pop(), x_BND), grad_BKD)
        return x_grad_BND, None, y_grad_NK, *mix_grads, *fm_grads, *out_grads, *mlp_grads


def _through_norm(grad: Tensor, saved: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a norm's input, weight and bias."""
    x, mean, rstd, weight, bias = (saved.pop() for _ in range(5))
    return _norm_backward(grad, x, list(weight.shape), mean, rstd, weight, bias, _ALL)


def fits_fused_layer(x: Tensor, first_map: Tensor) -> bool:
    """Say whether a layer whose MLP begins with these weights is one step; no compiled one is."""
    return fits_onednn(x, first_map) and not torch.compiler.is_compiling()


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
