"""Batches from columns, and of splits that are not held: read in runs, mixed within a buffer.

B examples of a batch, R rows of a buffer, F1 one-hot features, T tasks.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from codesign.errors import DataError
from wukong.data.batch import Batch
from wukong.data.columns import SplitColumns
from wukong.data.load.order import BlockOrder, Order, Runs
from wukong.data.share import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

# The label that each byte of a column stands for: UNOBSERVED is NaN.
_LABEL_OF_BYTE = np.full(256, np.nan, dtype=np.float32)
_LABEL_OF_BYTE[[0, 1]] = 0.0, 1.0


class BlockRows(ABC):
    """Rows that are read in runs and shuffled in blocks.

    Attributes:
        rows: how many there are.
        block_rows: rows of a block, ≥ 1; see `wukong.data.load.order`.
    """

    rows: int
    block_rows: int

    @abstractmethod
    def read(self, runs: Runs) -> SplitColumns:
        """Read these rows (first, one past), one run after another, into fresh memory.

        May be called from several threads at once.

        Raises:
            DataError: where a file is missing or broken.
        """

    def layout(self) -> dict[str, Any]:
        """What besides the order decides the batches: plain values."""
        return {"rows": self.rows, "block_rows": self.block_rows}

    def tasks(
        self, order: Order, pass_index: int, first_batch: int, share: Share
    ) -> Iterator[Callable[[], list[Batch]]]:
        """Yield the work of each buffer of a pass, from the one that holds batch `first_batch`.

        A task depends on nothing but its arguments; its result is the batches of its buffer, the
        first buffer's from `first_batch` on, each cut to its share.
        """
        blocks = BlockOrder(self.rows, self.block_rows, order, pass_index)
        steps, size = order.steps(self.rows), order.buffer_batches(self.block_rows)
        for start in range(first_batch // size * size, steps, size):
            stop = min(start + size, steps)
            yield partial(self._buffer, blocks, range(start, stop), first_batch, share)

    def _buffer(
        self, blocks: BlockOrder, batches: range, first_batch: int, share: Share
    ) -> list[Batch]:
        order, wanted = blocks.order, batches[max(0, first_batch - batches.start) :]
        pieces = [list(order.pieces(self.rows, batch, share)) for batch in wanted]
        lanes: dict[int, _Lane] = {}
        runs: Runs = []
        rows_read = 0
        for lane in sorted({lane for each in pieces for lane, _, _ in each}):
            first, end = order.lane_places(self.rows, lane, batches.start, batches.stop)
            lanes[lane] = _Lane(first, rows_read + blocks.within(first, end - first))
            runs += blocks.runs(first, end)
            rows_read += end - first
        columns, nothing = self.read(runs), np.empty(0, dtype=np.int64)
        rows = ([lanes[lane].rows(first, end) for lane, first, end in each] for each in pieces)
        return [gather(columns, np.concatenate([nothing, *rows_B])) for rows_B in rows]


class _Lane(NamedTuple):
    """What a buffer holds of one lane: where its row at place `first_place` + i was put."""

    first_place: int
    row_R: NDArray[np.int64]

    def rows(self, first: int, end: int) -> NDArray[np.int64]:
        return self.row_R[first - self.first_place : end - self.first_place]


class MappedRows(BlockRows):
    """Prepared columns, read from their files: memory holds what was read and nothing more.

    Args:
        columns: memory-mapped, or plain arrays.
        block_rows: rows of a block, ≥ 1.
    """

    def __init__(self, columns: SplitColumns, block_rows: int = 4096) -> None:
        self.rows, self.block_rows = len(columns), block_rows
        self._columns = columns

    def read(self, runs: Runs) -> SplitColumns:
        """Read these rows; see `BlockRows.read`."""
        own = self._columns
        bags = [
            _read_bags(values, offsets, runs)
            for values, offsets in zip(own.bag_values, own.bag_offsets, strict=True)
        ]
        return SplitColumns(
            one_hot=_read(own.one_hot, runs),
            bag_values=tuple(values for values, _ in bags),
            bag_offsets=tuple(offsets for _, offsets in bags),
            dense=_read(own.dense, runs),
            labels=_read(own.labels, runs),
            weight=None if own.weight is None else _read(own.weight, runs),
            group=None if own.group is None else _read(own.group, runs),
        )


def gather(columns: SplitColumns, rows_B: NDArray[np.int64]) -> Batch:
    """Copy these rows into a batch: int32 ids, feature-major in memory."""
    one_hot_FB = np.ascontiguousarray(columns.one_hot.take(rows_B, axis=0).T)
    bags = [
        _gather_bags(values, offsets, rows_B)
        for values, offsets in zip(columns.bag_values, columns.bag_offsets, strict=True)
    ]
    nothing = np.empty(0, dtype=np.int32)
    lengths = np.concatenate([nothing, *(lengths for _, lengths in bags)])
    return Batch(
        one_hot_BF=torch.from_numpy(one_hot_FB).t(),
        bag_values=torch.from_numpy(np.concatenate([nothing, *(values for values, _ in bags)])),
        bag_lengths_FB=torch.from_numpy(lengths.reshape(len(bags), len(rows_B))),
        dense_BD=torch.from_numpy(columns.dense.take(rows_B, axis=0)),
        label_BT=torch.from_numpy(_LABEL_OF_BYTE[columns.labels.take(rows_B, axis=0)]),
        weight_B=_gather_or_none(columns.weight, rows_B),
        group_B=_gather_or_none(columns.group, rows_B),
    )


def _gather_or_none(column: NDArray[Any] | None, rows_B: NDArray[np.int64]) -> Tensor | None:
    return None if column is None else torch.from_numpy(column.take(rows_B))


def _gather_bags(
    values: NDArray[np.int32], offsets: NDArray[np.int64], rows_B: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the ids of these rows, one row after another, and how many each has, (B,)."""
    start_B = offsets.take(rows_B)
    length_B = offsets.take(rows_B + 1) - start_B
    # Place i of the result lies start - (ids of the rows before) further on in `values`.
    shift_B = start_B - (length_B.cumsum() - length_B)
    places = np.arange(length_B.sum()) + shift_B.repeat(length_B)
    return values.take(places), length_B.astype(np.int32)


