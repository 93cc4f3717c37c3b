"""The blocks of a Wukong layer (arXiv 2403.02545, section 3).

B examples, N rows of the input, D width, K columns of the FM matrix, M rows of an output, F and L
rows of FMB and LCB. Rows are embeddings: X is (B, N, D) wherever it is visible. Of the two memory
layouts the same order is also how the rows lie in memory (`benchmarks/layouts.py` has both).

    FM(X)   = X (Xᵀ Y), or X Xᵀ                              (B, N, K)
    FMB(X)  = reshape(MLP(LN(flatten(FM(X)))))               (B, F, D)
    LCB(X)  = W_L X                                          (B, L, D)
    X'      = LN(concat(FMB(X), LCB(X)) + R(X))              (B, F + L, D), LN over D

State-dict keys of a `WukongLayer`, for loading weights made elsewhere. `i` counts linear maps from
the input on; with H hidden layers, i = H is the last. Weights of linear maps are (out, in).

    fmb.y                              (N, K)           Y; absent for the plain form
    fmb.attention.compress.weight      (rows, N)        W_c; only with `attentive_y`
    fmb.attention.mlp.linears.{0,1}.*                   its MLP: rows·D → width → N·K
    fmb.norm.{weight,bias}             (N·K,)           index n·K + k
    fmb.mlp.linears.{i}.{weight,bias}                   the last one's outputs: index f·D + δ
    fmb.mlp.norms.{i}.*                                 only with `mlp_norm`; i < H
    lcb.weight                         (L, N)           W_L
    residual.weight, residual.bias     (F+L, N), (F+L,) absent where N = F + L; FMB rows first
    norm.{weight,bias}                 (D,)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wukong.fused_layer import FusedLayer, fits_fused_layer
from wukong.linear import Linear

if TYPE_CHECKING:
    from wukong.shape import LayerShape, LinearInit, MixInit, MlpNorm, WukongConfig, YInit

_NORMS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "layer": nn.LayerNorm,
    "batch": nn.BatchNorm1d,
}


class MLP(nn.Module):
    """Linear maps, each hidden one followed by norm, ReLU and dropout. (B, n_in) → (B, n_out).

    Args:
        n_in, n_out: width of the input and of the output.
        hidden: widths of the hidden layers; empty for one linear map.
        norm: after each hidden linear map, before the ReLU.
        bias: whether the linear maps have a bias.
        output_bias: the same for the last one, where it differs.
        dropout: share of hidden activations dropped, in [0, 1).
        output_activation: a ReLU after the last linear map.
        init: how the linear maps start (see `WukongConfig.linear_init`).
    """

    def __init__(
        self,
        n_in: int,
        hidden: tuple[int, ...],
        n_out: int,
        *,
        norm: MlpNorm = "none",
        bias: bool = True,
        output_bias: bool | None = None,
        dropout: float = 0.0,
        output_activation: bool = False,
        init: LinearInit = "uniform",
    ) -> None:
        super().__init__()
        ins, outs = (n_in, *hidden), (*hidden, n_out)
        biases = [bias] * len(hidden) + [bias if output_bias is None else output_bias]
        linears = [Linear(*sizes) for sizes in zip(ins, outs, biases, strict=True)]
        if init == "xavier_normal":
            for linear in linears:
                nn.init.xavier_normal_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)
        self.linears = nn.ModuleList(linears)
        self.norms = nn.ModuleList(_NORMS[norm](width) for width in hidden)
        self.dropout = nn.Dropout(dropout)
        self.output_activation = output_activation

    def forward(self, x_BI: Tensor) -> Tensor:
        """Return (B, n_out)."""
        hidden = zip(self.linears, self.norms, strict=False)  # the last linear map has no norm
        for linear, norm in hidden:
            x_BI = self.dropout(functional.relu(norm(linear(x_BI))))
        out_BO: Tensor = self.linears[-1](x_BI)
        return functional.relu(out_BO) if self.output_activation else out_BO


class LinearCompressBlock(nn.Module):
    """LCB(X) = W X, a linear map over rows; also the residual mix. (B, n_in, D) → (B, n_out, D).

    Args:
        n_in, n_out: rows of the input and of the output.
        bias: one number for each output row, added to all of its columns.
        init: how W starts (see `WukongConfig.mix_init`).
    """

    def __init__(
        self, n_in: int, n_out: int, *, bias: bool = False, init: MixInit = "uniform"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.empty(n_out)) if bias else None
        if init == "xavier_normal":
            nn.init.xavier_normal_(self.weight)
        else:
            bound = math.sqrt(6 / n_out) if init == "kaiming_uniform" else 1 / math.sqrt(n_in)
            nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            bound = 1 / math.sqrt(n_in) if init == "uniform" else 0.0
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, n_out, D)."""
        out_BMD = _mix_rows(self.weight, x_BND)
        return out_BMD if self.bias is None else out_BMD + self.bias[:, None]


