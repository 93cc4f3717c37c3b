"""Operations to measure: results against float64, layouts, inputs, counts against the tracer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from codesign.errors import ConfigError
from cost_models.operations.trace import trace
from cost_models.profile.kernels import Call, build, case_bytes, case_flop
from cost_models.profile.record import Case

CPU = torch.device("cpu")
BASE = Case(section="op", kind="", precision="fp32")


def of(kind: str, phase: str = "", **fields: Any) -> Case:
    return dataclasses.replace(BASE, kind=kind, phase=phase, **fields)


PRODUCTS = [
    *(of("gemm", layout=layout, m=6, n=5, k=3) for layout in ("nn", "nt", "tn", "tt")),
    *(
        of("bmm", layout=layout, batch=4, m=6, n=5, k=3)
        for layout in ("nn", "nt", "tn", "Nt", "nN", "nT", "Tn")
    ),
]
REST = [
    of("layer_norm", "forward", m=6, n=5),
    of("layer_norm", "backward", m=6, n=5),
    of("batch_norm", "forward", m=6, n=5),
    of("batch_norm", "backward", m=6, n=5),
    of("elementwise", "forward", m=20, n=1),
    of("elementwise", "forward", m=20, n=2),
    of("elementwise", "backward", m=20, n=2),
    of("elementwise", "forward", m=20, n=3),
    of("copy", "forward", m=512),
    of("copy", "forward", m=7),
    of("reduction", "backward", m=6, k=9),
]
EVERY = [*PRODUCTS, *REST]


def name_of(case: Case) -> str:
    return " ".join(filter(None, (case.kind, case.phase, case.layout, f"{case.m}x{case.n}")))


class Seen(TorchDispatchMode):
    """Keeps what the kernel of an operation was given, and what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...], tuple[Any, ...], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, args)
        out = func(*args, **(kwargs or {}))
        self.calls.append((func.overloadpacket.__name__, given, args, out))
        return out


def executed(call: Call) -> tuple[str, tuple[Any, ...], tuple[Any, ...], Any]:
    """Name of the one kernel that a call runs, copies of its arguments, these, and its result."""
    with Seen() as seen:
        call()
    (only,) = seen.calls
    return only


def seeded(case: Case) -> Call:
    torch.manual_seed(5)
    return build(case, CPU)


def exact(value: Any) -> Any:
    return value.detach().double() if isinstance(value, Tensor) else value


