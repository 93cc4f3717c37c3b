"""Batches of a prepared data set, in an order that only depends on seed and pass.

B examples, F1 one-hot, F2 multi-hot, D dense features, R rows of a split.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from codesign.errors import ConfigError
from wukong.data.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wukong.data.prepared import PreparedData

# A split is converted and held where it takes less than this share of the machine's memory.
HELD_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class _Split:
    """A whole split: int64 and float32 in memory, or as in its files and mapped from there."""

    one_hot_RF: Tensor
    bag_values: tuple[Tensor, ...]
    bag_offsets: tuple[Tensor, ...]
    dense_RD: Tensor
    label_R: Tensor


def batches(
    data: PreparedData,
    split: str,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    pass_index: int = 0,
) -> Iterator[Batch]:
    """Yield all rows of `split` once; the last batch may be short.

    Args:
        batch_size: examples a batch, ≥ 1.
        shuffle: draw the order from `default_rng([seed, pass_index])`, else keep the rows' own.
        seed: ≥ 0.
        pass_index: which pass over the data this is, ≥ 0.

    Raises:
        ConfigError: where there is no such split, or the batch size is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; must be ≥ 1")
    rows = data.rows(split)
    if shuffle:
        order_R = torch.from_numpy(np.random.default_rng([seed, pass_index]).permutation(rows))
    else:
        order_R = torch.arange(rows)
    held = _held(data, split)
    return (
        _gather(held, order_R[start : start + batch_size]) for start in range(0, rows, batch_size)
    )


def _held(data: PreparedData, split: str) -> _Split:
    key = f"tensors of {split}"
    if key not in data.held:
        data.held[key] = _load(data, split)
    held: _Split = data.held[key]
    return held


def _load(data: PreparedData, split: str) -> _Split:
    columns = data.columns(split)
    # int32 becomes int64; the rest is small beside the ids.
    size_bytes = 2 * sum(array.nbytes for array in columns.arrays().values())
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fits = size_bytes < HELD_SHARE * memory_bytes

    def tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
        mapped = torch.from_numpy(array)
        return mapped.to(dtype, copy=True) if fits else mapped

    return _Split(
        one_hot_RF=tensor(columns.one_hot, torch.int64),
        bag_values=tuple(tensor(values, torch.int64) for values in columns.bag_values),
        bag_offsets=tuple(tensor(offsets, torch.int64) for offsets in columns.bag_offsets),
        dense_RD=tensor(columns.dense, torch.float32),
        label_R=tensor(columns.label, torch.float32),
    )


def _gather(split: _Split, rows_B: Tensor) -> Batch:
    bags = [
        _gather_bag(values, offsets, rows_B)
        for values, offsets in zip(split.bag_values, split.bag_offsets, strict=True)
    ]
    none = torch.empty(0, dtype=torch.int64)
    return Batch(
        one_hot_BF=split.one_hot_RF.index_select(0, rows_B).long(),
        bag_values=torch.cat([none, *(values for values, _ in bags)]).long(),
        bag_lengths_FB=torch.cat([none, *(lengths for _, lengths in bags)]).view(
            len(bags), len(rows_B)
        ),
        dense_BD=split.dense_RD.index_select(0, rows_B),
        label_B=split.label_R.index_select(0, rows_B).float(),
    )


def _gather_bag(values: Tensor, offsets_R: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ids of these rows, one row after another, and how many each has, (B,)."""
    start_B = offsets_R.index_select(0, rows_B)
    length_B = offsets_R.index_select(0, rows_B + 1) - start_B
    # Place i of the result lies start - (ids of the rows before) further on in `values`.
    shift_B = start_B - (length_B.cumsum(0) - length_B)
    places = torch.arange(int(length_B.sum())) + shift_B.repeat_interleave(length_B)
    return values.index_select(0, places), length_B
