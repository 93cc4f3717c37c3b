"""Whole training steps of Wukong models: lookups, forward, backward, optimizer, peak memory.

B examples, W columns of all features. BF16 is what FSDP does on one device: BF16 weights for the
products, cast at each step from FP32 ones, which Adam updates with gradients cast back.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cost_models.profile.device import precision
from cost_models.profile.lookups import StackedTables
from cost_models.profile.memory import peak_of
from cost_models.profile.record import Result
from cost_models.profile.spaces import StepDesign
from cost_models.profile.timing import time_steps
from wukong.data.batch import Batch
from wukong.model import Wukong
from wukong.shape import WukongConfig

if TYPE_CHECKING:
    from cost_models.profile.device import Device
    from cost_models.profile.record import Case

_INPUTS = 3
_WARM_UP_STEPS = 3


def measure(case: Case, device: Device, *, seconds: float) -> Result:
    """Measure one step.

    Args:
        case: of section `step`.
        device: where it runs.
        seconds: aimed-at measuring time, without set-up, warm-up and compilation.

    Raises:
        RuntimeError: out of memory, or the compiler failed.
    """
    design = StepDesign.from_json(case.design)
    with precision(case.precision) as dtype:
        if case.mode == "compiled":
            torch._dynamo.reset()
        _warm_up(device.torch)
        held = torch.cuda.memory_allocated() if device.is_cuda else 0
        step = _Step(case, design, device, dtype)
        started = time.perf_counter()
        step.run(0)
        device.synchronize()
        compile_s = time.perf_counter() - started if case.mode == "compiled" else 0.0
        step.run(0)  # from here on Adam has its state
        peak_bytes = peak_of(lambda: step.run(0), step.tensors(), device) - held
        for i in range(1, _INPUTS):
            step.add_input()
            step.run(i)
        for i in range(_WARM_UP_STEPS):
            step.run(i % _INPUTS)
        device.synchronize()
        timing, parts = time_steps(step.parts, device, seconds=seconds, inputs=_INPUTS)
    result = Result(
        **dataclasses.asdict(timing),
        inputs=_INPUTS,
        flop=design.flop(case.batch),
        peak_bytes=peak_bytes,
        compile_s=compile_s,
    )
    return dataclasses.replace(result, **{f"{name}_ms": ms for name, ms in parts.items()})  # type: ignore[arg-type]


@cache
def _warm_up(device: torch.device) -> None:
    """Let each thread of autograd allocate what it keeps, before memory is compared."""
    weight = torch.ones(8, 8, device=device, requires_grad=True)
    (weight @ weight).sum().backward()


@dataclass(frozen=True, kw_only=True)
class _StepBatch(Batch):
    """A batch whose lookups are done."""

    looked_up_BW: Tensor


class _LookedUp(nn.Module):
    """Stands in for the tables of a model."""

    def forward(self, batch: _StepBatch) -> Tensor:
        return batch.looked_up_BW


class _Step:
    """A model with its optimizer, its tables and inputs; `parts` are what a step executes."""

    def __init__(self, case: Case, design: StepDesign, device: Device, dtype: torch.dtype) -> None:
        config = WukongConfig(**design.config)
        with torch.device(device.torch):
            model = Wukong(config, design.schema, _LookedUp()).to(dtype)
            tables = None
            if design.table_rows:
                tables = StackedTables(
                    design.features, design.table_rows, config.d, device=device.torch
                )
        self._forward = torch.compile(model, dynamic=False) if case.mode == "compiled" else model
        self._weights = list(model.parameters())
        self._adam = _Adam(self._weights) if design.optimizer == "adam" else None
        self._tables, self._width = tables, design.features * config.d
        self._case, self._dense = case, design.dense
        self._draw: dict[str, Any] = {"device": device.torch, "dtype": dtype}
        self._ids: list[Tensor] = []
        self._rows: list[Tensor] = []
        self._dense_inputs: list[Tensor] = []
        self._labels: list[Tensor] = []
        self.add_input()

    @property
    def parts(self) -> dict[str, Callable[[int], object]]:
        """What a step executes, in order. Made anew: a step must not hold itself alive."""
        lookup: dict[str, Callable[[int], object]] = {}
        if self._tables is not None:
            lookup["lookup"] = self._look_up
        return lookup | {
            "forward": self._run_forward,
            "backward": self._run_backward,
            "optimizer": self._run_optimizer,
        }

    def add_input(self) -> None:
        """Draw one more input set."""
        batch, device = self._case.batch, self._draw["device"]
        if self._tables is not None:
            self._ids.append(self._tables.draw_ids(batch, 1))
            self._rows.append(torch.empty(0))
        else:
            rows_BW = torch.randn(batch, self._width, **self._draw)
            self._rows.append(rows_BW.requires_grad_())
        self._dense_inputs.append(torch.randn(batch, self._dense, **self._draw))
        self._labels.append((torch.rand(batch, device=device) < 0.5).float())

    def run(self, i: int) -> None:
        """Train on input set i."""
        for part in self.parts.values():
            part(i)

    def tensors(self) -> Iterator[Tensor]:
        """Yield what stays allocated between steps."""
        yield from self._weights
        if self._adam is not None:
            yield from self._adam.tensors()
        if self._tables is not None:
            yield from (self._tables.weight_RD, self._tables.state_R)
        yield from (*self._ids, *self._rows, *self._dense_inputs, *self._labels)

    def _look_up(self, i: int) -> None:
        assert self._tables is not None
        rows = self._tables.look_up(self._ids[i]).to(self._draw["dtype"])
        self._rows[i] = rows.view(self._case.batch, self._width).requires_grad_()

    def _run_forward(self, i: int) -> None:
        if self._adam is not None:
            self._adam.cast()
        nothing = torch.empty(0, 0, dtype=torch.int64, device=self._draw["device"])
        batch = _StepBatch(
            one_hot_BF=nothing,
            bag_values=nothing,
            bag_lengths_FB=nothing,
            dense_BD=self._dense_inputs[i],
            label_BT=self._labels[i][:, None],
            looked_up_BW=self._rows[i],
        )
        logit_BT = self._forward(batch).float()
        self._loss = F.binary_cross_entropy_with_logits(logit_BT, batch.label_BT)

    def _run_backward(self, i: int) -> None:  # noqa: ARG002
        self._loss.backward()

    def _run_optimizer(self, i: int) -> None:
        if self._adam is not None:
            self._adam.step()
        for weight in self._weights:
            weight.grad = None
        grad_BW = _grad(self._rows[i])
        if self._tables is not None:
            width = self._tables.weight_RD.shape[1]
            self._tables.update(self._ids[i], grad_BW.view(-1, width))
            self._rows[i] = torch.empty(0)
        else:
            self._rows[i].grad = None


class _Adam:
    """Fused Adam on FP32 weights; BF16 weights are cast from these, their gradients to them."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = self._master = list(weights)
        self._grads: list[Tensor] = []
        if self._weights[0].dtype != torch.float32:
            self._master = [nn.Parameter(w.detach().float()) for w in weights]
            self._grads = [torch.zeros_like(w) for w in self._master]
        self._adam = torch.optim.Adam(self._master, lr=1e-4, fused=True)

    def cast(self) -> None:
        """Bring the weights that compute up to date."""
        if self._grads:
            torch._foreach_copy_([w.data for w in self._weights], [m.data for m in self._master])

    def step(self) -> None:
        """Update the FP32 weights."""
        if self._grads:
            torch._foreach_copy_(self._grads, [_grad(w) for w in self._weights])
            for master, grad in zip(self._master, self._grads, strict=True):
                master.grad = grad
        self._adam.step()

    def tensors(self) -> Iterator[Tensor]:
        """Yield what stays allocated between steps, the computing weights left out."""
        if self._grads:
            yield from (*self._master, *self._grads)
        for state in self._adam.state.values():
            yield from state.values()


def _grad(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
