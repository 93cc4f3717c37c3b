"""Exact counts of Wukong designs, many at once, without torch.

N designs. FLOP follow the project's convention: forward + backward of the dense part, 2 for each
multiply-add of a matrix product, as `torch.utils.flop_counter.FlopCounterMode` counts them: 6 for
each use of a weight, and 4 where the input needs no gradient (the first map over dense features).
Lookups, norms, activations and optimizer steps are left out.

Every cost grows with every knob, with two exceptions, which `cost_floor` accounts for: the residual
is free where n_in = n_F + n_L, and an MLP with no hidden layer may cost more than one with a narrow
one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wukong.schema import InputSchema
from wukong.shape import WukongConfig, dense_row_count, input_rows, table_specs

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Any]
BYTES_PER_TABLE_WEIGHT = 4  # FP32
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(WukongConfig)}


@dataclass(frozen=True)
class Part:
    """One part of N models.

    Attributes:
        layer: the Wukong layer, from 1; 0 for what stands outside of them.
        flop: forward + backward, per example, (N,).
        parameters: weights, (N,).
        alike: how many layers, `layer` and those after it, the part stands for, (N,).
    """

    name: str
    layer: int
    flop: Array
    parameters: Array
    alike: Array = field(default_factory=lambda: np.ones(1))


def costs(columns: Columns, schema: InputSchema) -> dict[str, Array]:
    """Count each design.

    Args:
        columns: WukongConfig field → one value for all, or an array (N,); a tuple, or an array
            (N, layers), gives per-layer values. A field that is left out has its default.

    Returns:
        `gflop_per_example`, `parameters`, `dense_parameters`, `table_parameters`, `table_bytes`,
        each float64 (N,).
    """
    return cost_floor(columns, columns, schema)


def cost_floor(low: Columns, high: Columns, schema: InputSchema) -> dict[str, Array]:
    """Bound the costs of all designs with low ≤ knob ≤ high from below; exact where they agree.

    Only numeric knobs may differ between `low` and `high`.
    """
    rows = _row_count(low)
    flop, dense, tables = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for part in parts(low, schema, high=high):
        flop = flop + part.flop
        if part.name == "tables":
            tables = tables + part.parameters
        else:
            dense = dense + part.parameters
    return {
        "gflop_per_example": flop / 1e9,
        "parameters": dense + tables,
        "dense_parameters": dense,
        "table_parameters": tables,
        "table_bytes": tables * BYTES_PER_TABLE_WEIGHT,
    }


def parts(columns: Columns, schema: InputSchema, *, high: Columns | None = None) -> Iterator[Part]:
    """Count part by part, in the order in which the model computes them.

    Where no knob differs from layer to layer, all layers after the first are alike: they come as
    one part each, `alike` for all of them.

    `high` is the upper end of boxes of designs whose lower end is `columns` (see `cost_floor`).
    """
    low_of, high_of = Fields(columns), Fields(columns if high is None else high)
    yield from _input_parts(low_of, high_of, schema)
    last = input_row_columns(low_of, schema)
    for layer in layer_rows(low_of, high_of, schema):
        for part in _layer_parts(low_of, layer.index, layer.n_in, layer.mixes):
            yield dataclasses.replace(
                part,
                flop=part.flop * layer.repeats,
                parameters=part.parameters * layer.repeats,
                alike=layer.repeats,
            )
        last = layer.last_rows(last)
    yield from _head_parts(low_of, high_of, last, schema)


class Fields:
    """Columns with the defaults of WukongConfig filled in; `fields["n_F", i]` is layer i's."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._arrays: dict[tuple[str, int], Array] = {}
        self._configs: dict[int, WukongConfig] = {}

    @property
    def by_layer(self) -> bool:
        """Whether any knob differs from layer to layer."""
        given = (self._columns.get(name) for name in ("n_F", "n_L", "k", "mlp_depth", "mlp_width"))
        return any(isinstance(v, tuple) or np.ndim(v) == 2 for v in given if v is not None)

    def __getitem__(self, key: str | tuple[str, int]) -> Array:
        name, index = key if isinstance(key, tuple) else (key, 0)
        if (name, index) not in self._arrays:
            self._arrays[name, index] = self._array(name, index)
        return self._arrays[name, index]

    def _array(self, name: str, index: int) -> Array:
        value = self._columns.get(name, _DEFAULTS[name])
        if isinstance(value, tuple):
            value = np.array([value])
        array = np.atleast_1d(np.asarray(value))
        if array.ndim == 2:
            array = array[:, min(index, array.shape[1] - 1)]
        return array.astype(float) if array.dtype.kind in "iuf" else array

    def config(self, row_d: int) -> WukongConfig:
        """A config with this table layout and width `row_d`, to ask wukong.shape for sizes."""
        if row_d in self._configs:
            return self._configs[row_d]
        names = ("tables", "table_groups", "dense_mode")
        known: dict[str, Any] = {n: self._columns[n] for n in names if n in self._columns}
        if isinstance(known.get("dense_mode"), np.ndarray):
            del known["dense_mode"]
        self._configs[row_d] = WukongConfig(d=row_d, **known)
        return self._configs[row_d]


