"""What forward and backward of a training step hold at any moment, for many designs at once.

Forward adds what backward needs; backward frees that stage by stage and leaves gradients of
weights. The peak is the highest point of that walk, which is followed tensor by tensor in the order
in which autograd runs: last made, first differentiated. Layers that are one step of autograd
(`wukong.fused_layer`) go back by a way of their own (`cost_models.memory.one_step_layer`). FP32. N
designs; B examples, n rows of a layer's input, d width, k columns of its FM matrix. Formulas count
elements; a stage is what makes X_0, a Wukong layer, or the head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cost_models.exact import Array, Columns, Fields, LayerRows, input_row_columns, layer_rows
from cost_models.memory.one_step_layer import is_one_step, one_step_peak
from cost_models.memory.walk import Stage, Walk
from wukong.schema import InputSchema

_ZERO = np.zeros(1)


@dataclass(frozen=True, kw_only=True)
class _Mlp:
    """An MLP as `wukong.layers.MLP` is, for B examples; each field (N,) or (1,).

    Attributes:
        batch: B.
        n_in, n_out: width of input and output.
        width: of each hidden layer; those from `depth` on do not exist.
        normed, dropped, activated: 1 where it has norms, dropout, a ReLU at its end.
    """

    batch: Array
    n_in: Array
    n_out: Array
    width: Sequence[Array]
    depth: Array
    normed: Array | float = 0.0
    dropped: Array | float = 0.0
    activated: Array | float = 0.0

    @property
    def saved(self) -> Array:
        """Elements, the input's apart."""
        each = self.n_out * self.activated
        for i, width in enumerate(self.width):
            each = each + (self.depth > i) * width * (1 + self.normed + 2 * self.dropped)
        return self.batch * each

    def differentiate(self, walk: Walk, grad: Array, *, input_freed: Array, to_input: bool) -> None:
        """Walk from the output to the input.

        Args:
            grad: elements that the output's gradient holds.
            input_freed: elements of the input that nothing else keeps.
            to_input: whether the input has a gradient.
        """
        result = self.batch * self.n_out * self.activated
        walk.run(result, freed=np.where(np.asarray(self.activated) > 0, grad + result, 0.0))
        grad = np.where(np.asarray(self.activated) > 0, result, grad)
        after = self.n_out
        for i in reversed(range(len(self.width))):
            here, width = (self.depth > i).astype(float), self.width[i]
            units = here * self.batch * width
            dropped, normed = units * self.dropped, units * self.normed
            walk.run(units, freed=here * grad + dropped, weights=here * (width + 1) * after)
            walk.run(dropped, freed=2 * dropped)
            walk.run(units, freed=2 * units)
            walk.run(normed, freed=2 * normed, weights=2 * here * self.normed * width)
            grad, after = np.where(here > 0, units, grad), np.where(here > 0, width, after)
        made = self.batch * self.n_in if to_input else _ZERO
        walk.run(made, freed=grad + input_freed, weights=(self.n_in + 1) * after)


def stages(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: Array,
    high: Columns | None = None,
    one_step_layers: bool = False,
) -> list[Stage]:
    """List what the stages of each design hold, in the order of forward.

    Args:
        columns: WukongConfig field → one value for all, or an array (see `cost_models.exact`).
        batch: B, (N,) or (1,).
        high: the upper end of boxes of designs whose lower end is `columns`. Of the two ways that
            a layer may go, a box takes the lower.
        one_step_layers: whether layers are one step of autograd where `wukong.fused_layer` can.
    """
    fields = Fields(columns)
    rows = input_row_columns(fields, schema)
    high_fields = Fields(columns if high is None else high)
    found = [_input_stage(fields, high_fields, schema, batch)]
    for layer in layer_rows(fields, high_fields, schema):
        stage = _layer_stage(fields, layer, batch)
        if one_step_layers:
            other = one_step_peak(fields, layer, batch, stage.saved)
            is_other = is_one_step(fields, layer, batch) if high is None else other < stage.peak
            stage = dataclasses.replace(stage, peak=np.where(is_other, other, stage.peak))
        found.append(stage)
        rows = layer.last_rows(rows)
    found.append(_head_stage(fields, columns, rows, batch, tasks=len(schema.tasks)))
    return found


def step_peak(found: Sequence[Stage]) -> Array:
    """Return the most elements live in a step besides what lives between steps, (N,) or (1,)."""
    saved, grads = _ZERO, _ZERO
    for stage in found:
        saved = saved + stage.repeats * stage.saved
    peak = _ZERO
    for stage in reversed(found):
        # Of stages that are alike, live memory rises or falls evenly: an end is highest.
        peak = np.maximum(
            peak, np.where(stage.repeats > 0, saved - stage.saved + stage.peak + grads, 0.0)
        )
        more = np.maximum(stage.repeats - 1, 0)
        saved, grads = saved - more * stage.saved, grads + more * stage.grads
        peak = np.maximum(
            peak, np.where(stage.repeats > 0, saved - stage.saved + stage.peak + grads, 0.0)
        )
        once = np.minimum(stage.repeats, 1)
        saved, grads = saved - once * stage.saved, grads + once * stage.grads
    return np.maximum(peak, grads)


def _flag(values: Array) -> Array:
    return values.astype(float)