def _read_bags(
    values: NDArray[np.int32], offsets: NDArray[np.int64], runs: Runs
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Read the ids of these rows, and the offsets (R + 1,) of each row's among them."""
    per_run = [_read(offsets, [(first, end + 1)]) for first, end in runs]
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(each) for each in per_run)])
    return _read(values, [(int(each[0]), int(each[-1])) for each in per_run]), lengths.cumsum()


def _read(array: NDArray[Any], runs: Runs) -> NDArray[Any]:
    """Copy these rows of an array, one run after another.

    A mapped array is read from its file instead: touched pages of a map count as memory in use,
    a file that has become shorter would end the process, and reading runs is as fast.
    """
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return np.concatenate([array[:0], *(array[first:end] for first, end in runs)])
    rows = sum(end - first for first, end in runs)
    copy = np.empty((rows, *array.shape[1:]), dtype=array.dtype)
    if not copy.size:
        return copy
    target, name = copy.data.cast("B"), str(array.filename)
    try:
        file = os.open(name, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=name) from error
    row_bytes = len(target) // rows
    try:
        for first, end in runs:
            size = (end - first) * row_bytes
            _read_exactly(file, target[:size], array.offset + first * row_bytes, name)
            target = target[size:]
    finally:
        os.close(file)
    return copy


def _read_exactly(file: int, target: memoryview, offset: int, name: str) -> None:
    while len(target):
        count = os.preadv(file, [target], offset)
        if not count:
            raise DataError(
                f"ends {len(target)} bytes before it should",
                where=name,
                hint="delete the prepared data and prepare it again",
            )
        target, offset = target[count:], offset + count
