"""Slices of batches: those of all readers together are what one alone reads, bit for bit."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy_columns import (
    assert_same,
    batch_by_hand,
    row_numbers,
    rows_of,
    toy_columns,
)
from wukong.data.load.loader import Loader
from wukong.data.load.order import Order, Runs
from wukong.data.load.stream import MappedRows
from wukong.data.prepared import SplitColumns
from wukong.data.share import part

shapes = {
    "rows": st.integers(1, 60),
    "batch_size": st.integers(1, 12),
    "block_rows": st.integers(0, 9),
    "buffer_blocks": st.integers(1, 4),
    "seed": st.integers(0, 99),
    "lanes": st.integers(1, 5),
}


@given(**shapes, world=st.integers(1, 4), tasks=st.integers(1, 2), data=st.data())
def test_the_slices_of_all_ranks_are_the_batches_that_one_alone_sees(
    rows: int,
    batch_size: int,
    block_rows: int,
    buffer_blocks: int,
    seed: int,
    lanes: int,
    world: int,
    tasks: int,
    data: st.DataObject,
) -> None:
    source = rows_of(toy_columns(rows, tasks=tasks), block_rows)
    order = Order(batch_size=batch_size, seed=seed, buffer_blocks=buffer_blocks, lanes=lanes)
    first_batch = data.draw(st.integers(0, order.steps(rows) - 1))
    alone = Loader(source, order)
    every = [
        Loader(source, order, share=partial(part, index=rank, parts=world)) for rank in range(world)
    ]
    for each in (alone, *every):
        each.resume({**alone.state(), "batch": first_batch})
    columns = toy_columns(rows, tasks=tasks)
    for batch, *slices in zip(alone, *every, strict=True):
        numbers = row_numbers(batch)
        assert [row for each in slices for row in row_numbers(each)] == numbers
        for rank, each in enumerate(slices):
            first, end = part(len(batch), rank, world)
            assert_same(each, batch.part(first, end))
            if len(each):
                assert_same(each, batch_by_hand(columns, numbers[first:end]), any_integer=True)


@given(**shapes, pass_index=st.integers(0, 3))
def test_a_pass_holds_every_row_once_in_however_many_lanes(
    rows: int,
    batch_size: int,
    block_rows: int,
    buffer_blocks: int,
    seed: int,
    lanes: int,
    pass_index: int,
) -> None:
    source = rows_of(toy_columns(rows), block_rows)
    order = Order(batch_size=batch_size, seed=seed, buffer_blocks=buffer_blocks, lanes=lanes)
    found = list(Loader(source, order, pass_index=pass_index))
    assert sorted(row for batch in found for row in row_numbers(batch)) == list(range(rows))
    assert [len(batch) for batch in found] == [
        min(batch_size, rows - first) for first in range(0, rows, batch_size)
    ]


def test_a_reader_among_as_many_as_lanes_reads_its_rows_and_no_others() -> None:
    class Counted(MappedRows):
        read_rows = 0

        def read(self, runs: Runs) -> SplitColumns:
            self.read_rows += sum(end - first for first, end in runs)
            return super().read(runs)

    order = Order(batch_size=32, lanes=4, buffer_blocks=4)
    for rank in range(4):
        source = Counted(toy_columns(1000), block_rows=8)
        found = list(Loader(source, order, share=partial(part, index=rank, parts=4)))
        assert source.read_rows == sum(len(batch) for batch in found) == 250
