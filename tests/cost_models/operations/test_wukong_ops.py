"""The closed form against the operations that the tracer finds in real models."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cost_models import exact
from cost_models.operations.ops import Op, operations_of, total_flop
from cost_models.operations.trace import on_meta, trace, trace_step
from cost_models.operations.wukong_ops import lookup_operations, operations, optimizer_operations
from wukong.data.batch import Batch
from wukong.embeddings import TableOptimizer, build_tables
from wukong.model import Wukong
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import TableGroup, TableOverride, WukongConfig, table_specs

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=7),
        CategoricalFeature(name="item", cardinality=11),
        CategoricalFeature(name="genres", cardinality=5, multi_hot=True),
    ),
    dense=("year", "age"),
)
WITHOUT_DENSE = InputSchema(categorical=SCHEMA.categorical)
WITHOUT_TABLES = InputSchema(categorical=(), dense=("year",))
TASKS = ("ctr", "cvr", "like")
SCHEMAS = {
    "both": SCHEMA,
    "no dense": WITHOUT_DENSE,
    "no tables": WITHOUT_TABLES,
    "two tasks": dataclasses.replace(SCHEMA, tasks=TASKS[:2]),
    "three tasks": dataclasses.replace(SCHEMA, tasks=TASKS),
}


class EndOfGradient(torch.autograd.Function):
    """Lets what it returns need a gradient, and takes that gradient no further."""

    @staticmethod
    def forward(ctx: Any, x_BW: Tensor) -> Tensor:
        return x_BW.view_as(x_BW)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


class LookedUp(nn.Module):
    """What tables return, without tables."""

    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.x_BW = torch.zeros(rows, width, dtype=dtype, device="meta", requires_grad=True)

    def forward(self, batch: Batch) -> Tensor:
        out: Tensor = EndOfGradient.apply(self.x_BW)
        return out


def batch(schema: InputSchema, rows: int, dtype: torch.dtype = torch.float32) -> Batch:
    return Batch(
        one_hot_BF=torch.zeros(rows, len(schema.one_hot), dtype=torch.int64),
        bag_values=torch.zeros(rows * len(schema.multi_hot), dtype=torch.int64),
        bag_lengths_FB=torch.ones(len(schema.multi_hot), rows, dtype=torch.int64),
        dense_BD=torch.zeros(rows, len(schema.dense), dtype=dtype),
        label_BT=torch.zeros(rows, 1),
    )


def dense_part(fields: dict[str, Any], schema: InputSchema, rows: int, dtype: str) -> Wukong:
    config, torch_dtype = WukongConfig(**fields), getattr(torch, dtype)
    width = sum(spec.width for spec in table_specs(config, schema))
    with torch.device("meta"):
        return Wukong(config, schema, LookedUp(rows, width, torch_dtype)).to(torch_dtype)


def check(fields: dict[str, Any], schema: InputSchema, rows: int, dtype: str) -> None:
    """A failure shows what only torch does, and what only the closed form does."""
    model = dense_part(fields, schema, rows, dtype)
    traced = trace(model, on_meta(batch(schema, rows, getattr(torch, dtype))))
    closed = operations_of(operations(fields, schema, batch=rows, dtype=dtype), 0)
    assert (traced - closed, closed - traced) == (Counter(), Counter())


BASE = {"layers": 2, "n_F": 3, "n_L": 2, "k": 4, "mlp_depth": 2, "mlp_width": 8, "d": 6,
        "bottom_width": 9, "head_width": 10}  # fmt: skip
TWO_GROUPS = (
    TableGroup(features=("user",), width=2, rows=2, hidden=(5, 4)),
    TableGroup(features=("genres",), width=3),
)
SWITCHES: list[dict[str, Any]] = [
    {},
    {"layers": 1},
    {"layers": 5},
    {"fm": "plain"},
    {"attentive_y": True, "attentive_rows": 3, "attentive_width": 5},
    {"mlp_norm": "batch"},
    {"mlp_norm": "layer", "mlp_bias": False},
    {"residual_bias": True},
    {"mlp_output_activation": True, "bottom_output_activation": True},
    {"dropout": 0.1},
    {"dropout": 0.1, "head_dropout": 0.0},
    {"head_dropout": 0.2},
    {"dense_mode": "per_feature"},
    {"dense_mode": "per_feature", "dense_bias": False, "bottom_output_activation": True},
    {"dense_mode": "linear", "dense_rows": 2, "dense_bias": False},
    {"dense_mode": "linear", "bottom_output_activation": True},
    {"dense_rows": 3, "bottom_depth": 0},
    {"bottom_depth": 3, "dense_first": True},
    {"dense_bias": False},
    {"head_depth": 0},
    {"head_depth": 3, "head_norm": "batch"},
    {"n_F": 2, "n_L": 2},
    {"n_F": 1, "n_L": 3, "residual_bias": True},  # the identity in all layers or in all but one
    {"mlp_depth": 1, "layers": 3},
    {"n_F": (4, 2), "n_L": (1, 3), "k": (2, 5), "mlp_width": (8, 4), "mlp_depth": (1, 2)},
    {"head_depth": 2, "head_width": (12, 5), "bottom_depth": 2, "bottom_width": (7, 4)},
]
TABLE_SWITCHES: list[dict[str, Any]] = [
    {"tables": (TableOverride(feature="item", rows=3),)},
    {"table_groups": (TableGroup(features=("user", "item"), width=2, rows=2, hidden=(5,)),)},
    {"table_groups": (TableGroup(features=("genres", "item", "user"), width=3),)},
    {"table_groups": TWO_GROUPS, "tables": (TableOverride(feature="item", rows=2),)},
    {"table_groups": TWO_GROUPS, "dense_first": True},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_switch_does_what_torch_does(
    schema: InputSchema, switches: dict[str, Any], dtype: str
) -> None:
    check({**BASE, **switches}, schema, 7, dtype)


@pytest.mark.parametrize("switches", TABLE_SWITCHES, ids=str)
@pytest.mark.parametrize("schema", [SCHEMA, WITHOUT_DENSE], ids=["both", "no dense"])
def test_every_layout_of_tables_does_what_torch_does(
    schema: InputSchema, switches: dict[str, Any]
) -> None:
    check({**BASE, **switches}, schema, 7, "bfloat16")


def test_a_shape_of_the_papers_size_does_what_torch_does() -> None:
    many = tuple(CategoricalFeature(name=f"c{i}", cardinality=9) for i in range(719))
    schema = InputSchema(categorical=many, dense=("x",))
    large = {"layers": 8, "n_F": 192, "n_L": 192, "k": 192, "mlp_depth": 3, "mlp_width": 16384,
             "d": 160}  # fmt: skip
    check(large, schema, 65536, "bfloat16")


small = st.integers(1, 4)  # many sizes of 1: factors that are vectors
SHAPES = st.fixed_dictionaries(
    {
        "layers": st.integers(1, 4),
        "n_F": small,
        "n_L": small,
        "k": small,
        "mlp_depth": st.integers(1, 3),
        "mlp_width": small,
        "mlp_bias": st.booleans(),
        "mlp_norm": st.sampled_from(["none", "layer"]),
        "d": small,
        "head_depth": st.integers(0, 3),
        "head_width": small,
        "bottom_depth": st.integers(0, 3),
        "bottom_width": small,
        "bottom_output_activation": st.booleans(),
        "dense_rows": st.integers(1, 3),
        "dense_mode": st.sampled_from(["mlp", "linear", "per_feature"]),
        "dense_bias": st.booleans(),
        "residual_bias": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.3]),
    }
)
FORMS = st.sampled_from(
    [
        {"fm": "low_rank"},
        {"fm": "plain"},
        {"attentive_y": True, "attentive_rows": 1, "attentive_width": 3},
        {"attentive_y": True, "attentive_rows": 2, "attentive_width": 1},
    ]
)


@settings(max_examples=60, deadline=None)
@given(SHAPES, FORMS, st.sampled_from(list(SCHEMAS)), st.integers(1, 3))
def test_random_shapes_do_what_torch_does(
    shape: dict[str, Any], form: dict[str, Any], schema: str, rows: int
) -> None:
    check({**shape, **form}, SCHEMAS[schema], rows, "float32")


def random_columns(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "layers": rng.integers(1, 5, rows),
        "n_F": rng.integers(1, 4, rows),
        "n_L": rng.integers(1, 4, rows),
        "k": rng.integers(1, 4, rows),
        "mlp_depth": rng.integers(1, 4, rows),
        "mlp_norm": rng.choice(["none", "layer", "batch"], rows),
        "mlp_bias": rng.random(rows) < 0.5,
        "d": rng.integers(1, 9, rows),
        "head_depth": rng.integers(0, 4, rows),
        "head_norm": rng.choice(["none", "batch"], rows),
        "bottom_depth": rng.integers(0, 4, rows),
        "dense_mode": rng.choice(["mlp", "linear", "per_feature"], rows),
        "dropout": rng.choice([0.0, 0.5], rows),
        "fm": rng.choice(["low_rank", "plain"], rows),
    }


def alone(columns: dict[str, Any], row: int) -> dict[str, Any]:
    return {name: values[row].item() for name, values in columns.items()}


def test_columns_give_what_each_design_gives_alone() -> None:
    columns = random_columns(60)
    batches = np.random.default_rng(1).integers(1, 4, 60)
    together = operations(columns, SCHEMA, batch=batches)
    for row in range(60):
        one = operations(alone(columns, row), SCHEMA, batch=int(batches[row]))
        assert operations_of(together, row) == operations_of(one, 0)


def test_columns_with_a_value_for_each_layer_give_what_each_design_gives_alone() -> None:
    rng = np.random.default_rng(2)
    columns = {name: rng.integers(1, 6, (20, 3)) for name in ("n_F", "n_L", "k", "mlp_width")}
    columns["head_width"] = rng.integers(1, 6, (20, 2))
    together = operations({**columns, "layers": 3}, SCHEMA, batch=5)
    for row in range(20):
        per_layer = {name: tuple(values[row].tolist()) for name, values in columns.items()}
        check({"d": 4, "layers": 3, **per_layer}, SCHEMA, 5, "float32")
        one = operations({**per_layer, "layers": 3}, SCHEMA, batch=5)
        assert operations_of(together, row) == operations_of(one, 0)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_flop_add_up_to_the_exact_counts(schema: InputSchema) -> None:
    columns = random_columns(200)
    listed = total_flop(operations(columns, schema, batch=48))
    counted = 48e9 * exact.costs(columns, schema)["gflop_per_example"]
    np.testing.assert_allclose(listed, counted, rtol=1e-12)


@pytest.mark.parametrize(
    "switches", [{}, {"fm": "plain", "mlp_norm": "batch", "head_depth": 0}, *TABLE_SWITCHES[1:4],
                 {"attentive_y": True, "residual_bias": True, "layers": 3, "mlp_bias": False},
                 {"dense_mode": "per_feature", "head_norm": "batch", "n_L": 1, "n_F": 4},
                 {"dense_mode": "linear", "dense_bias": False, "mlp_norm": "layer"}], ids=str
)  # fmt: skip
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_the_optimizer_does_what_fused_adam_does(switches: dict[str, Any], tasks: int) -> None:
    fields, schema = {**BASE, **switches}, dataclasses.replace(SCHEMA, tasks=TASKS[:tasks])
    model = dense_part(fields, schema, 4, "float32").to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    traced = trace_step(torch.optim.Adam(model.parameters(), fused=True))
    assert traced == operations_of(optimizer_operations(fields, schema), 0)


@pytest.mark.parametrize(
    "switches", [{}, {"tables": (TableOverride(feature="item", rows=3),)}, *TABLE_SWITCHES[1:4]],
    ids=str,
)  # fmt: skip
def test_lookups_are_those_of_the_plain_tables(switches: dict[str, Any]) -> None:
    fields = {**BASE, **switches}
    config = WukongConfig(**fields)
    optimizer = TableOptimizer(name="sgd", lr=0.1)
    specs = table_specs(config, SCHEMA)
    tables = build_tables("plain", specs, init_std=0.01, optimizer=optimizer, seed=0)
    traced = trace(Wukong(config, SCHEMA, tables), batch(SCHEMA, 7))
    lookups = Counter({op: n for op, n in traced.items() if op.kind == "embedding_bag"})
    closed: Counter[Op] = operations_of(lookup_operations(fields, SCHEMA, batch=7), 0)
    assert lookups == closed
