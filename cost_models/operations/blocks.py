"""Blocks of a training step as canonical operations: linear maps, MLPs, learned maps over rows.

N designs at once, one array entry each. B: examples of the step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cost_models.exact import Array, Columns, Fields, last_width
from cost_models.operations.ops import OpList

_ONE = np.ones(1)
_NOWHERE = np.zeros(1, dtype=bool)
_NO_NORM = np.array(["none"])


class Widths:
    """The hidden widths of N MLPs.

    Args:
        depth: how many hidden layers each has, (N,) or (1,).
        hidden: the width of each position, (N,) or (1,); a single one stands for all positions.
    """

    def __init__(self, depth: Array, hidden: list[Array]) -> None:
        self.depth = depth
        self.hidden = hidden if depth.max() > 0 else []

    @classmethod
    def of(cls, columns: Columns, name: str, depth: Array) -> Widths:
        """Read field `name`, which may have a width for each position."""
        value, fields = columns.get(name), Fields(columns)
        each = isinstance(value, tuple) or np.ndim(value) == 2  # type: ignore[arg-type]
        return cls(depth, [fields[name, i] for i in range(int(depth.max()) if each else 1)])

    def last(self, n_in: Array) -> Array:
        """What the last linear map sees, (N,): `n_in` where there is no hidden layer."""
        if not self.hidden:
            return n_in
        return np.where(self.depth > 0, last_width(self.hidden, self.depth), n_in)

    def maps(self, n_in: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Inputs and outputs of the hidden linear maps, first to last, and how many there are."""
        before = n_in
        for i, after in enumerate(self.hidden):
            yield before, after, (self.depth > i).astype(float)
            before = after
        if len(self.hidden) == 1:
            yield before, before, np.maximum(self.depth - 1, 0)


class Step(OpList):
    """Collects the operations of a step of B examples; a method adds a block's, both passes."""

    def __init__(self, batch: Array, dtype: str) -> None:
        super().__init__(dtype)
        self.batch = batch

    def mix(self, count: Array, n_in: Array, n_out: Array, d: Array) -> None:
        """Add a learned map over rows, (B, n_in, d) → (B, n_out, d)."""
        B = self.batch
        self.product("Nn", "forward", count, (n_out, d, n_in), batch=B)
        self.product("Tn", "backward", count, (n_in, d, n_out), batch=B)
        self.product("nt", "backward", count, (n_out, n_in, d), batch=B)
        self.sum(count, n_out * n_in, B)

    def linear(
        self, count: Array, n_in: Array, n_out: Array, bias: Array, *, input_grad: bool = True
    ) -> None:
        """Add a linear map; `bias` says where it has one, `input_grad` whether data needs none."""
        B = self.batch
        self.product("nt", "forward", count, (B, n_out, n_in), bias=np.where(bias, n_out, 0.0))
        if input_grad:
            self.product("nn", "backward", count, (B, n_in, n_out))
        self.product("tn", "backward", count, (n_out, n_in, B))
        self.sum(count * bias, n_out, B)

    def mlp(
        self,
        count: Array,
        n_in: Array,
        width: Widths,
        n_out: Array,
        *,
        norm: Array = _NO_NORM,
        dropout: Array = _NOWHERE,
        bias: Array = _ONE,
        output_bias: Array | None = None,
        output_activation: Array = _NOWHERE,
        input_grad: bool = True,
    ) -> None:
        """Add an MLP as `wukong.layers.MLP` is; switches are arrays that say where they are on."""
        for i, (before, after, each) in enumerate(width.maps(n_in)):
            times, units = count * each, self.batch * after
            self.linear(times, before, after, bias, input_grad=input_grad or i > 0)
            self.norm("layer_norm", times * (norm == "layer"), self.batch, after)
            self.batch_norm(times * (norm == "batch"), self.batch, after)
            self.relu(times, units)
            self.drop(times * dropout, units)
        last_bias = bias if output_bias is None else output_bias
        direct = np.where(width.depth > 0, 0.0, count)
        through = count - direct
        last = width.last(n_in)
        self.linear(direct, last, n_out, last_bias, input_grad=input_grad)
        self.linear(through, last, n_out, last_bias)
        self.relu(count * output_activation, self.batch * n_out)
