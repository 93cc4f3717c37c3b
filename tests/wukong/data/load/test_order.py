"""Parts of batches, lanes and the order of blocks, against sets and sorted lists."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.errors import ConfigError
from wukong.data.load.order import BlockOrder, Order
from wukong.data.share import part


@given(examples=st.integers(0, 200), parts=st.integers(1, 20))
def test_the_parts_of_a_batch_hold_each_example_once_and_differ_by_one_at_most(
    examples: int, parts: int
) -> None:
    found = [part(examples, index, parts) for index in range(parts)]
    assert [place for each in found for place in range(*each)] == list(range(examples))
    lengths = [end - first for first, end in found]
    assert max(lengths) - min(lengths) <= 1


@given(
    rows=st.integers(0, 200),
    batch_size=st.integers(1, 20),
    lanes=st.integers(1, 7),
    readers=st.integers(1, 5),
)
def test_lanes_are_ranges_of_places_that_the_batches_take_up_in_step(
    rows: int, batch_size: int, lanes: int, readers: int
) -> None:
    order = Order(batch_size=batch_size, lanes=lanes)
    steps = order.steps(rows)
    ranges = [order.lane_places(rows, lane, 0, steps) for lane in range(lanes)]
    assert [place for each in ranges for place in range(*each)] == list(range(rows))
    seen: dict[int, list[int]] = {lane: [] for lane in range(lanes)}
    for batch in range(steps):
        taken = dict.fromkeys(range(lanes), 0)
        for reader in range(readers):
            share = partial(part, index=reader, parts=readers)
            for lane, first, end in order.pieces(rows, batch, share):
                seen[lane] += range(first, end)
                taken[lane] += end - first
        assert sum(taken.values()) == order.examples(rows, batch)
        assert max(taken.values()) - min(taken.values()) <= 1
    assert [seen[lane] for lane in range(lanes)] == [list(range(*each)) for each in ranges]


def test_a_reader_of_one_slice_among_as_many_as_lanes_touches_one_lane() -> None:
    order = Order(batch_size=64, lanes=8)
    for reader in range(8):
        share = partial(part, index=reader, parts=8)
        touched = {lane for batch in range(20) for lane, _, _ in order.pieces(1280, batch, share)}
        assert touched == {reader}


@given(
    rows=st.integers(1, 200),
    block_rows=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    shuffle=st.booleans(),
    seed=st.integers(0, 99),
)
def test_runs_of_neighbouring_places_hold_each_row_once_wherever_they_are_cut(
    rows: int, block_rows: int, cuts: list[int], shuffle: bool, seed: int
) -> None:
    order = Order(batch_size=1, shuffle=shuffle, seed=seed)
    blocks = BlockOrder(rows, block_rows, order, pass_index=3)
    ends = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    runs = [run for i in range(len(ends) - 1) for run in blocks.runs(ends[i], ends[i + 1])]
    found = [row for first, end in runs for row in range(first, end)]
    assert found == [row for run in blocks.runs(0, rows) for row in range(*run)]
    assert sorted(found) == list(range(rows))
    if not shuffle:
        assert found == list(range(rows))


def test_a_shuffled_pass_keeps_the_rows_of_a_block_together() -> None:
    order = Order(batch_size=1)
    blocks = BlockOrder(105, 10, order, pass_index=0)
    starts = [row for run in blocks.runs(0, 105) for row in range(*run) if row % 10 == 0]
    assert starts != sorted(starts)
    assert sorted(starts) == list(range(0, 105, 10))


def test_buffers_are_mixed_in_orders_of_their_own() -> None:
    blocks = BlockOrder(640, 10, Order(batch_size=1, seed=4), pass_index=1)
    drawn = [tuple(blocks.within(first, 64)) for first in (0, 64, 128)]
    assert all(sorted(order) == list(range(64)) for order in drawn)
    # A buffer's order is none of the draws that decide the order of 64 blocks.
    drawn.append(tuple(np.random.default_rng([4, 1]).permutation(64)))
    assert len(set(drawn)) == 4


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50))
def test_a_buffer_is_the_fewest_whole_batches_that_hold_its_blocks(
    batch_size: int, blocks: int, block_rows: int
) -> None:
    order = Order(batch_size=batch_size, buffer_blocks=blocks)
    rows = order.buffer_batches(block_rows) * batch_size
    assert rows - batch_size < blocks * block_rows <= rows


def test_every_impossible_value_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Order(batch_size=0, seed=-1, buffer_blocks=0, lanes=0)
    assert [line.split(" is ")[0] for line in caught.value.what.splitlines()] == [
        "batch_size", "seed", "buffer_blocks", "lanes",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="lanes is 2; must be 1 where the rows keep their order"):
        Order(batch_size=1, shuffle=False, lanes=2)
    with pytest.raises(ConfigError, match="block_rows is 0"):
        BlockOrder(10, 0, Order(batch_size=1), pass_index=0)
