"""Wukong's forward pass in float64 NumPy, from the paper's equations, entry by entry of einsum.

Weights are a flat dict under the documented state-dict keys. Nothing here uses torch.

B examples, N rows, D width, K columns of the FM matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wukong.schema import InputSchema
from wukong.shape import WukongConfig

Array = np.ndarray[Any, np.dtype[np.float64]]
Weights = Mapping[str, Array]
NORM_EPS = 1e-5  # of the norms inside MLPs


def within(weights: Weights, prefix: str) -> dict[str, Array]:
    """The weights under a prefix, without it."""
    start = prefix + "."
    return {key[len(start) :]: w for key, w in weights.items() if key.startswith(start)}


def standardize(x: Array, axis: int, eps: float) -> Array:
    """Subtract the mean and divide by the deviation, along one axis."""
    centred = x - x.mean(axis, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis, keepdims=True) + eps)


def mlp(
    w: Weights, x: Array, *, norm: str, output_relu: bool = False, training: bool = True
) -> Array:
    """Hidden layers of linear, norm and ReLU, then a linear map. Batch norm sees the batch."""
    count = 1 + max(int(key.split(".")[1]) for key in w if key.startswith("linears."))
    for i in range(count):
        x = np.einsum("oi,bi->bo", w[f"linears.{i}.weight"], x)
        x = x + w.get(f"linears.{i}.bias", 0.0)
        if i < count - 1:
            if norm == "batch" and not training:
                centred = x - w[f"norms.{i}.running_mean"]
                x = centred / np.sqrt(w[f"norms.{i}.running_var"] + NORM_EPS)
            elif norm != "none":
                x = standardize(x, {"batch": 0, "layer": 1}[norm], NORM_EPS)
            if norm != "none":
                x = x * w[f"norms.{i}.weight"] + w[f"norms.{i}.bias"]
        if i < count - 1 or output_relu:
            x = np.maximum(x, 0.0)
    return x


def interactions(w: Weights, x: Array, config: WukongConfig) -> Array:
    """FM(X) as the inner products ⟨x_n, x_m⟩, summed over m with Y's columns where low rank."""
    gram = np.einsum("bnd,bmd->bnm", x, x)
    if config.fm == "plain":
        return gram
    y = np.broadcast_to(w["y"], (len(x), *w["y"].shape))
    if config.attentive_y:
        compressed = np.einsum("rn,bnd->brd", w["attention.compress.weight"], x)
        added = mlp(within(w, "attention.mlp"), compressed.reshape(len(x), -1), norm="none")
        y = y + added.reshape(y.shape)
    return np.einsum("bnm,bmk->bnk", gram, y)


def layer(w: Weights, x: Array, config: WukongConfig, *, training: bool = True) -> Array:
    """X' = LN(concat(FMB(X), LCB(X)) + R(X))."""
    flat = interactions(within(w, "fmb"), x, config).reshape(len(x), -1)
    normed = standardize(flat, 1, config.ln_eps) * w["fmb.norm.weight"] + w["fmb.norm.bias"]
    fmb = mlp(
        within(w, "fmb.mlp"),
        normed,
        norm=config.mlp_norm,
        output_relu=config.mlp_output_activation,
        training=training,
    ).reshape(len(x), -1, config.d)
    lcb = np.einsum("ln,bnd->bld", w["lcb.weight"], x)
    residual = x
    if "residual.weight" in w:
        residual = np.einsum("mn,bnd->bmd", w["residual.weight"], x)
        residual = residual + np.reshape(w.get("residual.bias", np.zeros(1)), (1, -1, 1))
    new = np.concatenate([fmb, lcb], axis=1) + residual
    return standardize(new, 2, config.ln_eps) * w["norm.weight"] + w["norm.bias"]


def dense_rows(w: Weights, dense: Array, config: WukongConfig) -> Array:
    """The rows made from the dense features, (B, rows, D)."""
    if config.dense_mode == "per_feature":
        each = [
            dense[:, [f]] * w["weight"][f] + (w["bias"][f] if "bias" in w else 0.0)
            for f in range(dense.shape[1])
        ]
        return np.stack(each, axis=1)
    relu = config.dense_mode == "mlp" and config.bottom_output_activation
    return mlp(w, dense, norm="none", output_relu=relu).reshape(len(dense), -1, config.d)


def input_rows(
    w: Weights, looked_up: Mapping[str, Array], dense: Array, config: WukongConfig
) -> Array:
    """X_0 from each feature's pooled vectors (in schema order) and the dense features."""
    grouped = {name for group in config.table_groups for name in group.features}
    parts = [v.reshape(len(v), -1, config.d) for f, v in looked_up.items() if f not in grouped]
    for g, group in enumerate(config.table_groups):
        together = np.concatenate([looked_up[name] for name in group.features], axis=1)
        rows = mlp(within(w, f"groups.{g}"), together, norm="none")
        parts.append(rows.reshape(len(rows), -1, config.d))
    if dense.shape[1]:
        made = dense_rows(within(w, "dense"), dense, config)
        parts = [made, *parts] if config.dense_first else [*parts, made]
    return np.concatenate(parts, axis=1)


def model(
    w: Weights,
    looked_up: Mapping[str, Array],
    dense: Array,
    config: WukongConfig,
    *,
    training: bool = True,
) -> Array:
    """Logits (B, T) of the whole model."""
    x = input_rows(w, looked_up, dense, config)
    for i in range(config.layers):
        x = layer(within(w, f"layers.{i}"), x, config, training=training)
    flat = x.reshape(len(x), -1)
    tasks = 1 + max(int(key.split(".")[1]) for key in w if key.startswith("heads."))
    heads = [within(w, f"heads.{t}") for t in range(tasks)]
    norm = config.head_norm
    return np.concatenate([mlp(head, flat, norm=norm, training=training) for head in heads], 1)


def log_loss(logits: Array, labels: Array) -> float:
    """Mean log loss of logits against labels 0 and 1."""
    return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))


def lookup(
    tables: Mapping[str, Array], ids: Mapping[str, list[list[int]]], schema: InputSchema
) -> dict[str, Array]:
    """Each feature's pooled vectors (B, width); no ids give zeros."""
    out = {}
    for f in schema.categorical:
        table = tables[f.name]
        rows = [table[bag].sum(axis=0) for bag in ids[f.name]]
        if f.pooling == "mean":
            rows = [r / max(len(bag), 1) for r, bag in zip(rows, ids[f.name], strict=True)]
        out[f.name] = np.stack(rows)
    return out
