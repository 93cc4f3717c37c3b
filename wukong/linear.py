"""Linear maps that a CPU computes in FP32 by oneDNN.

Torch hands FP32 products to MKL, which leaves half of the vector units of some x86 processors idle;
oneDNN, which comes with torch, fills them (figures: `benchmarks/README.md`). Any other device or
dtype, autocast, and products too small to gain take torch's own way, as all do inside
`torch.backends.mkldnn.flags(enabled=False)`.

B examples, I inputs, O outputs. Weights are (O, I).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

MIN_MULTIPLY_ADDS = 2**21

# An operation of our own, because torch.compile takes oneDNN's for one with constant weights.
_LIBRARY = torch.library.Library("wukong", "FRAGMENT")
_LIBRARY.define("onednn_linear(Tensor x, Tensor weight, Tensor? bias, bool relu) -> Tensor")


class Linear(nn.Linear):
    """`nn.Linear`, by oneDNN where it is the faster. (B, in_features) → (B, out_features)."""

    def forward(self, x_BI: Tensor) -> Tensor:
        """Return (B, out_features)."""
        if x_BI.ndim != 2 or not fits_onednn(x_BI, self.weight):
            return super().forward(x_BI)
        arguments = (x_BI, self.weight, self.bias)
        out_BO: Tensor = _OneDnnLinear.apply(*arguments)  # type: ignore[no-untyped-call]
        return out_BO


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(x_BI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        return product(x_BI, weight_OI, bias_O)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BO: Tensor) -> tuple[Tensor | None, ...]:
        x_BI, weight_OI = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        # The weight's first: oneDNN copies the gradient transposed, and x's is not yet there.
        weight_grad = product(grad_BO.T, x_BI.T) if to_weight else None
        x_grad = product(grad_BO, weight_OI.T) if to_x else None
        return x_grad, weight_grad, grad_BO.sum(0) if to_bias else None


def fits_onednn(x: Tensor, weight: Tensor) -> bool:
    """Say whether a product x · weightᵀ, or a layer whose first one it is, is oneDNN's."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and len(x) * weight.numel() >= MIN_MULTIPLY_ADDS
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """Return x · weightᵀ + bias, then a ReLU or not, each factor in any order in memory."""
    out: Tensor = torch.ops.wukong.onednn_linear(x, weight, bias, relu)
    return out


@torch.library.impl(_LIBRARY, "onednn_linear", "CPU")
def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    activation = "relu" if relu else "none"
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
    return out


@torch.library.register_fake("wukong::onednn_linear", lib=_LIBRARY)
def _shape_of_product(x: Tensor, weight: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@register_flop_formula(torch.ops.wukong.onednn_linear)
def _flop_of_product(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    return 2 * x[0] * x[1] * weight[0]