@dataclass(frozen=True, kw_only=True)
class LayerRows:
    """One layer of N designs, or several that are alike.

    Attributes:
        index: the first layer it stands for, from 0.
        repeats: how many layers it stands for, (N,); 0 where a design ends before it.
        n_in, n_out: rows of its input and of its output, (N,) or (1,).
        mixes, passes: where the residual is a learned map, and where it is the identity, in all
            designs of a box, (N,) or (1,).
    """

    index: int
    repeats: Array
    n_in: Array
    n_out: Array
    mixes: Array
    passes: Array

    def last_rows(self, before: Array) -> Array:
        """The rows after this layer where there is one, else those `before` it."""
        return np.where(self.repeats > 0, self.n_out, before)


def layer_rows(low: Fields, high: Fields, schema: InputSchema) -> Iterator[LayerRows]:
    """Walk through the layers; where no knob differs by layer, the second stands for the rest.

    `low` and `high` are the ends of boxes of designs (see `cost_floor`); the rows are those of
    the lower end.
    """
    layers = low["layers"]
    n_low, n_high = input_row_columns(low, schema), input_row_columns(high, schema)
    alike = not (low.by_layer or high.by_layer)
    for i in range(int(min(layers.max(), 2) if alike else layers.max())):
        out_low = low["n_F", i] + low["n_L", i]
        out_high = high["n_F", i] + high["n_L", i]
        # In a box, the second layer's input has the first one's rows, whatever these are.
        may_pass = (n_low <= out_high) & (out_low <= n_high)
        yield LayerRows(
            index=i,
            repeats=np.maximum(layers - 1, 0) if alike and i == 1 else (i < layers).astype(float),
            n_in=n_low,
            n_out=out_low,
            mixes=~may_pass,
            passes=may_pass & (n_low == n_high) & (out_low == out_high),
        )
        n_low, n_high = out_low, out_high


def _row_count(columns: Columns) -> int:
    lengths = [len(v) for v in columns.values() if isinstance(v, np.ndarray) and v.ndim]
    return max(lengths, default=1)


def _dense_rows(fields: Fields, schema: InputSchema) -> Array:
    if not schema.dense:
        return np.zeros(1)
    each = fields["dense_mode"] == "per_feature"
    return np.where(each, len(schema.dense), fields["dense_rows"])


def input_row_columns(fields: Fields, schema: InputSchema) -> Array:
    """Return n_0, the rows of X_0 of each design, (N,) or (1,)."""
    config = fields.config(1)
    own = input_rows(config, schema) - dense_row_count(config, schema)
    return own + _dense_rows(fields, schema)


def _mlp_products(
    n_in: Array, width: list[Array], depth_low: Array, depth_high: Array, n_out: Array
) -> Array:
    """Multiply-adds of an MLP without its biases; `width[i]` is the i-th hidden layer's."""
    direct = n_in * n_out
    if not width:
        return direct
    hidden = np.zeros(1)
    for i in range(1, len(width)):
        hidden = hidden + np.where(i < depth_low, width[i - 1] * width[i], 0.0)
    last = last_width(width, depth_low)
    through = n_in * width[0] + hidden + last * n_out
    at_least_one = np.where(depth_high > 0, np.minimum(direct, through), direct)
    return np.where(depth_low > 0, through, at_least_one)


def last_width(width: list[Array], depth: Array) -> Array:
    """The width of the last of `depth` hidden layers."""
    last = width[0]
    for i in range(1, len(width)):
        last = np.where(depth > i, width[i], last)
    return last


def _hidden_units(width: list[Array], depth: Array) -> Array:
    total = np.zeros(1)
    for i, units in enumerate(width):
        total = total + np.where(i < depth, units, 0.0)
    return total


