"""Wukong: rows made from the features, a stack of layers, and for each task a head.

B examples, N rows, D width, W columns of all tables together, T tasks.
Source: arXiv 2403.02545, section 3.

The rows of X_0, in this order: the rows of each ungrouped categorical feature, in schema order;
the rows of each table group, in the config's order; the rows of the dense features (first, not
last, with `dense_first`). X_l is flattened row by row for the heads; each
makes its task's logit.

State-dict keys: `layers.{i}.*` as `wukong.layers` lists them, and

    tables.*                             as the table backend names them
    groups.{g}.linears.{i}.{weight,bias}     group g's columns → rows·D, rows first
    dense.linears.{i}.{weight,bias}          modes `mlp` and `linear`; the last: rows·D, rows first
    dense.weight, dense.bias                 mode `per_feature`: (dense features, D) each
    heads.{t}.linears.{i}.{weight,bias}      n_l·D → … → 1, of task t of the schema
    heads.{t}.norms.{i}.*                    only with `head_norm`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from wukong.layers import MLP, WukongLayer
from wukong.shape import (
    LayerShape,
    TableGroup,
    WukongConfig,
    input_rows,
    layer_shapes,
    table_rows,
    table_specs,
)

if TYPE_CHECKING:
    from wukong.data.batch import Batch
    from wukong.schema import InputSchema

# Below this share of sqrt(ln_eps), a layer norm hands on less than a tenth of its unit variance.
SWALLOWED_SHARE = 0.1


class Wukong(nn.Module):
    """The whole model: batch → logits.

    Args:
        config: its shape and switches.
        schema: the features and tasks of the batches.
        tables: looks up a batch, → (B, W): the pooled vectors of all categorical features side by
            side, as wide and in the order as `wukong.shape.table_specs` says.

    Raises:
        ConfigError: config and schema do not fit.
    """

    def __init__(self, config: WukongConfig, schema: InputSchema, tables: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.tables = tables
        self.groups = nn.ModuleList(_group_mlp(group, config) for group in config.table_groups)
        self.dense = _dense_part(config, len(schema.dense)) if schema.dense else None
        shapes = layer_shapes(config, input_rows(config, schema))
        self.layers = nn.ModuleList(WukongLayer(shape, config) for shape in shapes)
        self.heads = nn.ModuleList(_head(shapes[-1], config) for _ in schema.tasks)
        specs = table_specs(config, schema)
        self._table_names = tuple(spec.feature for spec in specs)
        self._table_widths = [spec.width for spec in specs]
        self._own_names = tuple(table_rows(config, schema))

    def input(self, batch: Batch) -> Tensor:
        """Return X_0, (B, n_0, D)."""
        parts = self._categorical_rows(self.tables(batch)) if self._table_names else []
        if self.dense is not None:
            dense_BP = self.dense(batch.dense_BD)
            parts = [dense_BP, *parts] if self.config.dense_first else [*parts, dense_BP]
        rows_BP = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return rows_BP.unflatten(1, (-1, self.config.d))

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits, (B, T)."""
        x_BND = self.input(batch)
        for layer in self.layers:
            x_BND = layer(x_BND)
        flat_BP = x_BND.flatten(1)
        logits_B1 = [head(flat_BP) for head in self.heads]
        return logits_B1[0] if len(logits_B1) == 1 else torch.cat(logits_B1, dim=1)

    def _categorical_rows(self, looked_up_BW: Tensor) -> list[Tensor]:
        if not self.groups:
            return [looked_up_BW]
        columns = torch.split(looked_up_BW, self._table_widths, dim=1)
        column_of = dict(zip(self._table_names, columns, strict=True))
        own = [column_of[name] for name in self._own_names]
        return own + [
            mlp(torch.cat([column_of[name] for name in group.features], dim=1))
            for mlp, group in zip(self.groups, self.config.table_groups, strict=True)
        ]


class PerFeatureRows(nn.Module):
    """One Linear(1, D) for each dense feature, as one broadcast product. (B, F) → (B, F·D)."""

    def __init__(self, n_dense: int, d: int, *, bias: bool, xavier: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_dense, d))
        self.bias = nn.Parameter(torch.empty(n_dense, d)) if bias else None
        if xavier:
            nn.init.normal_(self.weight, std=(2 / (1 + d)) ** 0.5)
        else:
            nn.init.uniform_(self.weight, -1, 1)
        if self.bias is not None:
            nn.init.uniform_(self.bias, *((0, 0) if xavier else (-1, 1)))

    def forward(self, dense_BF: Tensor) -> Tensor:
        """Return (B, F·D), feature by feature."""
        rows_BFD = dense_BF[:, :, None] * self.weight
        return (rows_BFD if self.bias is None else rows_BFD + self.bias).flatten(1)


@torch.no_grad()
def first_norm_input_std(model: Wukong, batch: Batch) -> float:
    """Return the standard deviation of what the first layer norm sees, the flattened FM(X_0).

    Where it is far below sqrt(`config.ln_eps`), the norm divides by its epsilon and not by the
    deviation: its output has deviation s / sqrt(s² + ε), and the first FMB starts switched off. A
    larger `table_init_std` or a smaller `ln_eps` mends it.

    Returns:
        The root of the mean over the batch of each example's variance over the N·K entries.
    """
    first = cast("WukongLayer", model.layers[0])
    flat_BP = first.fmb.interactions(model.input(batch)).flatten(1)
    return float(flat_BP.var(dim=1, correction=0).mean().sqrt())


def initial_warnings(model: Wukong, batch: Batch) -> list[str]:
    """Look at an untrained model, in training mode, through its first examples."""
    model.eval()
    std, epsilon_root = first_norm_input_std(model, batch), model.config.ln_eps**0.5
    model.train()
    if std >= SWALLOWED_SHARE * epsilon_root:
        return []
    warning = (
        f"the first layer norm's input has standard deviation {std:.2g}, far below the root of "
        f"ln_eps, {epsilon_root:.2g}: the first FMB starts switched off; raise table_init_std "
        f"({model.config.table_init_std:g}) or lower ln_eps ({model.config.ln_eps:g})"
    )
    return [warning]


def _group_mlp(group: TableGroup, config: WukongConfig) -> MLP:
    width = group.width * len(group.features)
    return MLP(width, group.hidden, group.rows * config.d, init=config.linear_init)


def _head(last: LayerShape, config: WukongConfig) -> MLP:
    return MLP(
        last.n_out * config.d,
        config.head_hidden,
        1,
        norm=config.head_norm,
        dropout=config.dropout if config.head_dropout is None else config.head_dropout,
        init=config.linear_init,
    )


def _dense_part(config: WukongConfig, n_dense: int) -> nn.Module:
    if config.dense_mode == "per_feature":
        xavier = config.linear_init == "xavier_normal"
        return PerFeatureRows(n_dense, config.d, bias=config.dense_bias, xavier=xavier)
    bottom = config.dense_mode == "mlp"
    return MLP(
        n_dense,
        config.bottom_hidden if bottom else (),
        config.dense_rows * config.d,
        output_bias=config.dense_bias,
        output_activation=bottom and config.bottom_output_activation,
        init=config.linear_init,
    )
