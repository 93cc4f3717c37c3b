"""Which rows come when: the order of a pass over a split, and each rank's share of it.

A pass shuffles in two steps. The rows lie in blocks of consecutive rows; the blocks are put into a
random order; and the rows are mixed within a buffer of blocks that stand side by side in it. So
files are read in long runs, and memory holds one buffer however large the split is.

R rows of a split, B rows of a batch. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.errors import ConfigError

Runs = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What decides the batches of every pass, together with the rows themselves.

    Each rank owns one range of the shuffled blocks, anew in every pass. The shares of all ranks
    hold each row exactly once and differ by one row at most. All ranks take equally many steps,
    with one exception: where fewer rows than ranks are left for the last step, only as many ranks
    have one. Collective training asks for `drop_last`: then every rank takes the same number of
    full batches, and up to B · world - 1 rows, others in each shuffled pass, stay out.

    Attributes:
        batch_size: examples a batch on each rank, ≥ 1.
        shuffle: else the rows keep their order.
        seed: ≥ 0.
        rank, world: this process and how many there are, 0 ≤ rank < world.
        buffer_blocks: blocks whose rows are mixed with each other, ≥ 1; rounded up so that a
            buffer holds whole batches.
        drop_last: leave out what does not fill a batch on every rank.

    Raises:
        ConfigError: naming every value out of its range.
    """

    batch_size: int
    shuffle: bool = True
    seed: int = 0
    rank: int = 0
    world: int = 1
    buffer_blocks: int = 16
    drop_last: bool = False

    def __post_init__(self) -> None:
        mistakes = [
            f"{name} is {getattr(self, name)}; must be ≥ {low}"
            for name, low in (("batch_size", 1), ("seed", 0), ("world", 1), ("buffer_blocks", 1))
            if getattr(self, name) < low
        ]
        if self.world >= 1 and not 0 <= self.rank < self.world:
            mistakes.append(f"rank is {self.rank}; must be from 0 to {self.world - 1}")
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    def share(self, rows: int) -> tuple[int, int]:
        """Return this rank's range of places in a pass over `rows` rows: first, and one past."""
        joint = self.batch_size * self.world
        if self.drop_last:
            own = rows // joint * self.batch_size
            return self.rank * own, (self.rank + 1) * own
        full = max(0, -(-rows // joint) - 1) * self.batch_size
        last_step = rows - full * self.world
        first, end = (
            rank * full + rank * last_step // self.world for rank in (self.rank, self.rank + 1)
        )
        return first, end

    def steps(self, rows: int) -> int:
        """Count this rank's batches in a pass over `rows` rows."""
        first, end = self.share(rows)
        return -(-(end - first) // self.batch_size)

    def buffer_rows(self, block_rows: int) -> int:
        """Count the rows of a buffer: whole batches, at least `buffer_blocks` blocks."""
        return -(-self.buffer_blocks * block_rows // self.batch_size) * self.batch_size


class BlockOrder:
    """The order of one pass's blocks, and of the rows within its buffers.

    Args:
        rows: of the split.
        block_rows: rows of a block, ≥ 1; the split's last one may be short.
        order: of all passes.
        pass_index: ≥ 0.

    Raises:
        ConfigError: where `block_rows` is below 1.
    """

    def __init__(self, rows: int, block_rows: int, order: Order, pass_index: int) -> None:
        if block_rows < 1:
            raise ConfigError(f"block_rows is {block_rows}; must be ≥ 1")
        count = -(-rows // block_rows)
        self._seeds = (order.seed, pass_index)
        self._shuffle = order.shuffle
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
        if not self._shuffle:
            return np.arange(rows)
        # NumPy pads seeds with zeros: 0 in the last place would repeat the draw of the blocks.
        return np.random.default_rng([*self._seeds, first + 1]).permutation(rows)
