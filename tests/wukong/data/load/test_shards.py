"""Rows from Parquet files against a loop over Python values."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.errors import ConfigError, DataError
from tests.support.hash_by_hand import id_by_hand
from tests.support.toy_columns import assert_same
from wukong.data.load.loader import Loader
from wukong.data.load.order import Order
from wukong.data.load.shards import ShardColumns, ShardRows
from wukong.data.prepared import UNOBSERVED, SplitColumns
from wukong.data.share import part

MASK = 2**64 - 1
COLUMNS = ShardColumns(
    labels=("click", "buy"),
    one_hot={"user": 50, "city": 20, "mobile": 3},
    multi_hot={"history": 40, "words": 30},
    max_length=3,
    dense=("age", "price"),
    weight="weight",
    group="user",
)
TYPES = {
    "click": pl.Int8, "buy": pl.Boolean, "user": pl.Int32, "city": pl.String, "mobile": pl.Boolean,
    "history": pl.List(pl.Int64), "words": pl.List(pl.String), "age": pl.Int16,
    "price": pl.Float64, "weight": pl.Float32, "unused": pl.String,
}  # fmt: skip


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


texts = st.text(max_size=12)
table_rows = st.lists(
    st.fixed_dictionaries(
        {
            "click": maybe(st.integers(0, 1)),
            "buy": maybe(st.booleans()),
            "user": st.integers(-(2**31), 2**31 - 1),
            "city": maybe(texts),
            "mobile": maybe(st.booleans()),
            "history": maybe(st.lists(maybe(st.integers(-(2**63), 2**63 - 1)), max_size=5)),
            "words": maybe(st.lists(maybe(texts), max_size=5)),
            "age": maybe(st.integers(-99, 99)),
            "price": maybe(st.just(float("nan")) | st.floats(-1e6, 1e6)),
            "weight": st.floats(0, 10, width=32),
            "unused": st.none(),
        }
    ),
    min_size=1,
    max_size=12,
)


def written(folder: Path, rows: list[dict[str, Any]], shards: int) -> list[Path]:
    """Write the rows into files, of which some may be empty."""
    frame = pl.DataFrame(rows, schema=TYPES)
    cuts = [len(rows) * i // shards for i in range(shards + 1)]
    paths = [folder / f"part-{i}.parquet" for i in range(shards)]
    for i, path in enumerate(paths):
        frame[cuts[i] : cuts[i + 1]].write_parquet(path, row_group_size=4)
    return paths


def assert_rows(found: SplitColumns, rows: list[dict[str, Any]]) -> None:
    assert found.one_hot.tolist() == [
        [id_by_hand(row[name], buckets) for name, buckets in COLUMNS.one_hot.items()]
        for row in rows
    ]
    for i, (name, buckets) in enumerate(COLUMNS.multi_hot.items()):
        bags = [[id_by_hand(x, buckets) for x in (row[name] or [])[-3:]] for row in rows]
        ends = found.bag_offsets[i].tolist()
        assert ends == [sum(map(len, bags[:row])) for row in range(len(rows) + 1)]
        assert found.bag_values[i].tolist() == [id_ for bag in bags for id_ in bag]
    prices = [0.0 if row["price"] != row["price"] else row["price"] or 0.0 for row in rows]
    assert found.dense.tolist() == [
        pytest.approx([row["age"] or 0, price], rel=1e-6)
        for row, price in zip(rows, prices, strict=True)
    ]
    assert found.labels.tolist() == [
        [UNOBSERVED if row[name] is None else int(row[name]) for name in ("click", "buy")]
        for row in rows
    ]
    assert found.weight is not None
    assert found.group is not None
    assert found.weight.tolist() == [row["weight"] for row in rows]
    assert found.group.tolist() == [row["user"] for row in rows]


@given(table_rows, st.integers(1, 4), st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rows_of_any_run_are_hashed_and_filled_as_value_by_value(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    shards: int,
    data: st.DataObject,
) -> None:
    source = ShardRows(written(tmp_path_factory.mktemp("shards"), rows, shards), COLUMNS)
    assert source.rows == len(rows)
    first = data.draw(st.integers(0, len(rows) - 1))
    end = data.draw(st.integers(first + 1, len(rows)))
    found = source.read([(first, end), (0, first + 1)])
    assert_rows(found, rows[first:end] + rows[: first + 1])


def plain_rows(count: int) -> list[dict[str, Any]]:
    fixed = {"click": 1, "buy": False, "mobile": True, "words": ["a"], "age": 1, "price": 0.5}
    return [
        fixed | {"user": i, "city": f"c{i}", "history": [i], "weight": 1.0} for i in range(count)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_rows_of_all_shards_and_resume_where_they_were(
    tmp_path: Path, workers: int
) -> None:
    source = ShardRows(written(tmp_path, plain_rows(50), 3), COLUMNS, block_rows=4)
    seen: list[int] = []
    order = Order(batch_size=6, buffer_blocks=2, lanes=2)
    for rank in range(2):
        share = partial(part, index=rank, parts=2)
        found = list(Loader(source, order, share=share, workers=workers))
        resumed = Loader(source, order, share=share, workers=workers)
        resumed.resume(resumed.state() | {"batch": 4})
        for batch, expected in zip(resumed, found[4:], strict=True):
            assert_same(batch, expected)
        for batch in found:
            assert batch.group_B is not None
            seen += batch.group_B.tolist()
    assert sorted(seen) == list(range(50))
    assert seen != sorted(seen)


def test_categories_of_a_dictionary_type_hash_as_their_texts(tmp_path: Path) -> None:
    columns = ShardColumns(labels=("click",), one_hot={"city": 20})
    paths = written(tmp_path, plain_rows(5), 1)
    as_texts = ShardRows(paths, columns).read([(0, 5)])
    pl.read_parquet(paths).with_columns(pl.col("city").cast(pl.Categorical)).write_parquet(paths[0])
    assert ShardRows(paths, columns).read([(0, 5)]).one_hot.tolist() == as_texts.one_hot.tolist()


def test_the_schema_has_the_features_in_the_order_of_the_batches() -> None:
    schema = COLUMNS.schema()
    assert [(f.name, f.cardinality) for f in schema.one_hot] == list(COLUMNS.one_hot.items())
    assert [(f.name, f.cardinality) for f in schema.multi_hot] == list(COLUMNS.multi_hot.items())
    assert schema.dense == COLUMNS.dense


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("click", 2, "click is 2; must be 0 or 1"),
        ("price", float("-inf"), "price is -inf; must be finite, of at most 3.4e+38"),
        ("weight", -0.5, "weight is -0.5; must be finite and ≥ 0, of at most 3.4e+38"),
        ("price", 1e39, "price is 1e+39; must be finite, of at most 3.4e+38"),
        ("weight", None, "weight is missing"),
        ("user", None, "user is missing"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_file_and_row(
    tmp_path: Path, column: str, value: float | None, message: str
) -> None:
    rows = plain_rows(20)
    rows[13][column] = value
    source = ShardRows(written(tmp_path, rows, 2), COLUMNS, block_rows=4)
    with pytest.raises(DataError) as caught:
        list(Loader(source, Order(batch_size=4), workers=1))
    assert str(caught.value) == f"{tmp_path / 'part-1.parquet'}:row 4:{column}: {message}"


def test_all_mistakes_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    paths = written(tmp_path, plain_rows(6), 3)
    pl.read_parquet(paths[0]).drop("age", "city").write_parquet(paths[0])
    paths[1].write_bytes(b"not Parquet")
    floats = pl.read_parquet(paths[2]).with_columns(
        pl.col("user").cast(pl.Float64), history=pl.lit("1 2"), price=pl.lit("0.5")
    )
    floats.write_parquet(paths[2])
    with pytest.raises(DataError) as caught:
        ShardRows(paths, COLUMNS)
    lines = caught.value.what.splitlines()
    assert lines[0].startswith(f"{paths[0]}: no column city, age; there are click, ")
    assert any(line.startswith(f"{paths[1]}: does not load as Parquet") for line in lines)
    assert [line for line in lines if line.startswith(str(paths[2]))] == [
        f"{paths[2]}: price is String; must be numbers",
        f"{paths[2]}: user is Float64; must be integers, booleans or texts",
        f"{paths[2]}: history is String; must be lists of those",
        f"{paths[2]}: user is Float64; must be integers",
    ]


def test_a_group_beyond_int64_is_named(tmp_path: Path) -> None:
    (path,) = written(tmp_path, plain_rows(8), 1)
    frame = pl.read_parquet(path)
    large = pl.Series([2**63 + 5 if i == 4 else i for i in range(8)], dtype=pl.UInt64)
    frame.with_columns(user=large).write_parquet(path)
    with pytest.raises(DataError) as caught:
        list(Loader(ShardRows([path], COLUMNS), Order(batch_size=8)))
    assert str(caught.value) == f"{path}:row 5:user: user is {2**63 + 5}; must be below 2^63"


def test_a_folder_is_not_taken_for_the_files_in_it(tmp_path: Path) -> None:
    (path,) = written(tmp_path, plain_rows(8), 1)
    with pytest.raises(DataError, match="no such file"):
        ShardRows([path.parent], COLUMNS)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    (path,) = written(tmp_path, plain_rows(8), 1)
    source = ShardRows([path], COLUMNS, block_rows=2)
    pl.read_parquet(path)[:5].write_parquet(path)
    with pytest.raises(DataError, match=r"part-0\.parquet: \d rows from row \d on; there were \d"):
        list(Loader(source, Order(batch_size=2, buffer_blocks=1)))


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    rows = 100_000
    frame = pl.DataFrame({f"c{i}": pl.int_range(rows, eager=True) for i in range(40)})
    frame.with_columns(label=pl.lit(1)).write_parquet(
        tmp_path / "part.parquet", row_group_size=8192
    )
    script = f"""
        import resource
        from wukong.data.load.loader import Loader
        from wukong.data.load.order import Order
        from wukong.data.share import part
        from wukong.data.load.shards import ShardColumns, ShardRows

        def seen_and_peak_mib(shards):
            rows = ShardRows([{str(tmp_path / "part.parquet")!r}] * shards, columns, 8192)
            loader = Loader(rows, Order(batch_size=1024, buffer_blocks=4), workers=1)
            seen = sum(len(batch) for batch in loader)
            return seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        columns = ShardColumns(labels=("label",), one_hot={{f"c{{i}}": 1000 for i in range(40)}})
        print(*seen_and_peak_mib(3), *seen_and_peak_mib(20))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    few, before_mib, many, after_mib = (float(word) for word in done.stdout.split())
    assert (few, many) == (3 * rows, 20 * rows)
    # The ids of all shards would take 305 MiB.
    assert after_mib - before_mib < 100


def test_columns_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        ShardColumns(labels=(), one_hot={"user": 1}, max_length=0)
    assert caught.value.what.splitlines() == [
        "user has 1 buckets; must be from 2 to 2147483647",
        "a schema needs at least one task",
        "max_length is 0; must be ≥ 1",
    ]
    with pytest.raises(DataError, match="no Parquet files"):
        ShardRows([], COLUMNS)


def test_shards_whose_names_look_like_patterns_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]*"
    folder.mkdir()
    assert ShardRows(written(folder, plain_rows(6), 1), COLUMNS).read([(0, 6)]).labels.shape[0] == 6


def test_more_buckets_than_ids_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="user has 2147483648 buckets; must be from 2 to 2147483647"
    ):
        ShardColumns(labels=("click",), one_hot={"user": 2**31})
