"""Measured steps really train, and what is said of them is true: flop, memory, parts."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cost_models.profile.device import PRECISIONS, Device
from cost_models.profile.memory import peak_of
from cost_models.profile.record import Case
from cost_models.profile.spaces import StepDesign
from cost_models.profile.steps import _Step, measure

CPU = Device("cpu")
CONFIG = {"layers": 2, "n_F": 4, "n_L": 4, "k": 4, "mlp_depth": 1, "mlp_width": 32, "d": 8,
          "head_depth": 1, "head_width": 32}  # fmt: skip
PLAIN = StepDesign(features=5, dense=3, config=CONFIG)
WITH_TABLES = dataclasses.replace(PLAIN, table_rows=20)
DESIGNS = {
    "plain": PLAIN,
    "tables": WITH_TABLES,
    "no dense features": dataclasses.replace(PLAIN, dense=0),
    "batch norm": dataclasses.replace(PLAIN, config=CONFIG | {"mlp_norm": "batch"}),
}
EACH = pytest.mark.parametrize("design", DESIGNS.values(), ids=list(DESIGNS))


def case_of(design: StepDesign, *, batch: int = 32, precision: str = "fp32") -> Case:
    return Case(section="step", kind="wukong", phase="step", precision=precision, mode="eager",
                batch=batch, design=design.to_json())  # fmt: skip


def step_of(design: StepDesign, **fields: Any) -> _Step:
    torch.manual_seed(7)
    case = case_of(design, **fields)
    return _Step(case, design, CPU, PRECISIONS[case.precision])


def loss_of(step: _Step) -> float:
    return float(step._loss.detach())


@EACH
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_repeated_on_one_batch_learn_it(design: StepDesign, precision: str) -> None:
    step = step_of(design, precision=precision)
    assert step._adam is not None
    master = step._adam._master
    before = [weight.detach().clone() for weight in master]
    step.run(0)
    first = loss_of(step)
    for _ in range(150):
        step.run(0)
    assert loss_of(step) < 0.9 * first
    moved = [not torch.equal(a, b) for a, b in zip(before, master, strict=True)]
    assert sum(moved) >= 0.9 * len(moved)


def test_tables_learn_the_rows_that_were_looked_up_and_no_others() -> None:
    step = step_of(WITH_TABLES)
    assert step._tables is not None
    before_RD = step._tables.weight_RD.clone()
    step.run(0)
    moved_R = (step._tables.weight_RD != before_RD).any(dim=1)
    assert set(moved_R.nonzero().flatten().tolist()) == set(step._ids[0].flatten().tolist())
    assert list(step.parts) == ["lookup", "forward", "backward", "optimizer"]
    assert list(step_of(PLAIN).parts) == ["forward", "backward", "optimizer"]


def test_in_bf16_adam_updates_fp32_weights_and_products_use_them_rounded() -> None:
    step = step_of(PLAIN, precision="bf16")
    for _ in range(5):
        step.run(0)
    step.parts["forward"](0)
    assert {w.dtype for w in step._weights} == {torch.bfloat16}
    assert step._adam is not None
    masters, state = step._adam._master, step._adam._adam.state
    assert {w.dtype for w in masters} == {torch.float32}
    for weight, master in zip(step._weights, masters, strict=True):
        assert torch.equal(weight, master.bfloat16())
    finer = [not torch.equal(master, master.bfloat16().float()) for master in masters]
    assert sum(finer) > 0.5 * len(finer)
    assert {s.dtype for states in state.values() for s in states.values()} == {torch.float32}
    assert set(state) == set(masters)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_optimizer_a_step_computes_the_same_and_holds_weights_and_gradients_only(
    precision: str,
) -> None:
    wide = dataclasses.replace(PLAIN, config=CONFIG | {"mlp_width": 1024})
    design = dataclasses.replace(wide, optimizer="none")
    step = step_of(design, precision=precision)
    before = [weight.detach().clone() for weight in step._weights]
    with FlopCounterMode(display=False) as counter:
        step.run(0)
    assert counter.get_total_flops() == design.flop(32)
    assert all(map(torch.equal, before, step._weights))
    found = measure(case_of(design, batch=16, precision=precision), CPU, seconds=0.0).peak_bytes
    held = design.held_bytes(precision)
    assert 0.95 * held <= found <= 1.3 * held
    assert held < 0.6 * wide.held_bytes(precision)


@EACH
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_flop_are_those_that_torch_counts_of_the_step(design: StepDesign, precision: str) -> None:
    step = step_of(design, precision=precision)
    with FlopCounterMode(display=False) as counter:
        step.run(0)
    assert counter.get_total_flops() == design.flop(32) > 0
    assert measure(case_of(design, precision=precision), CPU, seconds=0.0).flop == design.flop(32)


@EACH
def test_parameters_are_those_of_the_model(design: StepDesign) -> None:
    assert sum(weight.numel() for weight in step_of(design)._weights) == design.parameters


def saved_bytes(step: _Step) -> int:
    """Bytes of what autograd keeps from forward to backward, weights and inputs left out."""
    known = {x.untyped_storage().data_ptr() for x in step.tensors()}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        step.parts["forward"](0)
    return sum(kept.values())


@pytest.mark.parametrize(
    ("width", "batch"), [(1024, 16), (32, 2048)], ids=["large weights", "large batch"]
)
def test_peak_memory_is_weights_gradients_state_and_activations(width: int, batch: int) -> None:
    design = dataclasses.replace(PLAIN, config=CONFIG | {"mlp_width": width})
    found = measure(case_of(design, batch=batch), CPU, seconds=0.0).peak_bytes
    state = 4 * 4 * design.parameters  # a weight, its gradient and Adam's two moments
    inputs = 4 * batch * (5 * 8 + 3 + 1)
    activations = saved_bytes(step_of(design, batch=batch))
    assert found >= max(state + inputs, 3 / 4 * state + inputs + activations)
    assert found <= 1.3 * (state + 2 * inputs + activations)


def test_in_bf16_a_peak_holds_weights_and_gradients_of_both_precisions() -> None:
    design = dataclasses.replace(PLAIN, config=CONFIG | {"mlp_width": 1024})
    found = measure(case_of(design, batch=16, precision="bf16"), CPU, seconds=0.0).peak_bytes
    each = 2 + 2 + 4 * 4
    assert each * design.parameters <= found <= 1.3 * each * design.parameters


def test_a_peak_is_that_of_the_worst_moment() -> None:
    held = torch.empty(1 << 20, dtype=torch.uint8)

    def run() -> None:
        first = torch.empty(3 << 20, dtype=torch.uint8)
        second = torch.empty(2 << 20, dtype=torch.uint8)
        del first
        third = torch.empty(1 << 20, dtype=torch.uint8)
        del second, third

    views = [held, held[:10], held.view(torch.int32)]
    assert peak_of(run, views, CPU) == (1 + 3 + 2) << 20
    assert peak_of(lambda: None, views, CPU) == 1 << 20


@pytest.mark.parametrize("design", [PLAIN, WITH_TABLES], ids=["plain", "tables"])
def test_the_parts_of_a_measured_step_make_up_the_step(design: StepDesign) -> None:
    found = measure(case_of(design, batch=512), CPU, seconds=0.3)
    parts = [found.lookup_ms, found.forward_ms, found.backward_ms, found.optimizer_ms]
    assert (parts[0] > 0) == bool(design.table_rows)
    assert all(ms > 0 for ms in parts[1:])
    assert found.samples >= 3
    assert found.inputs == 3
    assert found.low_ms / 2 < sum(parts) < 2 * found.high_ms


def test_a_step_leaves_nothing_behind() -> None:
    measure(case_of(WITH_TABLES), CPU, seconds=0.0)  # modules that load late leave cycles
    gc.collect()
    gc.disable()
    try:
        measure(case_of(WITH_TABLES), CPU, seconds=0.0)
        assert not [one for one in gc.get_objects() if type(one) is _Step]
    finally:
        gc.enable()


def test_between_steps_no_gradient_of_looked_up_vectors_stays_allocated() -> None:
    step = step_of(WITH_TABLES)
    step.run(0)
    assert [rows.untyped_storage().nbytes() for rows in step._rows] == [0]
