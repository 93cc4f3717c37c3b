"""Fused tables trained on ranks, and a float64 reference that trains them one row at a time.

The loss of a global batch is the mean over its examples of Σ (pooled − target)².
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from wukong.data.batch import Batch
from wukong.embeddings import TableLayout, TableOptimizer, build_tables
from wukong.embeddings.torchrec_tables import FusedTables
from wukong.parallel.ranks import Ranks
from wukong.parallel.side_stream import prefetched
from wukong.shape import TableSpec

Weights = Mapping[str, np.ndarray]


def spec(feature: str, cardinality: int, width: int, pooling: Any = None) -> TableSpec:
    return TableSpec(
        feature=feature,
        cardinality=cardinality,
        width=width,
        multi_hot=pooling is not None,
        pooling=pooling or "sum",
    )


def batch_of(specs: Sequence[TableSpec], examples: int, seed: int, ids: Any = np.int64) -> Batch:
    """Draw a batch; a multi-hot feature has 0 to 3 ids an example."""
    rng = np.random.default_rng(seed)
    one_hot = [rng.integers(0, s.cardinality, examples) for s in specs if not s.multi_hot]
    bagged = [s for s in specs if s.multi_hot]
    lengths_FB = rng.integers(0, 4, (len(bagged), examples))
    values = [
        rng.integers(0, s.cardinality, n.sum()) for s, n in zip(bagged, lengths_FB, strict=True)
    ]
    return Batch(
        one_hot_BF=torch.from_numpy(np.array(one_hot, ids).reshape(len(one_hot), examples)).t(),
        bag_values=torch.from_numpy(np.concatenate([[], *values]).astype(ids)),
        bag_lengths_FB=torch.from_numpy(lengths_FB.astype(ids)),
        dense_BD=torch.zeros(examples, 0),
        label_BT=torch.zeros(examples, 1),
    )


def part(batch: Batch, ranks: Ranks) -> Batch:
    """This rank's examples of a batch."""
    return batch.part(*ranks.share(len(batch)))


def fused(
    specs: Sequence[TableSpec], optimizer: TableOptimizer, layout: TableLayout, seed: int = 3
) -> FusedTables:
    tables = build_tables(
        "fused", specs, init_std=0.1, optimizer=optimizer, seed=seed, layout=layout
    )
    assert isinstance(tables, FusedTables)
    return tables


def train(tables: FusedTables, batches: Sequence[Batch], *, ahead: bool = False) -> None:
    """One step a batch; `ahead` begins each batch before the one before it is trained on."""
    ranks = Ranks.present()
    optimizer = tables.optimizer()
    parts: Iterator[Batch] = (part(batch, ranks) for batch in batches)
    if ahead:
        parts = prefetched(parts, [tables], ranks.device)
    for whole, batch in zip(batches, parts, strict=True):
        optimizer.zero_grad()
        pooled_BW = tables(batch)
        target_W = torch.linspace(-1, 1, pooled_BW.shape[1])
        (((pooled_BW - target_W) ** 2).sum() / len(whole)).backward()
        optimizer.step()


def lookups(tables: FusedTables, batch: Batch) -> np.ndarray:
    """What this rank's part of a batch looks up (examples of this rank, W)."""
    with torch.no_grad():
        return tables(part(batch, Ranks.present())).numpy()


def reference_lookup(
    specs: Sequence[TableSpec], batch: Batch
) -> list[tuple[TableSpec, np.ndarray]]:
    """Each table's (spec, share (B, R) that a row has in an example's pooled vector)."""
    ends = batch.bag_lengths_FB.numpy().reshape(-1).cumsum()
    bags = iter(np.split(batch.bag_values.numpy(), ends)[:-1])
    columns = iter(batch.one_hot_BF.numpy().T)
    found = []
    for s in specs:
        share_BR = np.zeros((len(batch), s.cardinality))
        if s.multi_hot:
            for share_R in share_BR:
                ids = next(bags)
                np.add.at(share_R, ids, 1 / len(ids) if s.pooling == "mean" and len(ids) else 1)
        else:
            share_BR[np.arange(len(batch)), next(columns)] = 1
        found.append((s, share_BR))
    return found


def reference_training(
    specs: Sequence[TableSpec],
    weights: Weights,
    batches: Sequence[Batch],
    optimizer: TableOptimizer,
    columns_of_shard: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Tables after training in float64; row-wise Adagrad keeps one sum per row and shard."""
    tables = {f: table.astype(np.float64) for f, table in weights.items()}
    sums: dict[tuple[str, int], np.ndarray] = {}
    for batch in batches:
        looked_up = reference_lookup(specs, batch)
        pooled_BW = np.concatenate([share @ tables[s.feature] for s, share in looked_up], axis=1)
        gradient_BW = 2 * (pooled_BW - np.linspace(-1, 1, pooled_BW.shape[1])) / len(batch)
        start = 0
        for s, share_BR in looked_up:
            gradient_RD = share_BR.T @ gradient_BW[:, start : start + s.width]
            start += s.width
            for column in range(0, s.width, columns_of_shard[s.feature]):
                shard = slice(column, column + columns_of_shard[s.feature])
                step_RC = gradient_RD[:, shard]
                if optimizer.name == "rowwise_adagrad":
                    sum_R = sums.setdefault((s.feature, column), np.zeros(s.cardinality))
                    sum_R += (step_RC**2).mean(axis=1)
                    step_RC = step_RC / (np.sqrt(sum_R) + 1e-8)[:, None]
                tables[s.feature][:, shard] -= optimizer.lr * step_RC
    return tables