def norm_gradients(forward: Any, grad: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Gradients by autograd in float64."""
    leaves = [exact(x).requires_grad_() for x in tensors]
    return torch.autograd.grad(forward(*leaves), leaves, exact(grad))


def expected(name: str, given: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """The result in float64, by another way than the kernel's."""
    x = tree_map(exact, given)
    match name:
        case "mm" | "bmm":
            return (torch.from_numpy(x[0].numpy() @ x[1].numpy()),)
        case "native_layer_norm":
            centred = x[0] - x[0].mean(1, keepdim=True)
            scale = centred.square().mean(1, keepdim=True).add(1e-5).rsqrt()
            return (centred * scale * x[2] + x[3],)
        case "native_batch_norm":
            centred = x[0] - x[0].mean(0)
            return (centred * centred.square().mean(0).add(1e-5).rsqrt() * x[1] + x[2],)
        case "native_layer_norm_backward":
            return norm_gradients(
                lambda a, w, b: F.layer_norm(a, given[2], w, b), given[0], given[1], *given[5:7]
            )
        case "native_batch_norm_backward":
            return norm_gradients(
                lambda a, w: F.batch_norm(a, None, None, w, training=True), *given[:3]
            )
        case "relu":
            return (x[0] * (x[0] > 0),)
        case "threshold_backward":
            return (x[0] * (x[1] > 0),)
        case "add":
            return (torch.from_numpy(x[0].numpy() + x[1].numpy()),)
        case "addcmul":
            return (x[0] + x[1] * x[2],)
        case "cat":
            return (torch.from_numpy(np.hstack([part.numpy() for part in x[0]])),)
        case "clone":
            return (x[0],)
        case "sum":
            return (torch.from_numpy(np.einsum("km->m", x[0].numpy())),)
    raise AssertionError(name)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("case", EVERY, ids=name_of)
def test_what_is_executed_is_the_operation_that_the_case_names(case: Case, precision: str) -> None:
    name, given, _, out = executed(seeded(dataclasses.replace(case, precision=precision)))
    rtol, atol = (0.03, 0.05) if precision == "bf16" else (1e-4, 1e-5)
    found, wanted = tree_leaves(out), expected(name, given)
    assert len(found) >= len(wanted)  # norms return statistics, too
    for one, other in zip(found, wanted, strict=False):
        torch.testing.assert_close(exact(one), other, rtol=rtol, atol=atol)
    assert found[0].dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


@pytest.mark.parametrize("case", PRODUCTS, ids=name_of)
def test_the_strides_of_factors_are_what_their_letters_say(case: Case) -> None:
    _, _, (a, b), out = executed(seeded(case))
    assert out.shape[-2:] == (case.m, case.n)
    for factor, letter, rows, columns in zip(
        (a, b), case.layout, (case.m, case.k), (case.k, case.n), strict=True
    ):
        assert factor.shape[-2:] == (rows, columns)
        inner = (1, rows) if letter.lower() == "t" else (columns, 1)
        assert factor.stride()[-2:] == inner
        if case.kind == "bmm":
            assert factor.shape[0] == case.batch
            assert factor.stride()[0] == (0 if letter.isupper() else rows * columns)


@pytest.mark.parametrize("case", EVERY, ids=name_of)
def test_inputs_are_no_zeros_and_each_set_is_another(case: Case) -> None:
    torch.manual_seed(5)
    sets = []
    for _ in range(2):
        _, given, _, _ = executed(build(case, CPU))
        data = next(x for x in tree_leaves(given) if isinstance(x, Tensor))
        assert (data != 0).float().mean() > 0.99
        assert data.std() > 0.5
        sets.append(data)
    assert not torch.equal(*sets)


class Executes(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self) -> object:
        return self.call()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", EVERY, ids=name_of)
def test_bytes_and_flop_are_those_that_the_tracer_counts(case: Case, precision: str) -> None:
    case = dataclasses.replace(case, precision=precision)
    (op,) = trace(Executes(seeded(case)), backward=False)
    assert (op.kind, op.layout, op.flop) == (case.kind, case.layout, case_flop(case))
    assert op.bytes == case_bytes(case)


@pytest.mark.parametrize(("m", "n"), [(12, 1), (12, 3), (1024, 16)])
def test_the_optimizer_is_one_fused_step_of_adam_on_all_its_parameters(m: int, n: int) -> None:
    case = of("optimizer", "optimizer", m=m, n=n)
    call = seeded(case)
    call()  # state is there from the first step on
    with Seen() as seen:
        call()
    ((given, after),) = (call[1:3] for call in seen.calls if call[0] == "_fused_adam_")
    assert [len(group) for group in given[:4]] == [n] * 4
    assert sum(weight.numel() for weight in given[0]) == m
    assert case_bytes(case) == 7 * 4 * m
    for weight, grad, first, second, *found in zip(*given[:4], *after[:4], strict=True):
        first = 0.9 * exact(first) + 0.1 * exact(grad)
        second = 0.999 * exact(second) + 0.001 * exact(grad) ** 2
        step = 1e-6 * (first / (1 - 0.9**2)) / ((second / (1 - 0.999**2)).sqrt() + 1e-8)
        torch.testing.assert_close(exact(found[0]), exact(weight) - step, rtol=0, atol=3e-7)
        torch.testing.assert_close(exact(found[2]), first, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(exact(found[3]), second, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("case", [of("gem"), of("layer_norm", "optimizer"), of("layer_norm")])
def test_an_operation_that_is_not_known_is_refused(case: Case) -> None:
    with pytest.raises(ConfigError, match=f"no operation '{case.kind}' of phase '{case.phase}'"):
        build(case, CPU)
