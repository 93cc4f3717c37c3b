"""The canonical operations of Wukong designs, many at once, in closed form and without torch.

The same list as `cost_models.operations.trace` finds in the running model (a test holds the two
equal), in the order of neither pass. N designs. In the formulas: B examples, n rows of a layer's
input, d width, k columns of its FM matrix; a "step" is forward and backward of one batch in
training mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from cost_models.exact import (
    Array,
    Columns,
    Fields,
    LayerRows,
    cost_floor,
    input_row_columns,
    layer_rows,
)
from cost_models.operations.blocks import Step, Widths
from cost_models.operations.ops import ITEM_BYTES, OpColumns
from wukong.schema import InputSchema
from wukong.shape import WukongConfig, table_rows, table_specs

_ONE = np.ones(1)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Operations that follow each other: what makes X_0, a layer or several alike, or the heads.

    Attributes:
        operations: of both passes, of all layers that it stands for.
        repeats: how many layers these are, (N,) or (1,); 1 for what is no layer.
    """

    operations: list[OpColumns]
    repeats: Array


def operations(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: int | Array,
    dtype: str = "float32",
    high: Columns | None = None,
) -> list[OpColumns]:
    """List what the dense part does in one step: from the looked-up vectors to the logits.

    The loss, and the gradient's way beyond the looked-up vectors, are left out. Dropout is counted
    as the three kernels that torch runs on a CPU. Where no knob differs from layer to layer, all
    layers after the first are alike and share their operations.

    Args:
        columns: WukongConfig field → one value for all, or an array (N,); a tuple, or an array
            (N, layers), gives per-layer values. A field that is left out has its default.
        batch: examples of a step, B ≥ 1; one for all or an array (N,).
        dtype: of weights, activations and gradients; a key of
            `cost_models.operations.ops.ITEM_BYTES`.
        high: the upper end of boxes of designs whose lower end is `columns`, as for
            `cost_models.exact.cost_floor`: only what all designs of a box do is listed.

    Returns:
        Operations whose columns are (N,) or (1,); some may be alike.
    """
    found = sections(columns, schema, batch=batch, dtype=dtype, high=high)
    return [op for section in found for op in section.operations]


def sections(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: int | Array,
    dtype: str = "float32",
    high: Columns | None = None,
) -> list[Section]:
    """List the same section by section: the inputs, the layers, the heads."""
    B = np.atleast_1d(np.asarray(batch, dtype=float))
    fields, high_fields = Fields(columns), Fields(columns if high is None else high)
    step = Step(B, dtype)
    _inputs(step, columns, schema, high_fields)
    found = [Section(operations=step.found, repeats=_ONE)]
    rows = input_row_columns(fields, schema)
    for layer in layer_rows(fields, high_fields, schema):
        step = Step(B, dtype)
        _layer(step, fields, layer)
        found.append(Section(operations=step.found, repeats=layer.repeats))
        rows = layer.last_rows(rows)
    step = Step(B, dtype)
    _heads(step, columns, rows * fields["d"], len(schema.tasks))
    return [*found, Section(operations=step.found, repeats=_ONE)]


def optimizer_operations(
    columns: Columns, schema: InputSchema, *, dtype: str = "float32", high: Columns | None = None
) -> list[OpColumns]:
    """List what one step of fused Adam does for the dense part. Arguments as for `operations`."""
    high = columns if high is None else high
    m = cost_floor(columns, high, schema)["dense_parameters"]
    tensors = _tensor_count(Fields(columns), Fields(high), schema)
    shared: Any = {"phase": "optimizer", "count": _ONE}
    step_counters = OpColumns(
        kind="elementwise", dtype="float32", m=tensors, bytes=8 * tensors, **shared
    )
    size = 7 * m * ITEM_BYTES[dtype]
    adam = OpColumns(kind="optimizer", dtype=dtype, m=m, n=tensors, bytes=size, **shared)
    return [step_counters, adam]


def lookup_operations(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: int | Array,
    ids_per_bag: float = 1.0,
    dtype: str = "float32",
) -> list[OpColumns]:
    """List the lookups of one step and their dense gradients: tables that are alike share one.

    What moves the vectors of several lookups into one matrix is left out.

    Args:
        ids_per_bag: mean ids of a multi-hot feature in an example.
        columns, schema, batch, dtype: as for `operations`.
    """
    step = Step(np.atleast_1d(np.asarray(batch, dtype=float)), dtype)
    fields = Fields(columns)
    for (width, is_narrow, pooling), cardinalities in _tables_alike(fields.config(1), schema):
        n = width * (_ONE if is_narrow else fields["d"])
        ids = ids_per_bag if pooling else 1.0
        step.lookup(len(cardinalities) * step.batch, n, ids, float(sum(cardinalities)))
    return step.found


