from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.errors import ConfigError
from wukong.data import loader
from wukong.data.batch import Batch
from wukong.data.loader import batches
from wukong.data.prepared import PreparedData, SplitColumns, write_prepared
from wukong.schema import CategoricalFeature, InputSchema


def prepared(folder: Path, rows: int, bags: int = 2, seed: int = 0) -> PreparedData:
    """Row r has r as its first id and as its dense value, so that it can be told anywhere."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, (bags, rows))
    columns = SplitColumns(
        one_hot=np.stack([np.arange(rows), rng.integers(0, 9, rows)], axis=1).astype(np.int32),
        bag_values=tuple(rng.integers(0, 7, n.sum(), dtype=np.int32) for n in lengths),
        bag_offsets=tuple(np.concatenate([[0], np.cumsum(n)]) for n in lengths),
        dense=np.arange(rows, dtype=np.float32)[:, None],
        label=rng.integers(0, 2, rows, dtype=np.uint8),
    )
    schema = InputSchema(
        categorical=(
            CategoricalFeature(name="row", cardinality=rows),
            CategoricalFeature(name="other", cardinality=9),
            *(
                CategoricalFeature(name=f"bag {i}", cardinality=7, multi_hot=True)
                for i in range(bags)
            ),
        ),
        dense=("row number",),
    )
    return write_prepared(
        folder,
        name="toy",
        schema=schema,
        columns=dict.fromkeys(("train", "validation", "test"), columns),
        split_rule="none",
        source_md5={},
        notes=(),
        facts={},
    )


def batch_by_hand(columns: SplitColumns, rows: list[int]) -> Batch:
    """Gather row by row, feature by feature."""
    values, lengths = [], []
    for ids, offsets in zip(columns.bag_values, columns.bag_offsets, strict=True):
        bags = [ids[offsets[row] : offsets[row + 1]].tolist() for row in rows]
        values += [id_ for bag in bags for id_ in bag]
        lengths.append([len(bag) for bag in bags])
    return Batch(
        one_hot_BF=torch.tensor([columns.one_hot[row].tolist() for row in rows]),
        bag_values=torch.tensor(values, dtype=torch.int64),
        bag_lengths_FB=torch.tensor(lengths, dtype=torch.int64).view(len(lengths), len(rows)),
        dense_BD=torch.tensor([columns.dense[row].tolist() for row in rows]),
        label_B=torch.tensor([float(columns.label[row]) for row in rows]),
    )


def assert_same(found: Batch, expected: Batch) -> None:
    for name, tensor in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("held_share", [0.25, 0.0], ids=["held", "mapped"])
@given(
    rows=st.integers(1, 30),
    bags=st.integers(0, 3),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_batches_hold_every_row_once_as_gathered_by_hand(
    tmp_path_factory: pytest.TempPathFactory,
    held_share: float,
    rows: int,
    bags: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
) -> None:
    data = prepared(tmp_path_factory.mktemp("data") / "toy", rows, bags, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "HELD_SHARE", held_share)
        found = list(batches(data, "train", batch_size, shuffle=shuffle, seed=seed))
    order = [int(row) for batch in found for row in batch.one_hot_BF[:, 0]]
    assert sorted(order) == list(range(rows))
    if not shuffle:
        assert order == list(range(rows))
    assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert 1 <= len(found[-1]) <= batch_size
    columns = data.columns("train")
    for i, batch in enumerate(found):
        assert_same(batch, batch_by_hand(columns, order[i * batch_size : (i + 1) * batch_size]))


def test_the_order_depends_on_seed_and_pass_and_on_nothing_else(tmp_path: Path) -> None:
    data = prepared(tmp_path / "toy", 50)

    def order(seed: int, pass_index: int) -> list[int]:
        found = batches(data, "train", 7, shuffle=True, seed=seed, pass_index=pass_index)
        return [int(row) for batch in found for row in batch.one_hot_BF[:, 0]]

    first = order(1, 2)
    assert first == np.random.default_rng([1, 2]).permutation(50).tolist()
    torch.manual_seed(5)
    assert order(1, 2) == first
    assert order(1, 3) != first
    assert order(2, 2) != first


def test_a_long_lived_process_reads_the_files_once(tmp_path: Path) -> None:
    data = prepared(tmp_path / "toy", 20)
    expected = list(batches(data, "train", 6, shuffle=True))
    for file in (tmp_path / "toy" / "train").iterdir():
        file.unlink()
    for found, batch in zip(batches(data, "train", 6, shuffle=True), expected, strict=True):
        assert_same(found, batch)


def test_changing_a_batch_changes_no_later_one(tmp_path: Path) -> None:
    data = prepared(tmp_path / "toy", 10)
    for batch in batches(data, "train", 10, shuffle=False):
        for tensor in vars(batch).values():
            tensor.zero_()
    (batch,) = batches(data, "train", 10, shuffle=False)
    assert_same(batch, batch_by_hand(data.columns("train"), list(range(10))))


@pytest.mark.parametrize("split, batch_size", [("train", 0), ("train", -1), ("dev", 4)])
def test_impossible_requests_are_refused_at_the_call(
    tmp_path: Path, split: str, batch_size: int
) -> None:
    data = prepared(tmp_path / "toy", 10)
    with pytest.raises(ConfigError, match=r"batch_size|no split"):
        batches(data, split, batch_size, shuffle=False)


def test_bags_are_laid_out_as_a_keyed_jagged_tensor(tmp_path: Path) -> None:
    sparse = pytest.importorskip("torchrec.sparse.jagged_tensor", reason="torchrec is absent")
    data = prepared(tmp_path / "toy", 12)
    (batch,) = batches(data, "train", 12, shuffle=True, seed=3)
    jagged = sparse.KeyedJaggedTensor(
        keys=["bag 0", "bag 1"],
        values=batch.bag_values,
        lengths=batch.bag_lengths_FB.flatten(),
    ).to_dict()
    columns = data.columns("train")
    for i in range(2):
        bags = jagged[f"bag {i}"].to_dense()
        for row, bag in zip(batch.one_hot_BF[:, 0].tolist(), bags, strict=True):
            start, end = columns.bag_offsets[i][row : row + 2]
            assert bag.tolist() == columns.bag_values[i][start:end].tolist()
