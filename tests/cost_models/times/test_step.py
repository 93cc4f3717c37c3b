"""Steps over ranks: what computing hides, against a plain walk; what a rank does, by hand."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cost_models.artifacts import cost_model
from cost_models.hardware import Figure, load_hardware
from cost_models.operations.ops import PRODUCTS, OpColumns, total_flop
from cost_models.operations.trace import trace
from cost_models.operations.wukong_ops import operations
from cost_models.times.communication import ASSUMED_SHARE, ASSUMED_SIGMA
from cost_models.times.cost_model import CostModel
from cost_models.times.overlap import UnitTime, exposed
from cost_models.times.step import step_time
from cost_models.times.step_ops import step_work
from cost_models.training import Training
from tests.cost_models.operations.test_wukong_ops import LookedUp, batch
from wukong.data.batch import Batch
from wukong.model import Wukong
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig, table_specs

SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=1000) for i in range(16)),
    dense=("x", "y", "z"),
)
SHAPE: dict[str, Any] = {
    "layers": 4, "n_F": 8, "n_L": 8, "k": 8, "mlp_depth": 2, "mlp_width": 256, "d": 32,
}  # fmt: skip
FUSED: dict[str, Any] = {"table_backend": "fused", "table_optimizer": "rowwise_adagrad"}
BATCH = np.array([4096.0])
A100 = cost_model(load_hardware("a100"), "fp32")

seconds = st.floats(0, 10)
units = st.tuples(seconds, seconds, seconds, seconds, seconds)


@given(units, st.lists(st.tuples(units, st.integers(0, 4)), min_size=1, max_size=4), units)
def test_what_is_exposed_is_what_a_walk_from_unit_to_unit_waits_for(
    root: tuple[float, ...], layers: list[tuple[tuple[float, ...], int]], heads: tuple[float, ...]
) -> None:
    # A design ends at a layer: none comes after one that is not there.
    ends = next((i for i, (_, repeats) in enumerate(layers) if i and not repeats), len(layers))
    layers = [(u, max(n, 1) if i < ends else 0) for i, (u, n) in enumerate(layers)]
    walked = [root, *(unit for unit, repeats in layers for _ in range(repeats)), heads]
    waited = root[2]
    for before, unit in itertools.pairwise(walked[:-1]):
        waited += max(unit[2] - before[0], 0)
    # Backward: weights of the unit below come, gradients of the unit above leave.
    for i in range(len(walked) - 1, -1, -1):
        comes = walked[i - 1][2] if i > 1 else 0.0
        leaves = sum(walked[i + 1][3:]) if i + 1 < len(walked) - 1 else 0.0
        waited += max(comes + leaves - walked[i][1], 0)
    waited += sum(root[3:])
    given_units = [unit_time(root, 1), *(unit_time(u, n) for u, n in layers), unit_time(heads, 1)]
    found = exposed(given_units)
    assert found.fsdp_s + found.replicas_s == pytest.approx(waited, abs=1e-9)
    assert found.hidden_s <= sum(unit[0] + unit[1] for unit in walked) + 1e-9
    silent = [dataclasses.replace(unit, replicate_s=np.zeros(1)) for unit in given_units]
    assert exposed(silent).replicas_s == 0


def unit_time(figures: tuple[float, ...], repeats: int) -> UnitTime:
    forward, backward, gather, scatter, replicate = (np.array([each]) for each in figures)
    return UnitTime(
        forward_s=forward,
        backward_s=backward,
        gather_s=gather,
        scatter_s=scatter,
        replicate_s=replicate,
        repeats=np.array([float(repeats)]),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"ranks": 1},
        {"ranks": 16, **FUSED, "lookup_precision": "fp16"},
        {"ranks": 16, "activation_checkpointing": True, "dense_shard_ranks": 4},
        {"ranks": 16, **FUSED, "compile": True, "precision": "bf16"},
    ],
)
def test_parts_add_up_to_the_median_and_quantiles_widen(settings: dict[str, Any]) -> None:
    training = Training(**settings)
    found = step_time(A100, SHAPE, SCHEMA, batch=BATCH, training=training, zs=(-1.5, 0.0, 1.5))
    low, median, high = (s[0] for s in found.quantiles_s)
    assert sum(s[0] for s in found.parts_s.values()) == pytest.approx(median)
    assert high / median == pytest.approx(median / low, rel=0.1)
    assert high / median >= np.exp(1.5 * min(0.5, ASSUMED_SIGMA)) * 0.999
    assert all(s[0] >= 0 for s in found.parts_s.values())


@pytest.mark.parametrize("ranks", [64, 1024])
def test_no_slower_device_trains_faster(ranks: int) -> None:
    """One second of computing hides one second of messages, whether of ids or of weights."""
    hardware = load_hardware("a100")
    training = Training(ranks=ranks, **FUSED)
    steps_s = []
    for slower in (0.25, 0.5, 1, 2, 4, 8):
        device = dataclasses.replace(
            hardware,
            flop_per_s={
                key: dataclasses.replace(rate, value=rate.value / slower)
                for key, rate in hardware.flop_per_s.items()
            },
            bytes_per_s=dataclasses.replace(
                hardware.bytes_per_s, value=hardware.bytes_per_s.value / slower
            ),
            launch_s=dataclasses.replace(hardware.launch_s, value=5e-6 * slower),
        )
        model = cost_model(device, "fp32")
        found = step_time(model, SHAPE, SCHEMA, batch=16 * BATCH, training=training, zs=(0.0,))
        steps_s.append(found.quantiles_s[0].item())
    assert (np.diff(steps_s) > -1e-12).all()


def work_of(**settings: Any) -> Any:
    return step_work(SHAPE, SCHEMA, batch=BATCH, training=Training(**settings))


def total_bytes(found: list[OpColumns]) -> float:
    return float(sum((op.count * op.bytes)[0] for op in found))


def test_a_rank_looks_up_its_tables_for_all_examples() -> None:
    """16 tables of 32 columns over 8 ranks: two each; ids are 8 bytes, vectors 128."""
    each = 4096 * (8 + 128 + 128)
    assert total_bytes(work_of(ranks=8, **FUSED).lookups) == 2 * each
    # 3 ranks: one has six tables. Row-wise all vectors are made, of an eighth of the rows.
    assert total_bytes(work_of(ranks=3, **FUSED).lookups) == pytest.approx(6 * each)
    by_rows = work_of(ranks=8, **FUSED, table_sharding="row_wise")
    assert total_bytes(by_rows.lookups) == pytest.approx(16 * 4096 * ((8 + 128) / 8 + 128))
    half = work_of(ranks=8, **FUSED, table_precision="fp16")
    assert total_bytes(half.lookups) == 2 * 4096 * (8 + 64 + 128)


def test_the_codec_converts_what_is_sent_and_what_has_come_in_both_passes() -> None:
    found = work_of(ranks=8, **FUSED, lookup_precision="fp16").codec
    # Two of 16 tables for all examples, and all tables for an eighth of them: as many numbers.
    assert total_bytes(found) == 4 * (4 + 2) * 4096 * 2 * 32
    assert not work_of(ranks=8, **FUSED).codec
    assert not work_of(ranks=1, **FUSED, lookup_precision="fp16").codec


def test_a_layer_is_computed_once_more_where_only_its_input_is_kept() -> None:
    plain, again = work_of(), work_of(activation_checkpointing=True)
    layers = [op for unit in plain.units[1:-1] for op in unit.forward]
    repeated = again.parts["recomputed forward"]
    assert total_flop(repeated) == total_flop(layers) > 0
    assert total_bytes(repeated) == total_bytes(layers)
    assert "recomputed forward" not in plain.parts


class Autocast(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, examples: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            out: Tensor = self.model(examples)
        return out


@pytest.mark.parametrize("knobs", [{}, {"mlp_norm": "layer"}, {"layers": 2, "mlp_width": 1024}])
def test_bf16_moves_about_as_many_bytes_as_autocast_does(knobs: dict[str, Any]) -> None:
    """On a CPU norms return BF16, on a GPU FP32: the one converts less here, the other there."""
    fields, rows = {**SHAPE, **knobs}, 512
    config = WukongConfig(**fields)
    tables = LookedUp(rows, sum(spec.width for spec in table_specs(config, SCHEMA)), torch.float32)
    tables.x_BW = torch.zeros(tables.x_BW.shape, requires_grad=True)
    found = trace(Autocast(Wukong(config, SCHEMA, tables)), batch(SCHEMA, rows))  # type: ignore[arg-type]
    traced = {
        products: sum(n * op.bytes for op, n in found.items() if (op.kind in PRODUCTS) == products)
        for products in (True, False)
    }
    work = step_work(
        fields, SCHEMA, batch=np.array([float(rows)]), training=Training(precision="bf16")
    )
    listed = [op for unit in work.units for op in (*unit.forward, *unit.backward)]
    for products, expected in traced.items():
        ours = total_bytes([op for op in listed if (op.kind in PRODUCTS) == products])
        assert ours == pytest.approx(expected, rel=0.06 if products else 0.25)
    whole = operations(fields, SCHEMA, batch=rows)
    assert total_bytes(listed) < 0.8 * total_bytes(whole)


def with_links(**figures: float) -> CostModel:
    made = {
        name: Figure(value=value, origin="assumed", source="a test")
        for name, value in figures.items()
    }
    hardware = dataclasses.replace(load_hardware("a100"), **made)  # type: ignore[arg-type]
    operations_of = dataclasses.replace(A100.operations, hardware=hardware)  # type: ignore[type-var]
    return dataclasses.replace(A100, operations=operations_of)


def test_slow_links_are_waited_for_and_fast_ones_are_hidden() -> None:
    training = Training(ranks=8, **FUSED)
    shared: dict[str, Any] = {"batch": BATCH, "training": training}
    slow = step_time(with_links(link_bytes_per_s=1e6), SHAPE, SCHEMA, **shared).parts_s
    fast = step_time(
        with_links(link_bytes_per_s=1e15, link_latency_s=1e-12), SHAPE, SCHEMA, **shared
    ).parts_s
    vectors_bytes = 2 * 4096 * 2 * 32 * 4
    expected_s = 7 / 8 * vectors_bytes / 1e6 / ASSUMED_SHARE
    assert slow["embedding all-to-all"][0] == pytest.approx(expected_s, rel=1e-4)
    # With nothing hidden, all weights come twice (the root's once) and all gradients leave.
    work = work_of(ranks=8, **FUSED)
    layers = sum(float((u.weights * u.repeats)[0]) for u in work.units[1:-1])
    root = float(work.units[0].weights[0])
    everything_s = 7 / 8 * 4 * (3 * layers + 2 * root) / 1e6 / ASSUMED_SHARE
    assert slow["FSDP, not hidden"][0] == pytest.approx(everything_s, rel=1e-2)
    for part in ("FSDP, not hidden", "embedding all-to-all", "all-reduce, not hidden"):
        assert fast[part][0] < 1e-7
    for part in ("dense forward", "dense backward", "lookups"):
        assert slow[part][0] == fast[part][0]
