"""Batches of a data set, in an order that only depends on what decides it, from any position.

A small split is held, and a shuffled pass is a full permutation of its rows; a larger one is
streamed, and a pass is a shuffle of blocks (see `wukong.data.load.order`). Of every batch, a reader
takes its share: all readers of the same order see slices of the same batches, however many they
are.
B examples of a batch, R rows of a split.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from codesign.errors import ConfigError
from wukong.data.batch import Batch
from wukong.data.load.order import Order
from wukong.data.load.prefetch import in_order
from wukong.data.load.stream import MappedRows, gather
from wukong.data.share import Share, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from wukong.data.columns import SplitColumns

# A split of more bytes is streamed. The same on every machine: it decides the batches.
HELD_BYTES = 1 << 30
# Of a streamed split that is shuffled; also the most readers that share a pass without reading a
# row twice.
LANES = 16


class Rows(Protocol):
    """Where batches come from: `HeldRows`, or a subclass of `wukong.data.load.stream.BlockRows`."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def layout(self) -> dict[str, Any]:
        """What besides the order decides the batches: plain values."""

    def tasks(
        self, order: Order, pass_index: int, first_batch: int, share: Share
    ) -> Iterator[Callable[[], list[Batch]]]:
        """Yield the work of a pass from batch `first_batch` on, part by part."""


class Columns(Protocol):
    """A data set that has its splits as columns, as prepared data have."""

    @property
    def held(self) -> dict[str, Any]:
        """What a long-lived process keeps with the data."""

    def columns(self, split: str) -> SplitColumns:
        """Map the columns of `split` into memory."""


