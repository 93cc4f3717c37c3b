"""What compiling leaves of operations, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cost_models.operations.fusion import REMAINING_BYTES, fused
from cost_models.operations.ops import OpColumns, OpList
from cost_models.profile.spaces import StepDesign
from cost_models.times.step_ops import step_work
from cost_models.training import Training

ONE = np.ones(1)


def test_elementwise_operations_of_a_pass_become_one_and_all_others_stay() -> None:
    found = OpList("float32")
    found.elementwise("forward", 2 * ONE, 10 * ONE, 3)
    found.copy("forward", ONE, 6 * ONE)
    found.relu(ONE, 4 * ONE)
    found.norm("layer_norm", ONE, 8 * ONE, 16 * ONE)
    left = fused(found.found, ONE)
    assert [(op.kind, op.phase) for op in left] == [
        ("layer_norm", "forward"),
        ("layer_norm", "backward"),
        ("elementwise", "forward"),
        ("elementwise", "backward"),
    ]
    forward, backward = left[2:]
    assert (forward.count[0], forward.m[0], backward.m[0]) == (1, 20 + 6 + 4, 4)
    # Three tensors of 10 twice, two of 6, and a ReLU's: two of 4, three in backward.
    assert forward.bytes[0] == pytest.approx(REMAINING_BYTES * 4 * (60 + 12 + 8))
    assert backward.bytes[0] == pytest.approx(REMAINING_BYTES * 4 * 12)


def test_layers_that_are_alike_are_launched_each() -> None:
    found = OpList("float32")
    found.copy("forward", np.array([3.0, 0.0]), np.array([5.0, 5.0]))
    [left] = fused(found.found, np.array([3.0, 0.0]))
    assert list(left.count) == [3, 0]
    assert left.m[0] == 5
    assert left.bytes[0] == pytest.approx(REMAINING_BYTES * 4 * 10)


def test_a_compiled_step_has_the_same_products_and_far_fewer_launches() -> None:
    design = StepDesign(features=8, dense=4, config={"layers": 4, "d": 16})

    def operations(*, is_compiled: bool) -> list[OpColumns]:
        training = Training(compile=is_compiled)
        batch = np.array([64.0])
        parts = step_work(design.config, design.schema, batch=batch, training=training).parts
        return [*parts["dense forward"], *parts["dense backward"]]

    eager, compiled = operations(is_compiled=False), operations(is_compiled=True)
    for kind in ("gemm", "bmm"):
        flop = [
            sum(float((op.count * op.flop)[0]) for op in found if op.kind == kind)
            for found in (eager, compiled)
        ]
        assert flop[0] == flop[1]
    launches = [sum(float(op.count[0]) for op in found) for found in (eager, compiled)]
    assert launches[1] < 0.8 * launches[0]