@lru_cache(maxsize=64)
def _tables_alike(
    config: WukongConfig, schema: InputSchema
) -> list[tuple[tuple[int, bool, str], list[int]]]:
    """(Width, whether it is the same at every d, pooling) and cardinalities of such tables."""
    narrow = _narrow(config)
    alike: dict[tuple[int, bool, str], list[int]] = {}
    for spec in table_specs(config, schema):
        pooling = str(spec.pooling) if spec.multi_hot else ""
        alike.setdefault((spec.width, spec.feature in narrow, pooling), []).append(spec.cardinality)
    return list(alike.items())


def _narrow(config: WukongConfig) -> set[str]:
    return {name for group in config.table_groups for name in group.features}


def _inputs(step: Step, columns: Columns, schema: InputSchema, high: Fields) -> None:
    """Add what makes X_0 of the looked-up vectors and the dense features."""
    fields, B = Fields(columns), step.batch
    config, d = fields.config(1), fields["d"]
    narrow = _narrow(config)
    for group in config.table_groups:
        n_in = np.array([float(group.width * len(group.features))])
        step.copy("forward", _ONE, B * n_in)
        hidden = [np.array([float(units)]) for units in group.hidden]
        width = Widths(np.array([float(len(hidden))]), hidden)
        step.mlp(_ONE, n_in, width, group.rows * d)
    if config.table_groups:
        looked_up = np.zeros(1)
        for spec in table_specs(config, schema):
            looked_up = looked_up + spec.width * (_ONE if spec.feature in narrow else d)
        step.copy("backward", _ONE, B * looked_up)
    own = len(table_rows(config, schema)) if config.table_groups else bool(schema.categorical)
    if own + len(config.table_groups) + bool(schema.dense) > 1:
        step.copy("forward", _ONE, B * input_row_columns(fields, schema) * d)
    if schema.dense:
        _dense_rows(step, columns, np.array([float(len(schema.dense))]), high)


def _dense_rows(step: Step, columns: Columns, features: Array, high: Fields) -> None:
    fields, B = Fields(columns), step.batch
    mode, bias, d = fields["dense_mode"], fields["dense_bias"].astype(bool), fields["d"]
    is_mlp, each = mode == "mlp", (mode == "per_feature").astype(float)
    depth = np.where(is_mlp, fields["bottom_depth"], 0.0)
    # A narrow hidden layer may cost less than none: a box that has both is sure of neither.
    sure = ~(is_mlp & (depth == 0) & (high["bottom_depth"] > 0))
    step.mlp(
        (1 - each) * sure,
        features,
        Widths.of(columns, "bottom_width", depth),
        fields["dense_rows"] * d,
        output_bias=bias,
        output_activation=is_mlp & fields["bottom_output_activation"].astype(bool),
        input_grad=False,
    )
    weights = features * d
    rows = B * weights
    step.add("elementwise", "forward", each, rows, B * features + weights + rows)
    step.add("elementwise", "forward", each * bias, rows, 2 * rows + weights)
    step.add("elementwise", "backward", each, rows, B * features + 2 * rows)
    step.sum(each + each * bias, weights, B)


def _layer(step: Step, fields: Fields, layer: LayerRows) -> None:
    i, count, n, n_out = layer.index, layer.repeats, layer.n_in, layer.n_out
    d, n_F, n_L, B = fields["d"], fields["n_F", i], fields["n_L", i], step.batch
    plain, attentive = fields["fm"] == "plain", fields["attentive_y"].astype(bool)
    k = np.where(plain, n, fields["k", i])
    _plain_interactions(step, count * plain, n, d)
    _interactions(step, count * (~plain & ~attentive), n, k, d)
    _attentive_interactions(step, fields, count * attentive, n, k)
    step.norm("layer_norm", count, B, n * k)
    step.mlp(
        count,
        n * k,
        Widths(fields["mlp_depth", i], [fields["mlp_width", i]]),
        n_F * d,
        norm=fields["mlp_norm"],
        dropout=fields["dropout"] > 0,
        bias=fields["mlp_bias"].astype(bool),
        output_activation=fields["mlp_output_activation"].astype(bool),
    )
    step.mix(count, n, n_L, d)
    step.copy("forward", count, B * n_out * d)
    mixes = count * layer.mixes
    step.mix(mixes, n, n_out, d)
    biased = mixes * fields["residual_bias"].astype(bool)
    step.add("elementwise", "forward", biased, B * n_out * d, 2 * B * n_out * d + n_out)
    step.sum(biased, n_out, B * d)
    step.elementwise("forward", count, B * n_out * d, 3)
    step.norm("layer_norm", count, B * n_out, d)
    # X is used four times, or five; its gradients are added up.
    step.elementwise("backward", count * (3 + attentive), B * n * d, 3)