def _input_stage(fields: Fields, high: Fields, schema: InputSchema, B: Array) -> Stage:
    x = B * input_row_columns(fields, schema) * fields["d"]
    if not schema.dense:
        return Walk(_ZERO, x).stage(np.ones(1))
    is_mlp = fields["dense_mode"] == "mlp"
    depth = np.where(is_mlp, fields["bottom_depth"], 0.0)
    # Weights of a narrow hidden layer may be fewer than of none: a box that has both may have none.
    sure = ~(is_mlp & (depth == 0) & (high["bottom_depth"] > 0))
    mlp = _Mlp(
        batch=B,
        n_in=np.array([float(len(schema.dense))]),
        n_out=sure * fields["dense_rows"] * fields["d"],
        width=[fields["bottom_width", i] for i in range(int(depth.max()))],
        depth=depth,
        activated=_flag(is_mlp & fields["bottom_output_activation"].astype(bool)),
    )
    walk = Walk(mlp.saved, x)
    mlp.differentiate(walk, x, input_freed=_ZERO, to_input=False)
    return walk.stage(np.ones(1))


def _layer_stage(fields: Fields, layer: LayerRows, B: Array) -> Stage:
    i, n, n_out, d = layer.index, layer.n_in, layer.n_out, fields["d"]
    n_L, k = fields["n_L", i], np.where(fields["fm"] == "plain", n, fields["k", i])
    x, out, flat = B * n * d, B * n_out * d, B * n * k
    mlp, attention = _fmb_mlp(fields, i, n * k, B), _attention_mlp(fields, n * k, B)
    compressed = np.where(fields["fm"] == "plain", 0.0, B * k * d)
    statistics = 2 * B * (n_out + 1)
    attentive = fields["attentive_y"] * flat + attention.batch * attention.n_in + attention.saved
    walk = Walk(x + compressed + attentive + 2 * flat + mlp.saved + out + statistics, out)
    walk.run(out, freed=2 * out + statistics, weights=2 * d)  # the norm at the end
    mixes, passes = _flag(layer.mixes), _flag(layer.passes)
    per_example = mixes * B * n_out * n  # the gradient of W, before it is summed over examples
    walk.run(mixes * x + per_example, freed=per_example, weights=mixes * n_out * n)
    # Where the residual passes X on, its gradient is shared, and a sum needs a place of its own.
    per_example = B * n_L * n
    walk.run(
        x + passes * x + per_example,
        freed=(mixes + passes) * x + per_example,
        weights=n_L * n,
    )
    mlp.differentiate(walk, out, input_freed=flat, to_input=True)
    walk.run(flat, freed=2 * flat, weights=2 * n * k)  # the norm before the MLP
    _differentiate_interactions(walk, fields, attention, (x, compressed, flat))
    return walk.stage(layer.repeats, needed=x)


def _fmb_mlp(fields: Fields, i: int, n_in: Array, B: Array) -> _Mlp:
    depth = fields["mlp_depth", i]
    return _Mlp(
        batch=B,
        n_in=n_in,
        n_out=fields["n_F", i] * fields["d"],
        width=[fields["mlp_width", i]] * int(depth.max()),
        depth=depth,
        normed=_flag(fields["mlp_norm"] != "none"),
        dropped=_flag(fields["dropout"] > 0),
        activated=_flag(fields["mlp_output_activation"].astype(bool)),
    )


def _attention_mlp(fields: Fields, n_out: Array, B: Array) -> _Mlp:
    """What makes Y attentive to the input, from W_c X on; empty where Y is not."""
    on = _flag(fields["attentive_y"].astype(bool))
    return _Mlp(
        batch=B,
        n_in=on * fields["attentive_rows"] * fields["d"],
        n_out=on * n_out,
        width=[on * fields["attentive_width"]],
        depth=on,
    )


def _differentiate_interactions(
    walk: Walk, fields: Fields, attention: _Mlp, sizes: tuple[Array, Array, Array]
) -> None:
    """Walk back from FM(X) to X: X Xᵀ, X (Yᵀ X)ᵀ, or X (Xᵀ Y) with a Y for each example.

    Args:
        sizes: elements of X, of the compressed product (0 for the plain form), and of FM(X).
    """
    x, compressed, flat = sizes
    plain = fields["fm"] == "plain"
    walk.run(x + np.where(plain, x, compressed), freed=x + flat + compressed)
    attentive = fields["attentive_y"].astype(bool)
    learned = np.where(plain, 0.0, flat)
    made = np.where(plain, 0.0, x) + learned
    freed = made + np.where(plain, x, compressed) + np.where(attentive, 0.0, x)
    walk.run(made, freed=freed, weights=learned / attention.batch)
    if not attentive.any():
        return
    W_c_X, on = attention.batch * attention.n_in, _flag(attentive)
    attention.differentiate(walk, on * flat, input_freed=W_c_X, to_input=True)
    weights = on * fields["attentive_rows"] * x / (attention.batch * fields["d"])
    made = on * x + attention.batch * weights
    walk.run(made, freed=made + W_c_X + on * x, weights=weights)


def _head_stage(fields: Fields, columns: Columns, rows: Array, B: Array, *, tasks: int) -> Stage:
    flat, depth = rows * fields["d"], fields["head_depth"]
    dropout = fields["dropout"] if columns.get("head_dropout") is None else fields["head_dropout"]
    mlp = _Mlp(
        batch=B,
        n_in=flat,
        n_out=np.ones(1),
        width=[fields["head_width", i] for i in range(int(depth.max()))],
        depth=depth,
        normed=_flag(fields["head_norm"] != "none"),
        dropped=_flag(dropout > 0),
    )
    walk = Walk(B * flat + tasks * mlp.saved, B * tasks)
    for task in range(tasks):
        needed_no_more = B * flat if task == tasks - 1 else _ZERO
        mlp.differentiate(walk, B, input_freed=needed_no_more, to_input=True)
        if task:
            walk.run(_ZERO, freed=B * flat)  # added to the gradient from the heads before
    return walk.stage(np.ones(1))
