"""Linear maps by oneDNN against float64 and `nn.Linear`. B examples, I inputs, O outputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wukong.layers import MLP
from wukong.linear import MIN_MULTIPLY_ADDS, Linear


def gradients(linear: nn.Linear, x_BI: Tensor, upstream_BO: Tensor) -> list[Tensor]:
    """The output, then the gradients of x and of the weights."""
    x_BI = x_BI.clone().requires_grad_()
    out_BO = linear(x_BI)
    weights = list(linear.parameters())
    return [out_BO.detach(), *torch.autograd.grad(out_BO, [x_BI, *weights], upstream_BO)]


def uses_onednn(linear: nn.Linear, x_BI: Tensor) -> bool:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        linear(x_BI)
    return any(event.key == "mkldnn::_linear_pointwise" for event in profiled.key_averages())


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 70)] * 2),
    bias=st.booleans(),
    transposed=st.booleans(),
    seed=st.integers(0, 9),
)
def test_values_and_gradients_are_those_of_float64(
    sizes: tuple[int, int], bias: bool, transposed: bool, seed: int
) -> None:
    n_in, n_out = sizes
    rows = MIN_MULTIPLY_ADDS // (n_in * n_out) + 1
    torch.manual_seed(seed)
    linear = Linear(n_in, n_out, bias=bias)
    exact = nn.Linear(n_in, n_out, bias=bias, dtype=torch.float64)
    exact.load_state_dict(linear.state_dict())
    x_BI = torch.randn(n_in, rows).T if transposed else torch.randn(rows, n_in)
    upstream_BO = torch.randn(rows, n_out)
    found = gradients(linear, x_BI, upstream_BO)
    expected = gradients(exact, x_BI.double(), upstream_BO.double())
    for ours, reference in zip(found, expected, strict=True):
        largest = float(reference.abs().max())
        tolerance = 2e-6 * (largest + rows**0.5)  # sums of so many terms of size one may cancel
        torch.testing.assert_close(ours.double(), reference, rtol=0, atol=tolerance)


def test_large_products_are_onednns_and_the_rest_are_torchs() -> None:
    linear = Linear(64, 64)
    assert uses_onednn(linear, torch.randn(512, 64))
    assert not uses_onednn(linear, torch.randn(511, 64))
    assert not uses_onednn(Linear(64, 64).double(), torch.randn(512, 64, dtype=torch.float64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(torch.randn(512, 64)).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        assert not uses_onednn(linear, torch.randn(512, 64))


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_an_mlp_takes_no_rows_at_all(norm: str) -> None:
    mlp = MLP(5, (6,), 4, norm=norm)
    x_BI = torch.zeros(0, 5, requires_grad=True)
    mlp(x_BI).sum().backward()
    assert x_BI.grad is not None
    assert x_BI.grad.shape == (0, 5)
    assert all(float(w.grad.abs().sum()) == 0 for w in mlp.parameters())


def test_flop_are_counted_as_those_of_nn_linear() -> None:
    x_BI = torch.randn(512, 64, requires_grad=True)
    counts = []
    for linear in (Linear(64, 80), nn.Linear(64, 80)):
        with FlopCounterMode(display=False) as counter:
            linear(x_BI).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts == [3 * 2 * 512 * 64 * 80] * 2


def test_the_compiler_is_told_the_shape_that_comes_out() -> None:
    arguments = (torch.randn(40, 7), torch.randn(9, 7), torch.randn(9), True)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.wukong.onednn_linear, arguments, test_utils=checks)
