"""The counts against torch's own counter and against the parameters of real models."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from cost_models import exact
from wukong.data.batch import Batch
from wukong.embeddings import TableOptimizer, build_tables
from wukong.model import Wukong
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import TableGroup, TableOverride, WukongConfig, table_specs

ROWS = 4
SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=7),
        CategoricalFeature(name="item", cardinality=11),
        CategoricalFeature(name="genres", cardinality=5, multi_hot=True),
    ),
    dense=("year", "age"),
)
SCHEMA_WITHOUT_DENSE = InputSchema(categorical=SCHEMA.categorical)
SCHEMAS = {
    "dense": SCHEMA,
    "no dense": SCHEMA_WITHOUT_DENSE,
    "two tasks": dataclasses.replace(SCHEMA, tasks=("ctr", "cvr")),
    "three tasks": dataclasses.replace(SCHEMA, tasks=("ctr", "cvr", "like")),
}


def built(config: WukongConfig, schema: InputSchema) -> Wukong:
    tables = build_tables(
        "plain",
        table_specs(config, schema),
        init_std=0.01,
        optimizer=TableOptimizer(name="sgd", lr=0.1),
        seed=0,
    )
    return Wukong(config, schema, tables)


def batch(schema: InputSchema) -> Batch:
    one_hot = torch.zeros(ROWS, len(schema.one_hot), dtype=torch.int64)
    return Batch(
        one_hot_BF=one_hot,
        bag_values=torch.zeros(ROWS * len(schema.multi_hot), dtype=torch.int64),
        bag_lengths_FB=torch.ones(len(schema.multi_hot), ROWS, dtype=torch.int64),
        dense_BD=torch.randn(ROWS, len(schema.dense)),
        label_BT=torch.zeros(ROWS, 1),
    )


def counted_by_torch(model: Wukong, schema: InputSchema) -> float:
    with FlopCounterMode(display=False) as counter:
        model(batch(schema)).sum().backward()
    return counter.get_total_flops() / ROWS


def check(schema: InputSchema, **fields: Any) -> None:
    config = WukongConfig(**fields)
    model = built(config, schema)
    counted = {name: values.item() for name, values in exact.costs(fields, schema).items()}
    in_tables = sum(p.numel() for p in model.tables.parameters())
    in_all = sum(p.numel() for p in model.parameters())
    assert counted == {
        "gflop_per_example": pytest.approx(counted_by_torch(model, schema) / 1e9, rel=1e-12),
        "parameters": in_all,
        "dense_parameters": in_all - in_tables,
        "table_parameters": in_tables,
        "table_bytes": 4 * in_tables,
    }


BASE = {"layers": 2, "n_F": 3, "n_L": 2, "k": 4, "mlp_depth": 2, "mlp_width": 8, "d": 6,
        "bottom_width": 9, "head_width": 10}  # fmt: skip


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"fm": "plain"},
        {"attentive_y": True, "attentive_rows": 3, "attentive_width": 5},
        {"mlp_norm": "batch"},
        {"mlp_norm": "layer", "mlp_bias": False},
        {"residual_bias": True},
        {"dense_mode": "per_feature"},
        {"dense_mode": "linear", "dense_rows": 2, "dense_bias": False},
        {"dense_rows": 3, "bottom_depth": 0},
        {"bottom_depth": 3},
        {"dense_bias": False},
        {"head_depth": 0},
        {"head_depth": 3, "head_norm": "batch"},
        {"n_F": 2, "n_L": 2},  # as many rows out as in: the residual is the identity
        {"mlp_depth": 1, "layers": 3},
        {"n_F": (4, 2), "n_L": (1, 3), "k": (2, 5), "mlp_width": (8, 4), "mlp_depth": (1, 2)},
        {"head_depth": 2, "head_width": (12, 5), "bottom_depth": 2, "bottom_width": (7, 4)},
        {"tables": (TableOverride(feature="item", rows=3),)},
        {"table_groups": (TableGroup(features=("user", "item"), width=2, rows=2, hidden=(5,)),)},
        {"table_groups": (TableGroup(features=("genres",), width=3),)},
    ],
    ids=str,
)
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_switch_is_counted_as_torch_counts_it(
    schema: InputSchema, switches: dict[str, Any]
) -> None:
    check(schema, **{**BASE, **switches})


small = st.integers(1, 9)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "layers": st.integers(1, 4),
            "n_F": small,
            "n_L": small,
            "k": small,
            "mlp_depth": st.integers(1, 3),
            "mlp_width": small,
            "d": small,
            "head_depth": st.integers(0, 3),
            "head_width": small,
            "bottom_depth": st.integers(0, 3),
            "bottom_width": small,
            "dense_rows": st.integers(1, 3),
            "fm": st.sampled_from(["low_rank", "plain"]),
        }
    ),
    st.sampled_from(list(SCHEMAS)),
)
def test_random_shapes_are_counted_as_torch_counts_them(
    fields: dict[str, Any], schema: str
) -> None:
    check(SCHEMAS[schema], **fields)


def test_each_task_has_a_head_of_its_own_in_the_list_of_parts() -> None:
    names = [part.name for part in exact.parts(BASE, SCHEMAS["two tasks"])]
    assert names[-2:] == ["head of ctr", "head of cvr"]
    assert [part.name for part in exact.parts(BASE, SCHEMA)][-1] == "head"


def test_columns_give_what_each_design_gives_alone() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "layers": rng.integers(1, 5, 50),
        "n_F": rng.integers(1, 9, 50),
        "n_L": rng.integers(1, 9, 50),
        "mlp_depth": rng.integers(1, 4, 50),
        "d": rng.integers(1, 9, 50),
        "head_depth": rng.integers(0, 4, 50),
        "bottom_depth": rng.integers(0, 4, 50),
        "fm": rng.choice(["low_rank", "plain"], 50),
    }
    together = exact.costs(columns, SCHEMA)
    for row in range(50):
        alone = exact.costs({name: v[row].item() for name, v in columns.items()}, SCHEMA)
        for name, values in alone.items():
            assert together[name][row] == values.item()


ordered = ["layers", "n_F", "n_L", "k", "mlp_depth", "mlp_width", "d", "head_depth", "head_width",
           "bottom_depth", "bottom_width", "dense_rows"]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_floor_of_a_box_is_below_every_design_in_it(data: st.DataObject) -> None:
    low, inside, high = {}, {}, {}
    for name in ordered:
        least = 0 if name in ("head_depth", "bottom_depth") else 1
        low[name], inside[name], high[name] = sorted(
            data.draw(st.lists(st.integers(least, 6), min_size=3, max_size=3), label=name)
        )
    floor = exact.cost_floor(low, high, SCHEMA)
    costs = exact.costs(inside, SCHEMA)
    for name, values in costs.items():
        assert floor[name].item() <= values.item()


def test_defaults_are_those_of_the_config() -> None:
    config = WukongConfig()
    everything = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    assert exact.costs({}, SCHEMA) == exact.costs(everything, SCHEMA)