def _heads(step: Step, columns: Columns, flat: Array, tasks: int) -> None:
    fields = Fields(columns)
    width = Widths.of(columns, "head_width", fields["head_depth"])
    dropout = fields["dropout"] if columns.get("head_dropout") is None else fields["head_dropout"]
    step.mlp(tasks * _ONE, flat, width, _ONE, norm=fields["head_norm"], dropout=dropout > 0)
    step.copy("forward", float(tasks > 1) * _ONE, step.batch * tasks)
    step.elementwise("backward", (tasks - 1) * _ONE, step.batch * flat, 3)  # gradients added up


def _plain_interactions(step: Step, count: Array, n: Array, d: Array) -> None:
    B = step.batch
    step.product("nt", "forward", count, (n, n, d), batch=B)
    step.product("tn", "backward", count, (d, n, n), batch=B)
    step.product("nn", "backward", count, (n, d, n), batch=B)


def _interactions(step: Step, count: Array, n: Array, k: Array, d: Array) -> None:
    """X (Yᵀ X)ᵀ with one Y for all examples."""
    B = step.batch
    step.product("Tn", "forward", count, (k, d, n), batch=B)
    step.product("nt", "forward", count, (n, k, d), batch=B)
    step.product("tn", "backward", count, (d, k, n), batch=B)
    step.product("nn", "backward", count, (n, d, k), batch=B)
    step.product("Nt", "backward", count, (n, d, k), batch=B)
    step.product("tt", "backward", count, (k, n, d), batch=B)
    step.sum(count, n * k, B)
    step.copy("backward", count * ((n > 1) & (k > 1)), n * k)  # the gradient comes transposed


def _attentive_interactions(step: Step, fields: Fields, count: Array, n: Array, k: Array) -> None:
    """X (Xᵀ Y) with a Y for each example: Y_0 + MLP(W_c X)."""
    if not np.any(count):
        return
    B, d, rows = step.batch, fields["d"], fields["attentive_rows"]
    step.mix(count, n, rows, d)
    width = Widths(_ONE, [fields["attentive_width"]])
    step.mlp(count, rows * d, width, n * k)
    step.add("elementwise", "forward", count, B * n * k, 2 * B * n * k + n * k)
    step.sum(count, n * k, B)
    step.product("tn", "forward", count, (d, k, n), batch=B)
    step.product("nn", "forward", count, (n, k, d), batch=B)
    step.product("nt", "backward", count, (n, d, k), batch=B)
    step.product("tn", "backward", count, (d, k, n), batch=B)
    step.product("nn", "backward", count, (n, k, d), batch=B)
    step.product("nt", "backward", count, (d, n, k), batch=B)


def _tensor_count(fields: Fields, high: Fields, schema: InputSchema) -> Array:
    """The weights and biases of the dense part, as tensors, (N,) or (1,)."""
    total = np.zeros(1)
    bias, normed = fields["mlp_bias"].astype(bool), fields["mlp_norm"] != "none"
    own_y = (fields["fm"] != "plain") + 5.0 * fields["attentive_y"].astype(bool)
    for layer in layer_rows(fields, high, schema):
        depth = fields["mlp_depth", layer.index]
        mix = layer.mixes * (1.0 + fields["residual_bias"].astype(bool))
        mlp = (depth + 1) * (1.0 + bias) + 2 * depth * normed
        total = total + layer.repeats * (own_y + mlp + mix + 5)  # two norms and the LCB
    depth = fields["head_depth"]
    head = 2 * (depth + 1) + 2 * depth * (fields["head_norm"] != "none")
    total = total + len(schema.tasks) * head
    for group in fields.config(1).table_groups:
        total = total + 2 * (len(group.hidden) + 1)
    if not schema.dense:
        return total
    depth = np.where(fields["dense_mode"] == "mlp", fields["bottom_depth"], 0.0)
    return total + 2 * depth + 1 + fields["dense_bias"].astype(bool)