class Loader:
    """One reader's shares of all batches, pass after pass, with a position to be taken up again.

    Iterating yields what is left of the present pass; with its last batch, the next pass becomes
    the present one. A new iterator ends the one before it. The same rows, order and position give
    the same batches to the bit, whatever the number of workers. A position counts whole batches, so
    it may be taken up with another share.

    Args:
        rows: where they come from.
        order: what decides the batches.
        share: what is taken of each; may be nothing.
        workers: threads that read ahead, ≥ 0, each by one buffer; 0 reads when a batch is due.
        pass_index: the first pass, ≥ 0.
    """

    def __init__(
        self,
        rows: Rows,
        order: Order,
        *,
        share: Share = whole,
        workers: int = 0,
        pass_index: int = 0,
    ) -> None:
        if workers < 0 or pass_index < 0:
            raise ConfigError(f"workers is {workers}, pass_index {pass_index}; both must be ≥ 0")
        self._rows, self._order, self._share, self._workers = rows, order, share, workers
        self._pass_index, self._next_batch = pass_index, 0
        # Weak, so that an iterator that nobody holds ends at once, and its threads with it.
        self._open: weakref.ref[Generator[Batch]] | None = None

    @property
    def steps(self) -> int:
        """Batches in a whole pass."""
        return self._order.steps(self._rows.rows)

    def __iter__(self) -> Iterator[Batch]:
        self._close()
        opened = self._rest_of_pass()
        self._open = weakref.ref(opened)
        return opened

    def state(self) -> dict[str, Any]:
        """Return the position of the batch that comes next, as plain values for JSON.

        Batches that were read ahead and not handed out do not count.
        """
        return {
            "order": asdict(self._order),
            "rows": self._rows.layout(),
            "pass_index": self._pass_index,
            "batch": self._next_batch,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go to a position that `state` returned, here or in another process.

        Raises:
            ConfigError: where it is none, or belongs to another order or other rows; names what
                differs.
        """
        own = self.state()
        if not all(isinstance(state.get(part), Mapping) for part in ("order", "rows")):
            raise ConfigError(
                f"{dict(state)} is no position of a loader", hint="give what `state` returned"
            )
        differing = [
            f"{name} is {own[part].get(name)}, was {state[part].get(name)}"
            for part in ("order", "rows")
            for name in {**own[part], **state[part]}
            if own[part].get(name) != state[part].get(name)
        ]
        if differing:
            raise ConfigError(
                f"the position is one of other batches: {'; '.join(differing)}",
                hint="resume with the settings and data that it was taken with",
            )
        for name, most in (("pass_index", None), ("batch", max(self.steps - 1, 0))):
            found = state.get(name)
            if not isinstance(found, int) or found < 0 or (most is not None and found > most):
                bound = "≥ 0" if most is None else f"from 0 to {most}"
                raise ConfigError(f"{name} of the position is {found!r}; must be a number {bound}")
        self._close()
        self._pass_index, self._next_batch = state["pass_index"], state["batch"]

    def _rest_of_pass(self) -> Generator[Batch]:
        steps, next_pass = self.steps, self._pass_index + 1
        tasks = self._rows.tasks(self._order, self._pass_index, self._next_batch, self._share)
        for part in in_order(tasks, self._workers):
            for batch in part:
                self._next_batch += 1
                if self._next_batch == steps:
                    self._pass_index, self._next_batch = next_pass, 0
                yield batch
        if not steps:
            self._pass_index = next_pass

    def _close(self) -> None:
        still_open = self._open() if self._open else None
        if still_open is not None:
            still_open.close()


def batches(
    data: Columns,
    split: str,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    pass_index: int = 0,
    first_batch: int = 0,
    share: Share = whole,
) -> Iterator[Batch]:
    """Yield all rows of `split` once, from batch `first_batch` on; the last may be short.

    Args:
        batch_size: examples a batch, ≥ 1.
        shuffle: draw the order from `seed` and `pass_index`, else keep the rows' own.
        seed: ≥ 0.
        pass_index: which pass over the data this is, ≥ 0.
        first_batch: of this pass, ≥ 0 and less than it has.
        share: what is taken of each batch.

    Raises:
        ConfigError: where there is no such split, or a value is out of its range.
    """
    rows = split_rows(data, split)
    held = isinstance(rows, HeldRows)
    lanes = 1 if held or not shuffle else LANES
    order = Order(batch_size=batch_size, shuffle=shuffle, seed=seed, lanes=lanes)
    workers = 0 if held else 1
    loader = Loader(rows, order, share=share, workers=workers, pass_index=pass_index)
    if first_batch:
        loader.resume({**loader.state(), "batch": first_batch})
    return iter(loader)


def split_rows(data: Columns, split: str) -> HeldRows | MappedRows:
    """Hold a split where it is small, and stream it where it is not.

    Raises:
        ConfigError: where there is no such split.
        DataError: where a file is missing or broken.
    """
    key = f"rows of {split}"
    if key not in data.held:
        columns = data.columns(split)
        size_bytes = sum(array.nbytes for array in columns.arrays().values())
        held = size_bytes <= HELD_BYTES
        data.held[key] = HeldRows(columns) if held else MappedRows(columns)
    rows: HeldRows | MappedRows = data.held[key]
    return rows


class HeldRows:
    """A whole split in memory.

    Args:
        columns: its columns; copied here.
    """

    def __init__(self, columns: SplitColumns) -> None:
        self._columns = MappedRows(columns).read([(0, len(columns))])

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self._columns)

    def layout(self) -> dict[str, Any]:
        """What besides the order decides the batches: see `Rows`."""
        return {"rows": self.rows, "block_rows": None}

    def tasks(
        self, order: Order, pass_index: int, first_batch: int, share: Share
    ) -> Iterator[Callable[[], list[Batch]]]:
        """Yield the work of each batch of a pass; a shuffled pass is one full permutation."""
        if order.shuffle:
            order_R = np.random.default_rng([order.seed, pass_index]).permutation(self.rows)
        else:
            order_R = np.arange(self.rows)
        for batch in range(first_batch, order.steps(self.rows)):
            first, end = share(order.examples(self.rows, batch))
            place = batch * order.batch_size
            yield partial(self._batch, order_R[place + first : place + end])

    def _batch(self, rows_B: NDArray[np.int64]) -> list[Batch]:
        return [gather(self._columns, rows_B)]
