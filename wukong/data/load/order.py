"""Which rows come when: the order of a pass over a split, and who reads which of them.

A pass shuffles in two steps. The rows lie in blocks of consecutive rows; the blocks are put into a
random order; and the rows are mixed within a buffer of blocks that stand side by side in it. So
files are read in long runs, and memory holds one buffer however large the split is.

Several readers cut each batch into slices. So that none has to read everything, the shuffled blocks
may lie in lanes: each batch takes as many rows from every lane as from any other, one after the
other, and a reader reads the lanes that its slice touches.

R rows of a split, B rows of a batch. NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.errors import ConfigError
from wukong.data.share import Share, part

Runs = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What decides the batches of every pass, together with the rows themselves.

    Attributes:
        batch_size: examples a batch, ≥ 1; the last one of a pass may be short.
        shuffle: else the rows keep their order, and there must be one lane.
        seed: ≥ 0.
        buffer_blocks: blocks whose rows are mixed with each other, ≥ 1, in all lanes together;
            rounded up so that a buffer holds whole batches.
        lanes: ≥ 1; more than `buffer_blocks` mix less than one would.

    Raises:
        ConfigError: naming every value out of its range.
    """

    batch_size: int
    shuffle: bool = True
    seed: int = 0
    buffer_blocks: int = 16
    lanes: int = 1

    def __post_init__(self) -> None:
        mistakes = [
            f"{name} is {getattr(self, name)}; must be ≥ {low}"
            for name, low in (("batch_size", 1), ("seed", 0), ("buffer_blocks", 1), ("lanes", 1))
            if getattr(self, name) < low
        ]
        if self.lanes > 1 and not self.shuffle:
            mistakes.append(f"lanes is {self.lanes}; must be 1 where the rows keep their order")
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    def steps(self, rows: int) -> int:
        """Count the batches of a pass over `rows` rows."""
        return -(-rows // self.batch_size)

    def examples(self, rows: int, batch: int) -> int:
        """Count the examples of batch `batch` of a pass over `rows` rows."""
        return min(self.batch_size, rows - batch * self.batch_size)

    def buffer_batches(self, block_rows: int) -> int:
        """Count the batches of a buffer: the fewest that hold `buffer_blocks` blocks."""
        return -(-self.buffer_blocks * block_rows // self.batch_size)

    def lane_places(self, rows: int, lane: int, first: int, end: int) -> tuple[int, int]:
        """Return the places of a pass that batches `first` to `end` take from one lane.

        Args:
            rows: of the split.
            lane: 0 ≤ lane < `lanes`.
            first, end: of the pass's batches, one past the last at most.

        Returns:
            The first place, and one past.
        """
        full, rest = divmod(rows, self.batch_size)
        start, stop = part(self.batch_size, lane, self.lanes)
        rest_start, rest_stop = part(rest, lane, self.lanes)
        lane_start = full * start + rest_start

        def before(batch: int) -> int:
            return min(batch, full) * (stop - start) + (batch > full) * (rest_stop - rest_start)

        return lane_start + before(first), lane_start + before(end)

    def pieces(self, rows: int, batch: int, share: Share) -> Iterator[tuple[int, int, int]]:
        """Yield what a share of a batch takes from which lane: lane, first place, and one past."""
        examples = self.examples(rows, batch)
        first, end = share(examples)
        for lane in range(self.lanes):
            start, stop = part(examples, lane, self.lanes)
            low, high = max(first, start), min(end, stop)
            if low < high:
                place, _ = self.lane_places(rows, lane, batch, batch + 1)
                yield lane, place + low - start, place + high - start


class BlockOrder:
    """The order of one pass's blocks, and of the rows within its buffers.

    Args:
        rows: of the split.
        block_rows: rows of a block, ≥ 1; the split's last one may be short.
        order: of all passes; kept under this name.
        pass_index: ≥ 0.

    Raises:
        ConfigError: where `block_rows` is below 1.
    """

    def __init__(self, rows: int, block_rows: int, order: Order, pass_index: int) -> None:
        if block_rows < 1:
            raise ConfigError(f"block_rows is {block_rows}; must be ≥ 1")
        count = -(-rows // block_rows)
        self.order = order
        self._seeds = (order.seed, pass_index)
        if order.shuffle:
            block_order = np.random.default_rng(self._seeds).permutation(count)
        else:
            block_order = np.arange(count)
        self._first_row = block_order * block_rows
        self._end_place = np.minimum(block_rows, rows - self._first_row).cumsum()

    def runs(self, first: int, end: int) -> Runs:
        """Return the rows (first, one past) at places `first` to `end`, in order of place."""
        runs: Runs = []
        block = int(np.searchsorted(self._end_place, first, side="right"))
        while first < end:
            block_end = int(self._end_place[block])
            block_start = int(self._end_place[block - 1]) if block else 0
            row = int(self._first_row[block]) + first - block_start
            taken = min(end, block_end) - first
            if runs and runs[-1][1] == row:
                runs[-1] = (runs[-1][0], row + taken)
            else:
                runs.append((row, row + taken))
            first += taken
            block += 1
        return runs

    def within(self, first: int, rows: int) -> NDArray[np.int64]:
        """Return the order of the rows of the buffer that begins at place `first`, int64 (R,)."""
        if not self.order.shuffle:
            return np.arange(rows)
        # NumPy pads seeds with zeros: 0 in the last place would repeat the draw of the blocks.
        return np.random.default_rng([*self._seeds, first + 1]).permutation(rows)
