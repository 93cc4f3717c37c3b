from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from codesign.errors import DataError
from wukong.data.prepare import tables
from wukong.data.prepared import PreparedData
from wukong.data.sources import prepare_folder

DESCRIPTION = """
format: parquet
files: a.parquet
split: {by: random, shares: [1, 1, 1]}
columns:
  label: {type: label}
  item: {type: categorical}
  price: {type: dense, transform: none}
"""


def table(**changed: Any) -> pl.DataFrame:
    rows = 90
    columns = {
        "label": [i % 2 == 0 for i in range(rows)],
        "item": [i % 4 for i in range(rows)],
        "price": [float(i) for i in range(rows)],
    }
    return pl.DataFrame(columns).with_columns(**changed)


def prepared(folder: Path, frame: pl.DataFrame, more: str = "", skip_bad: int = 0) -> PreparedData:
    frame.write_parquet(folder / "a.parquet")
    (folder / "a.yaml").write_text(DESCRIPTION + more)
    return prepare_folder(folder / "a.yaml", folder, folder / "out", skip_bad=skip_bad)


def with_value(column: str, row: int, value: Any) -> pl.DataFrame:
    frame = table()
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


def test_typed_columns_are_read_as_their_text_would_be(tmp_path: Path) -> None:
    # The third number that seed 0 draws is below 1 / 3, so that the row is one of train's.
    frame = with_value("item", 2, None)
    (tmp_path / "typed").mkdir()
    (tmp_path / "text").mkdir()
    typed = prepared(tmp_path / "typed", frame)
    as_text = prepared(tmp_path / "text", frame.cast(pl.String))
    for split in typed.row_counts:
        for name, array in typed.columns(split).arrays().items():
            np.testing.assert_array_equal(array, as_text.columns(split).arrays()[name])
    assert typed.schema.one_hot[0].cardinality == 6


@pytest.mark.parametrize(
    "column, value, what",
    [
        ("price", float("nan"), "price is nan; must be a finite number"),
        ("price", float("inf"), "price is inf; must be a finite number"),
        ("label", None, "label is None; must be 1 or true or 0 or false"),
    ],
)
def test_a_malformed_field_is_named_by_its_row_and_column(
    tmp_path: Path, column: str, value: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PARQUET_ROWS", 16)
    frame = with_value(column, 70, value)
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, frame)
    assert caught.value.where == f"{tmp_path / 'a.parquet'}:row 71:{column}"
    assert what in caught.value.what
    data = prepared(tmp_path, frame, skip_bad=1)
    assert sum(data.row_counts.values()) == 89


def test_a_missing_number_is_null_and_nan_where_the_description_says_so(tmp_path: Path) -> None:
    frame = with_value("price", 5, None)
    (tmp_path / "null").mkdir()
    (tmp_path / "nan").mkdir()
    as_null = prepared(tmp_path / "null", frame)
    as_nan = prepared(tmp_path / "nan", frame.fill_null(float("nan")), "missing: ['', nan]\n")
    for file in ("train/dense.npy", "validation/dense.npy", "test/dense.npy"):
        assert as_null.checksums[file] == as_nan.checksums[file]


@pytest.mark.parametrize(
    "frame, what",
    [
        (table().rename({"item": "itme"}), "no column item(?s:.)*did you mean 'itme'"),
        (table().clear(), "a.parquet: no rows"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(
    tmp_path: Path, frame: pl.DataFrame, what: str
) -> None:
    with pytest.raises(DataError, match=what):
        prepared(tmp_path, frame)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DESCRIPTION)
    (tmp_path / "a.parquet").write_bytes(b"label,item,price\n1,2,3\n")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")


def test_names_that_look_like_patterns_are_names(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]*?"
    folder.mkdir()
    assert sum(prepared(folder, table()).row_counts.values()) == 90


@pytest.mark.parametrize(
    "column, values, what",
    [
        ("label", pl.concat_list("label"), "label is List(Boolean); must be numbers or texts"),
        ("price", pl.concat_list("price"), "price is List(Float64); must be numbers or texts"),
        ("item", pl.struct("item"), "item is Struct({'item': Int64}); must be numbers or texts"),
    ],
)
def test_a_column_of_lists_or_records_is_no_column_of_values(
    tmp_path: Path, column: str, values: pl.Expr, what: str
) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, table().with_columns(values.alias(column)))
    assert f"a.parquet: {what}" in str(caught.value)


def test_bytes_are_texts_where_they_are_utf_8(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "bytes").mkdir()
    as_text = prepared(tmp_path / "text", table())
    as_bytes = table().with_columns(pl.col("item").cast(pl.String).cast(pl.Binary))
    assert prepared(tmp_path / "bytes", as_bytes).checksums == as_text.checksums
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read: invalid utf8"):
        prepared(tmp_path, table().with_columns(item=pl.lit(b"\xff")))