class AttentiveY(nn.Module):
    """The part of Y that depends on the input: reshape(MLP(flatten(W_c X))). → (B, N, K)."""

    def __init__(self, shape: LayerShape, config: WukongConfig) -> None:
        super().__init__()
        self.shape = shape
        self.compress = LinearCompressBlock(shape.n_in, config.attentive_rows, init=config.mix_init)
        self.mlp = MLP(
            config.attentive_rows * config.d,
            (config.attentive_width,),
            shape.n_in * shape.k,
            init=config.linear_init,
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return what is added to Y_0 for each example, (B, N, K)."""
        y_BP: Tensor = self.mlp(self.compress(x_BND).flatten(1))
        return y_BP.view(-1, self.shape.n_in, self.shape.k)


class FactorizationMachineBlock(nn.Module):
    """FMB(X) = reshape(MLP(LN(flatten(FM(X))))). (B, N, D) → (B, n_F, D)."""

    def __init__(self, shape: LayerShape, config: WukongConfig) -> None:
        super().__init__()
        self.out_shape = (shape.n_F, config.d)
        self.y: nn.Parameter | None = None
        if config.fm == "low_rank":
            self.y = nn.Parameter(_init_y(shape.n_in, shape.k, config.y_init))
        self.attention = AttentiveY(shape, config) if config.attentive_y else None
        self.norm = nn.LayerNorm(shape.n_in * shape.k, eps=config.ln_eps)
        self.mlp = MLP(
            shape.n_in * shape.k,
            shape.mlp_hidden,
            shape.n_F * config.d,
            norm=config.mlp_norm,
            bias=config.mlp_bias,
            dropout=config.dropout,
            output_activation=config.mlp_output_activation,
            init=config.linear_init,
        )

    def interactions(self, x_BND: Tensor) -> Tensor:
        """Return FM(X), (B, N, K): X(XᵀY) from right to left in O(NKD), or XXᵀ in O(N²D)."""
        if self.y is None:
            return x_BND @ x_BND.transpose(1, 2)
        if self.attention is None:
            return x_BND @ _mix_rows(self.y.T, x_BND).transpose(1, 2)
        y_BNK = self.y + self.attention(x_BND)
        return x_BND @ (x_BND.transpose(1, 2) @ y_BNK)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, n_F, D)."""
        out_BP: Tensor = self.mlp(self.norm(self.interactions(x_BND).flatten(1)))
        return out_BP.view(-1, *self.out_shape)


class WukongLayer(nn.Module):
    """X' = LN(concat(FMB(X), LCB(X)) + R(X)). (B, n_in, D) → (B, n_F + n_L, D).

    R is the identity where the rows of input and output agree, else a learned mix over rows.
    """

    def __init__(self, shape: LayerShape, config: WukongConfig) -> None:
        super().__init__()
        self.fmb = FactorizationMachineBlock(shape, config)
        self.lcb = LinearCompressBlock(shape.n_in, shape.n_L, init=config.mix_init)
        self.residual: nn.Module = nn.Identity()
        if shape.mixes_residual:
            self.residual = LinearCompressBlock(
                shape.n_in, shape.n_out, bias=config.residual_bias, init=config.mix_init
            )
        self.norm = nn.LayerNorm(config.d, eps=config.ln_eps)
        self._has_switches = (
            config.fm == "plain"
            or config.attentive_y
            or config.mlp_norm != "none"
            or not config.mlp_bias
            or config.dropout > 0
            or config.mlp_output_activation
            or config.residual_bias
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, n_F + n_L, D)."""
        first_map = cast("nn.Linear", self.fmb.mlp.linears[0])
        if not self._has_switches and fits_fused_layer(x_BND, first_map.weight):
            return self._fused(x_BND)
        new_BMD = torch.cat((self.fmb(x_BND), self.lcb(x_BND)), dim=1)
        out_BMD: Tensor = self.norm(new_BMD + self.residual(x_BND))
        return out_BMD

    def _fused(self, x_BND: Tensor) -> Tensor:
        residual = self.residual
        mix = residual.weight if isinstance(residual, LinearCompressBlock) else None
        norms = [w for norm in (self.fmb.norm, self.norm) for w in (norm.weight, norm.bias)]
        mlp = [w for linear in self.fmb.mlp.linears for w in (linear.weight, linear.bias)]
        weights = (self.fmb.y, self.lcb.weight, mix, *norms, *mlp)
        arguments = (x_BND, self.norm.eps, *weights)
        out_BMD: Tensor = FusedLayer.apply(*arguments)  # type: ignore[no-untyped-call]
        return out_BMD


def _mix_rows(weight_MN: Tensor, x_BND: Tensor) -> Tensor:
    # One small product for each example: measured 15-25% faster, forward and backward, than
    # `weight @ x`, which torch folds into one large product after copying x transposed.
    # The weight's gradient passes through (B, M, N), M / D times the size of x.
    return torch.bmm(weight_MN.expand(len(x_BND), -1, -1), x_BND)


def _init_y(n_in: int, k: int, init: YInit) -> Tensor:
    if init == "normal":
        return torch.randn(n_in, k)
    bound = math.sqrt(6 / k)
    return torch.empty(n_in, k).uniform_(-bound, bound)
