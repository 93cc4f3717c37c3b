"""Operations to execute: for a case, an input set and the call that is timed.

Inputs are drawn at random: products of zeros run measurably faster than products of data. Sizes are
those of `cost_models.operations.ops.KINDS`, and of `elementwise` n is how many tensors of m
elements are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from codesign.errors import ConfigError
from cost_models.profile.device import PRECISIONS
from wukong.linear import fits_onednn, product

if TYPE_CHECKING:
    from cost_models.profile.record import Case

Call = Callable[[], object]
Draw = Callable[..., Tensor]
_aten = torch.ops.aten


def build(case: Case, device: torch.device) -> Call:
    """Draw one input set and return the operation on it.

    Raises:
        ConfigError: an operation that is not known.
        RuntimeError: out of memory.
    """
    builder = _BUILDERS.get((case.kind, case.phase)) or _BUILDERS.get((case.kind, ""))
    if builder is None:
        raise ConfigError(f"there is no operation {case.kind!r} of phase {case.phase!r} to measure")
    dtype = PRECISIONS[case.precision]

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, device=device, dtype=dtype)

    return builder(case, draw)


def case_bytes(case: Case) -> int:
    """Bytes that one execution must at least move (see `cost_models.operations.ops`)."""
    size = PRECISIONS[case.precision].itemsize
    cells = case.m * case.n
    match case.kind:
        case "gemm" | "bmm":
            shared = [letter.isupper() for letter in case.layout]
            a = case.m * case.k * (1 if shared[0] else case.batch)
            b = case.k * case.n * (1 if shared[1] else case.batch)
            return size * (a + b + case.batch * cells)
        case "layer_norm" | "batch_norm":
            tensors = 2 if case.phase == "forward" else 3  # and as many weights and gradients
            return size * tensors * (cells + case.n)
        case "elementwise":
            return size * case.m * (1 + case.n)
        case "reduction":
            return size * case.m * (1 + case.k)
        case "optimizer":
            return 7 * size * case.m
        case _:
            return 2 * size * case.m


def case_flop(case: Case) -> int:
    """Two for each multiply-add of a product; 0 for what memory bounds."""
    return 2 * case.batch * case.m * case.n * case.k if case.kind in ("gemm", "bmm") else 0


def _factor(draw: Draw, letter: str, batch: int, rows: int, columns: int) -> Tensor:
    """Draw (batch, rows, columns) laid out as its letter says; a capital is shared by the batch."""
    own = 1 if letter.isupper() else batch
    if letter.lower() == "t":
        matrices = draw(own, columns, rows).transpose(1, 2)
    else:
        matrices = draw(own, rows, columns)
    return matrices.expand(batch, -1, -1)


def _gemm(case: Case, draw: Draw) -> Call:
    """As the models compute linear maps: on a CPU in FP32 by oneDNN where that is the faster."""
    a_MK = _factor(draw, case.layout[0], 1, case.m, case.k)[0]
    b_KN = _factor(draw, case.layout[1], 1, case.k, case.n)[0]
    if fits_onednn(a_MK, b_KN):
        return lambda: product(a_MK, b_KN.T)
    return lambda: torch.mm(a_MK, b_KN)


def _bmm(case: Case, draw: Draw) -> Call:
    a_BMK = _factor(draw, case.layout[0], case.batch, case.m, case.k)
    b_BKN = _factor(draw, case.layout[1], case.batch, case.k, case.n)
    return lambda: torch.bmm(a_BMK, b_BKN)


def _layer_norm(case: Case, draw: Draw) -> Call:
    x_MN, weight_N, bias_N = draw(case.m, case.n), draw(case.n), draw(case.n)
    return lambda: _aten.native_layer_norm(x_MN, [case.n], weight_N, bias_N, 1e-5)


def _layer_norm_backward(case: Case, draw: Draw) -> Call:
    x_MN, grad_MN = draw(case.m, case.n), draw(case.m, case.n)
    weight_N, bias_N = draw(case.n), draw(case.n)
    _, mean_M, rstd_M = _aten.native_layer_norm(x_MN, [case.n], weight_N, bias_N, 1e-5)
    return lambda: _aten.native_layer_norm_backward(
        grad_MN, x_MN, [case.n], mean_M, rstd_M, weight_N, bias_N, [True] * 3
    )


def _batch_norm(case: Case, draw: Draw) -> Call:
    x_MN, weight_N, bias_N = draw(case.m, case.n), draw(case.n), draw(case.n)
    mean_N, var_N = torch.zeros_like(weight_N), torch.ones_like(weight_N)
    return lambda: _aten.native_batch_norm(x_MN, weight_N, bias_N, mean_N, var_N, True, 0.1, 1e-5)


def _batch_norm_backward(case: Case, draw: Draw) -> Call:
    x_MN, grad_MN = draw(case.m, case.n), draw(case.m, case.n)
    weight_N, bias_N = draw(case.n), draw(case.n)
    mean_N, var_N = torch.zeros_like(weight_N), torch.ones_like(weight_N)
    _, saved_mean_N, saved_rstd_N = _aten.native_batch_norm(
        x_MN, weight_N, bias_N, mean_N, var_N, True, 0.1, 1e-5
    )
    return lambda: _aten.native_batch_norm_backward(
        grad_MN, x_MN, weight_N, mean_N, var_N, saved_mean_N, saved_rstd_N, True, 1e-5, [True] * 3
    )


def _elementwise(case: Case, draw: Draw) -> Call:
    tensors = [draw(case.m) for _ in range(case.n)]
    if case.n == 1:
        return lambda: torch.relu(tensors[0])
    if case.n == 2 and case.phase == "backward":
        return lambda: _aten.threshold_backward(tensors[0], tensors[1], 0)
    if case.n == 2:
        return lambda: tensors[0] + tensors[1]
    return lambda: torch.addcmul(*tensors[:3])


def _copy(case: Case, draw: Draw) -> Call:
    """Join two parts of rows of up to 256, one three times as wide, as `cat` of FMB and LCB."""
    width = math.gcd(case.m, 256)
    narrow = width // 4
    if not narrow:
        whole = draw(case.m)
        return whole.clone
    rows = case.m // width
    parts = (draw(rows, width - narrow), draw(rows, narrow))
    return lambda: torch.cat(parts, dim=1)


def _reduction(case: Case, draw: Draw) -> Call:
    """Sum over the leading dim, as gradients of biases and of shared weights are summed."""
    x_KM = draw(case.k, case.m)
    return lambda: x_KM.sum(dim=0)


def _optimizer(case: Case, draw: Draw) -> Call:
    """Fused Adam, its step counters included: case.m parameters in case.n tensors alike."""
    sizes = [case.m // case.n + (i < case.m % case.n) for i in range(case.n)]
    parameters = [torch.nn.Parameter(draw(size)) for size in sizes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    on_gpu = parameters[0].is_cuda
    adam = torch.optim.Adam(parameters, lr=1e-6, fused=True, capturable=on_gpu)
    return adam.step


_BUILDERS: dict[tuple[str, str], Callable[[Case, Draw], Call]] = {
    ("gemm", ""): _gemm,
    ("bmm", ""): _bmm,
    ("layer_norm", "forward"): _layer_norm,
    ("layer_norm", "backward"): _layer_norm_backward,
    ("batch_norm", "forward"): _batch_norm,
    ("batch_norm", "backward"): _batch_norm_backward,
    ("elementwise", ""): _elementwise,
    ("copy", ""): _copy,
    ("reduction", ""): _reduction,
    ("optimizer", ""): _optimizer,
}
