"""Shares of ranks and the order of blocks, against sets and sorted lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.errors import ConfigError
from wukong.data.load.order import BlockOrder, Order

sizes = st.tuples(st.integers(0, 200), st.integers(1, 20), st.integers(1, 7))


def orders(batch_size: int, world: int, **settings: bool) -> list[Order]:
    return [Order(batch_size=batch_size, rank=r, world=world, **settings) for r in range(world)]


@given(sizes)
def test_the_shares_of_all_ranks_hold_each_place_once_and_differ_by_one_row_at_most(
    size: tuple[int, int, int],
) -> None:
    rows, batch_size, world = size
    shares = [order.share(rows) for order in orders(batch_size, world)]
    assert [place for share in shares for place in range(*share)] == list(range(rows))
    lengths = [end - first for first, end in shares]
    assert max(lengths) - min(lengths) <= 1


@given(sizes)
def test_ranks_take_equally_many_steps_unless_fewer_rows_than_ranks_are_left(
    size: tuple[int, int, int],
) -> None:
    rows, batch_size, world = size
    steps = [order.steps(rows) for order in orders(batch_size, world)]
    left = rows % (batch_size * world)
    if 0 < left < world:
        assert sum(step == max(steps) for step in steps) == left
        assert max(steps) - min(steps) == 1
    else:
        assert len(set(steps)) == 1


@given(sizes)
def test_dropping_the_last_leaves_the_same_number_of_full_batches_on_every_rank(
    size: tuple[int, int, int],
) -> None:
    rows, batch_size, world = size
    every = orders(batch_size, world, drop_last=True)
    lengths = {end - first for first, end in (order.share(rows) for order in every)}
    assert lengths == {batch_size * every[0].steps(rows)}
    places = [place for order in every for place in range(*order.share(rows))]
    assert len(places) == len(set(places)) > rows - batch_size * world


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
    rows = order.buffer_rows(block_rows)
    assert rows % batch_size == 0
    assert rows - batch_size < blocks * block_rows <= rows


def test_every_impossible_value_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Order(batch_size=0, seed=-1, rank=2, world=2, buffer_blocks=0)
    assert [line.split(" is ")[0] for line in caught.value.what.splitlines()] == [
        "batch_size", "seed", "buffer_blocks", "rank",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="block_rows is 0"):
        BlockOrder(10, 0, Order(batch_size=1), pass_index=0)
