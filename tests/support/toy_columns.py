"""Small random splits whose rows can be told apart, and batches of them gathered by hand."""

from __future__ import annotations

import numpy as np
import torch

from wukong.data.batch import Batch
from wukong.data.load.loader import HeldRows
from wukong.data.load.stream import MappedRows
from wukong.data.prepared import UNOBSERVED, SplitColumns
from wukong.schema import CategoricalFeature, InputSchema


def toy_columns(rows: int, bags: int = 2, tasks: int = 1, seed: int = 0) -> SplitColumns:
    """Row r has r as its first id, as its dense value and as its group.

    With several tasks some labels are unobserved, and there are weights.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, (bags, rows))
    labels = rng.integers(0, 2, (rows, tasks), dtype=np.uint8)
    if tasks > 1:
        labels[rng.random(labels.shape) < 0.3] = UNOBSERVED
    return SplitColumns(
        one_hot=np.stack([np.arange(rows), rng.integers(0, 9, rows)], axis=1).astype(np.int32),
        bag_values=tuple(rng.integers(0, 7, n.sum(), dtype=np.int32) for n in lengths),
        bag_offsets=tuple(np.concatenate([[0], np.cumsum(n)]) for n in lengths),
        dense=np.arange(rows, dtype=np.float32)[:, None],
        labels=labels,
        weight=rng.random(rows, dtype=np.float32) if tasks > 1 else None,
        group=np.arange(rows) if tasks > 1 else None,
    )


def toy_schema(rows: int, bags: int = 2) -> InputSchema:
    """Describe the features of `toy_columns`."""
    one_hot = [("row", rows), ("other", 9)]
    return InputSchema(
        categorical=(
            *(CategoricalFeature(name=name, cardinality=ids) for name, ids in one_hot),
            *(
                CategoricalFeature(name=f"bag {i}", cardinality=7, multi_hot=True)
                for i in range(bags)
            ),
        ),
        dense=("row number",),
    )


def rows_of(columns: SplitColumns, block_rows: int) -> HeldRows | MappedRows:
    """Hold the columns where blocks have 0 rows, else stream them."""
    return MappedRows(columns, block_rows) if block_rows else HeldRows(columns)


def batch_by_hand(columns: SplitColumns, rows: list[int]) -> Batch:
    """Gather row by row, feature by feature."""
    values, lengths = [], []
    for ids, offsets in zip(columns.bag_values, columns.bag_offsets, strict=True):
        bags = [ids[offsets[row] : offsets[row + 1]].tolist() for row in rows]
        values += [id_ for bag in bags for id_ in bag]
        lengths.append([len(bag) for bag in bags])
    label = {0: 0.0, 1: 1.0, UNOBSERVED: float("nan")}
    weight, group = columns.weight, columns.group
    return Batch(
        one_hot_BF=torch.tensor([columns.one_hot[row].tolist() for row in rows]),
        bag_values=torch.tensor(values, dtype=torch.int64),
        bag_lengths_FB=torch.tensor(lengths, dtype=torch.int64).view(len(lengths), len(rows)),
        dense_BD=torch.tensor([columns.dense[row].tolist() for row in rows]),
        label_BT=torch.tensor([[label[int(x)] for x in columns.labels[row]] for row in rows]),
        weight_B=None if weight is None else torch.tensor([float(weight[row]) for row in rows]),
        group_B=None if group is None else torch.tensor([int(group[row]) for row in rows]),
    )


def assert_same(found: Batch, expected: Batch, *, any_integer: bool = False) -> None:
    """Compare bit by bit; `any_integer` lets int32 equal int64."""
    for name, tensor in vars(expected).items():
        other = getattr(found, name)
        if tensor is None or other is None:
            assert tensor is other, name
            continue
        if any_integer and not other.is_floating_point():
            other = other.long()
        torch.testing.assert_close(other, tensor, rtol=0, atol=0, equal_nan=True, msg=name)


def row_numbers(batch: Batch) -> list[int]:
    """Tell which rows a batch of `toy_columns` holds."""
    return [int(row) for row in batch.one_hot_BF[:, 0]]