def _input_parts(low: Fields, high: Fields, schema: InputSchema) -> Iterator[Part]:
    d = low["d"]
    narrow = {f for group in low.config(1).table_groups for f in group.features}
    specs = table_specs(low.config(1), schema)
    fixed = sum(spec.cardinality * spec.width for spec in specs if spec.feature in narrow)
    of_d = sum(spec.cardinality * spec.width for spec in specs if spec.feature not in narrow)
    yield Part("tables", 0, np.zeros(1), fixed + of_d * d)
    for group in low.config(1).table_groups:
        n_in, sizes = np.array([float(len(group.features) * group.width)]), [*group.hidden]
        hidden = [np.array([float(h)]) for h in sizes]
        depth, n_out = np.array([float(len(sizes))]), group.rows * d
        products = _mlp_products(n_in, hidden, depth, depth, n_out)
        yield Part("table group projection", 0, 6 * products, products + sum(sizes) + n_out)
    if schema.dense:
        yield _dense_part(low, high, schema)


def _dense_part(low: Fields, high: Fields, schema: InputSchema) -> Part:
    d, count = low["d"], float(len(schema.dense))
    n_in, n_out = np.array([count]), low["dense_rows"] * d
    depths = int(high["bottom_depth"].max())
    width = [low["bottom_width", i] for i in range(depths)]
    depth_low, depth_high = low["bottom_depth"], high["bottom_depth"]
    products = _mlp_products(n_in, width, depth_low, depth_high, n_out)
    # The first map sees data, which needs no gradient: 4 flop per use, not 6.
    first = n_in * (np.where(depth_low > 0, width[0], n_out) if width else n_out)
    first = np.where((depth_low == 0) & (depth_high > 0), np.minimum(first, products), first)
    biases = np.where(low["dense_bias"], n_out, 0.0)
    mode = low["dense_mode"]
    linear = n_in * n_out
    flop = np.select([mode == "mlp", mode == "linear"], [6 * products - 2 * first, 4 * linear], 0.0)
    per_feature = count * d * np.where(low["dense_bias"], 2.0, 1.0)
    parameters = np.select(
        [mode == "mlp", mode == "linear"],
        [products + _hidden_units(width, depth_low) + biases, linear + biases],
        per_feature,
    )
    return Part("dense rows", 0, flop, parameters)


def _layer_parts(low: Fields, i: int, n_in: Array, mixes: Array) -> Iterator[Part]:
    d, n_F, n_L = low["d"], low["n_F", i], low["n_L", i]
    n_out = n_F + n_L
    plain = low["fm"] == "plain"
    k = np.where(plain, n_in, low["k", i])
    learned_y = np.where(plain, 0.0, n_in * k)
    pair_products = np.where(plain, n_in * n_in * d, 2 * n_in * k * d)
    yield Part("factorization machine", i + 1, 6 * pair_products, learned_y)
    yield _attention_part(low, i, n_in, k)
    depth, units = low["mlp_depth", i], low["mlp_width", i]
    width = [units] * int(depth.max())
    flat, out = n_in * k, n_F * d
    products = _mlp_products(flat, width, depth, depth, out)
    hidden = _hidden_units(width, depth)
    biases = np.where(low["mlp_bias"], hidden + out, 0.0)
    norms = np.where(low["mlp_norm"] == "none", 0.0, 2 * hidden)
    yield Part("FMB MLP", i + 1, 6 * products, products + biases + norms)
    yield Part("linear compress block", i + 1, 6 * n_L * n_in * d, n_L * n_in)
    mix = np.where(mixes, n_in * n_out, 0.0)
    mix_bias = np.where(mixes & low["residual_bias"].astype(bool), n_out, 0.0)
    yield Part("residual mix", i + 1, 6 * mix * d, mix + mix_bias)
    yield Part("layer norms", i + 1, np.zeros(1), 2 * flat + 2 * d)


def _attention_part(low: Fields, i: int, n_in: Array, k: Array) -> Part:
    """Y made attentive to the input: W_c X, flattened, through one hidden layer, to n_in × k."""
    d, rows, width = low["d"], low["attentive_rows"], low["attentive_width"]
    on = low["attentive_y"].astype(bool)
    compress, mlp = rows * n_in, rows * d * width + width * n_in * k
    flop = 6 * (compress * d + mlp)
    weights = compress + mlp + width + n_in * k
    return Part("attentive Y", i + 1, np.where(on, flop, 0.0), np.where(on, weights, 0.0))


def _head_parts(low: Fields, high: Fields, n_last: Array, schema: InputSchema) -> Iterator[Part]:
    flat = n_last * low["d"]
    width = [low["head_width", i] for i in range(int(high["head_depth"].max()))]
    depth = low["head_depth"]
    products = _mlp_products(flat, width, depth, high["head_depth"], np.ones(1))
    hidden = _hidden_units(width, depth)
    norms = np.where(low["head_norm"] == "none", 0.0, 2 * hidden)
    parameters = products + hidden + 1 + norms
    for task in schema.tasks:
        name = "head" if len(schema.tasks) == 1 else f"head of {task}"
        yield Part(name, 0, 6 * products, parameters)
