from __future__ import annotations

import itertools
import json
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.errors import ConfigError, DataError
from tests.support.toy_columns import (
    assert_same,
    batch_by_hand,
    row_numbers,
    rows_of,
    toy_columns,
    toy_schema,
)
from wukong.data.load import loader
from wukong.data.load.loader import HeldRows, Loader, batches, split_rows
from wukong.data.load.order import Order
from wukong.data.load.stream import MappedRows
from wukong.data.prepared import PreparedData, write_prepared
from wukong.data.share import part


def prepared(folder: Path, rows: int, bags: int = 2, tasks: int = 1, seed: int = 0) -> PreparedData:
    columns = toy_columns(rows, bags, tasks, seed)
    return write_prepared(
        folder,
        name="toy",
        schema=toy_schema(rows, bags),
        columns=dict.fromkeys(("train", "validation", "test"), columns),
        split_rule="none",
        source_md5={},
        notes=(),
        facts={},
        tasks={f"task_{i}": 1.0 for i in range(tasks)},
    )


@pytest.mark.parametrize("held_bytes", [1 << 30, 0], ids=["held", "streamed"])
@given(
    rows=st.integers(1, 30),
    bags=st.integers(0, 3),
    tasks=st.integers(1, 2),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_batches_hold_every_row_once_as_gathered_by_hand(
    tmp_path_factory: pytest.TempPathFactory,
    held_bytes: int,
    rows: int,
    bags: int,
    tasks: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
) -> None:
    data = prepared(tmp_path_factory.mktemp("data") / "toy", rows, bags, tasks, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "HELD_BYTES", held_bytes)
        found = list(batches(data, "train", batch_size, shuffle=shuffle, seed=seed))
        assert isinstance(split_rows(data, "train"), HeldRows if held_bytes else MappedRows)
    order = [row for batch in found for row in row_numbers(batch)]
    assert sorted(order) == list(range(rows))
    if not shuffle:
        assert order == list(range(rows))
    assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert 1 <= len(found[-1]) <= batch_size
    columns = data.columns("train")
    for i, batch in enumerate(found):
        expected = batch_by_hand(columns, order[i * batch_size : (i + 1) * batch_size])
        assert_same(batch, expected, any_integer=True)


def test_the_order_of_a_held_split_depends_on_seed_and_pass_and_on_nothing_else(
    tmp_path: Path,
) -> None:
    data = prepared(tmp_path / "toy", 50)

    def order(seed: int, pass_index: int) -> list[int]:
        found = batches(data, "train", 7, shuffle=True, seed=seed, pass_index=pass_index)
        return [row for batch in found for row in row_numbers(batch)]

    first = order(1, 2)
    assert first == np.random.default_rng([1, 2]).permutation(50).tolist()
    torch.manual_seed(5)
    assert order(1, 2) == first
    assert order(1, 3) != first
    assert order(2, 2) != first


shapes = {
    "rows": st.integers(1, 60),
    "batch_size": st.integers(1, 12),
    "block_rows": st.integers(0, 9),
    "buffer_blocks": st.integers(1, 4),
    "seed": st.integers(0, 99),
}
readers = {"lanes": st.integers(1, 5), "world": st.integers(1, 4)}


@given(**shapes, **readers, workers=st.integers(0, 2))
@settings(max_examples=40)
def test_resuming_at_every_position_continues_as_the_undisturbed_run_does(
    rows: int,
    batch_size: int,
    block_rows: int,
    buffer_blocks: int,
    seed: int,
    lanes: int,
    world: int,
    workers: int,
) -> None:
    source = rows_of(toy_columns(rows, tasks=2), block_rows)
    order = Order(batch_size=batch_size, seed=seed, buffer_blocks=buffer_blocks, lanes=lanes)
    share = partial(part, index=world - 1, parts=world)
    undisturbed = Loader(source, order, share=share)
    states, expected = [], []
    states.append(undisturbed.state())
    for batch in itertools.chain(undisturbed, undisturbed):
        expected.append(batch)
        states.append(undisturbed.state())
    for position, state in enumerate(states[:-1]):
        resumed = Loader(source, order, share=share, workers=workers)
        resumed.resume(json.loads(json.dumps(state)))
        found = [*resumed, *resumed] if position < undisturbed.steps else list(resumed)
        for batch, other in zip(found, expected[position:], strict=True):
            assert_same(batch, other)


def test_a_loop_that_was_left_early_goes_on_with_the_next_batch() -> None:
    whole = list(Loader(MappedRows(toy_columns(40), 4), Order(batch_size=5)))
    stopped = Loader(MappedRows(toy_columns(40), 4), Order(batch_size=5), workers=2)
    found = []
    for batch in stopped:
        found.append(batch)
        if len(found) == 3:
            break
    for batch, other in zip([*found, *stopped], whole, strict=True):
        assert_same(batch, other)


def test_a_new_iterator_ends_the_one_before_it() -> None:
    both = Loader(MappedRows(toy_columns(40), 4), Order(batch_size=5))
    first = iter(both)
    rows = row_numbers(next(first))
    rows += [row for batch in both for row in row_numbers(batch)]
    assert sorted(rows) == list(range(40))
    assert next(first, None) is None


@pytest.mark.parametrize("block_rows", [0, 4], ids=["held", "streamed"])
def test_every_pass_has_an_order_of_its_own(block_rows: int) -> None:
    every = Loader(rows_of(toy_columns(80), block_rows), Order(batch_size=10, seed=3))
    passes = [tuple(row for batch in every for row in row_numbers(batch)) for _ in range(4)]
    assert len(set(passes)) == 4
    last = Loader(rows_of(toy_columns(80), block_rows), Order(batch_size=10, seed=3), pass_index=3)
    assert tuple(row for batch in last for row in row_numbers(batch)) == passes[3]


def test_a_position_of_other_batches_is_refused_and_what_differs_is_named() -> None:
    source = MappedRows(toy_columns(40), 4)
    state = Loader(source, Order(batch_size=5, seed=1)).state()
    other = Loader(MappedRows(toy_columns(41), 8), Order(batch_size=5, seed=2, lanes=2))
    before = other.state()
    with pytest.raises(ConfigError) as caught:
        other.resume(state)
    assert caught.value.what.split(": ")[1].split("; ") == [
        "seed is 2, was 1", "lanes is 2, was 1", "rows is 41, was 40", "block_rows is 8, was 4",
    ]  # fmt: skip
    assert other.state() == before


def test_a_broken_file_stops_the_loop_with_its_name_and_leaves_no_thread(tmp_path: Path) -> None:
    data = prepared(tmp_path / "toy", 100)
    streamed = Loader(MappedRows(data.columns("train"), 4), Order(batch_size=4, buffer_blocks=2))
    threaded = Loader(MappedRows(data.columns("train"), 4), Order(batch_size=4), workers=2)
    dense = tmp_path / "toy" / "train" / "dense.npy"
    with dense.open("r+b") as file:
        file.truncate(dense.stat().st_size - 200)
    for broken in (streamed, threaded):
        with pytest.raises(DataError, match=r"dense\.npy: ends \d+ bytes before it should"):
            list(broken)
    assert not [t for t in threading.enumerate() if t.name.startswith("loader")]


def test_a_long_lived_process_reads_the_files_of_a_held_split_once(tmp_path: Path) -> None:
    data = prepared(tmp_path / "toy", 20)
    expected = list(batches(data, "train", 6, shuffle=True))
    for file in (tmp_path / "toy" / "train").iterdir():
        file.unlink()
    for found, batch in zip(batches(data, "train", 6, shuffle=True), expected, strict=True):
        assert_same(found, batch)


@pytest.mark.parametrize("block_rows", [0, 4], ids=["held", "streamed"])
def test_changing_a_batch_changes_no_later_one(block_rows: int) -> None:
    columns = toy_columns(10, tasks=2)
    again = Loader(rows_of(columns, block_rows), Order(batch_size=3, shuffle=False))
    for batch in again:
        for tensor in vars(batch).values():
            tensor.zero_()
    for i, batch in enumerate(again):
        expected = batch_by_hand(columns, list(range(10))[3 * i : 3 * i + 3])
        assert_same(batch, expected, any_integer=True)


@pytest.mark.parametrize("split, batch_size", [("train", 0), ("train", -1), ("dev", 4)])
def test_impossible_requests_are_refused_at_the_call(
    tmp_path: Path, split: str, batch_size: int
) -> None:
    data = prepared(tmp_path / "toy", 10)
    with pytest.raises(ConfigError, match=r"batch_size|no split"):
        batches(data, split, batch_size, shuffle=False)
    with pytest.raises(ConfigError, match="workers is -1"):
        Loader(MappedRows(toy_columns(3)), Order(batch_size=1), workers=-1)


@pytest.mark.parametrize("block_rows", [0, 5], ids=["held", "streamed"])
def test_a_batch_becomes_a_keyed_jagged_tensor_with_the_rows_own_ids(block_rows: int) -> None:
    pytest.importorskip("torchrec", reason="torchrec is absent")
    from wukong.embeddings.torchrec_tables import keyed_jagged
    from wukong.shape import WukongConfig, table_specs

    columns = toy_columns(12)
    specs = table_specs(WukongConfig(), toy_schema(12))
    (batch,) = Loader(rows_of(columns, block_rows), Order(batch_size=12, seed=3))
    jagged = keyed_jagged(specs, batch).to_dict()
    rows = row_numbers(batch)
    assert jagged["row"].values().tolist() == rows
    assert jagged["other"].values().tolist() == columns.one_hot[rows, 1].tolist()
    for i in range(2):
        bags = jagged[f"bag {i}"].to_dense()
        for row, bag in zip(rows, bags, strict=True):
            start, end = columns.bag_offsets[i][row : row + 2]
            assert bag.tolist() == columns.bag_values[i][start:end].tolist()


def test_a_batch_of_one_hot_ids_becomes_a_keyed_jagged_tensor_without_a_copy() -> None:
    pytest.importorskip("torchrec", reason="torchrec is absent")
    from wukong.embeddings.torchrec_tables import keyed_jagged
    from wukong.shape import WukongConfig, table_specs

    (batch,) = Loader(MappedRows(toy_columns(12, bags=0)), Order(batch_size=12))
    jagged = keyed_jagged(table_specs(WukongConfig(), toy_schema(12, bags=0)), batch)
    assert jagged.values().data_ptr() == batch.one_hot_BF.data_ptr()


@pytest.mark.parametrize("backend", ["plain", "dense", "fused"])
def test_streamed_and_held_batches_look_up_the_same_embeddings(backend: str) -> None:
    if backend != "plain":
        pytest.importorskip("torchrec", reason="torchrec is absent")
    from wukong.embeddings import TableOptimizer, build_tables
    from wukong.shape import WukongConfig, table_specs

    specs = table_specs(WukongConfig(), toy_schema(12))
    optimizer = TableOptimizer(name="rowwise_adagrad")
    tables = build_tables(backend, specs, init_std=0.1, optimizer=optimizer, seed=0)
    order = Order(batch_size=12, shuffle=False)
    (held,), (streamed,) = (Loader(rows_of(toy_columns(12), size), order) for size in (0, 5))
    torch.testing.assert_close(tables(streamed), tables(held), rtol=0, atol=0)


@pytest.mark.parametrize(
    "changed, complaint",
    [
        ({"order": None}, "is no position of a loader"),
        ({"batch": -1}, "batch of the position is -1; must be a number from 0 to 7"),
        ({"batch": 8}, "batch of the position is 8; must be"),
        ({"batch": "1"}, "batch of the position is '1'"),
        ({"pass_index": None}, "pass_index of the position is None; must be a number ≥ 0"),
    ],
)
def test_what_is_no_position_is_refused(changed: dict[str, object], complaint: str) -> None:
    one = Loader(MappedRows(toy_columns(40), 4), Order(batch_size=5))
    with pytest.raises(ConfigError, match=complaint):
        one.resume({**one.state(), **changed})
    with pytest.raises(ConfigError, match="is no position of a loader"):
        one.resume({})
