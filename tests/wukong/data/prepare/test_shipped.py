"""The shipped descriptions on files in the published formats, read back value by value."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.published_formats import CRITEO, FRAPPE, TAOBAO_IDS, Files, Row, write_published
from wukong.data.prepare.description import shipped
from wukong.data.prepared import PreparedData
from wukong.data.sources import SOURCES, prepare

# name → label, one-hot columns, histories, rarest count with an id of its own.
PUBLISHED = {
    "frappe": ("label", FRAPPE, (), 1),
    "movielens-tag": ("label", ("user_id", "item_id", "tag_id"), (), 1),
    "criteo-kaggle": ("label", CRITEO[14:], (), 10),
    "taobao-ad": (
        "clk",
        (*TAOBAO_IDS, "pid"),
        ("btag_his", "cate_his", "brand_his"),
        10,
    ),
    "kuaivideo": ("is_click", ("user_id", "item_id"), ("pos_items", "neg_items"), 10),
    "microvideo-1.7m": (
        "is_click",
        ("user_id", "item_id", "cate_id"),
        ("clicked_items", "clicked_categories"),
        1,
    ),
}
MOST = {"taobao-ad": 50, "kuaivideo": 100, "microvideo-1.7m": 100}
# What shares the ids of another column.
SHARES = {"cate_his": "cate_id", "brand_his": "brand", "pos_items": "item_id"}
SHARES |= {"neg_items": "item_id", "clicked_items": "item_id", "clicked_categories": "cate_id"}


def made(name: str, folder: Path) -> tuple[Files, PreparedData]:
    (folder / "files").mkdir()
    files = write_published(name, folder / "files", np.random.default_rng(0))
    return files, prepare(name, folder / "files", folder / "cache")


def split_rows(name: str, files: Files) -> dict[str, list[Row]]:
    """Divide the rows by the documented rule, one by one."""
    if name in ("frappe", "movielens-tag"):
        file_of = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
        return {split: files[file] for split, file in file_of.items()}
    rng = np.random.default_rng(0)
    if name == "criteo-kaggle":
        parts: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
        for row, drawn in zip(files["train.txt"], rng.random(900), strict=True):
            parts["train" if drawn < 0.8 else "validation" if drawn < 0.9 else "test"].append(row)
        return parts
    drawn = rng.random(400) < 0.1
    train = [row for row, is_out in zip(files["train.csv"], drawn, strict=True) if not is_out]
    validation = [row for row, is_out in zip(files["train.csv"], drawn, strict=True) if is_out]
    return {"train": train, "validation": validation, "test": files["test.csv"]}


def history(row: Row, column: str, most: int) -> list[str]:
    return row[column].split("^")[-most:] if row[column] else []


def frequent(name: str, train: list[Row], column: str) -> set[str]:
    """Values of a column, and of the histories that share its ids, that are frequent in train."""
    _, one_hot, histories, minimum = PUBLISHED[name]
    counts: Counter[str] = Counter()
    if column in one_hot:
        counts.update(row[column] for row in train)
    for other in histories:
        if SHARES.get(other, other) == column:
            for row in train:
                counts.update(history(row, other, MOST[name]))
    return {value for value, count in counts.items() if count >= minimum}


def values_of(data: PreparedData, feature: str) -> list[str | None]:
    """The values of a vocabulary by id."""
    with (data.folder / data.vocabularies[feature]).open(newline="") as file:
        return [None, *(row["value"] for row in csv.DictReader(file))]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_of_the_published_columns_can_be_read_back(name: str, tmp_path: Path) -> None:
    files, data = made(name, tmp_path)
    label, one_hot, histories, _ = PUBLISHED[name]
    assert tuple(f.name for f in data.schema.one_hot) == one_hot
    assert tuple(f.name for f in data.schema.multi_hot) == histories
    parts = split_rows(name, files)
    known = {c: frequent(name, parts["train"], SHARES.get(c, c)) for c in (*one_hot, *histories)}
    for split, rows in parts.items():
        columns = data.columns(split)
        assert columns.label.tolist() == [int(row[label]) for row in rows]
        for i, feature in enumerate(one_hot):
            values = values_of(data, feature)
            assert [values[id_] for id_ in columns.one_hot[:, i]] == [
                row[feature] if row[feature] in known[feature] else None for row in rows
            ]
        for i, feature in enumerate(histories):
            values, offsets = values_of(data, feature), columns.bag_offsets[i]
            for number, row in enumerate(rows):
                ids = columns.bag_values[i][offsets[number] : offsets[number + 1]]
                assert [values[id_] for id_ in ids] == [
                    value if value in known[feature] else None
                    for value in history(row, feature, MOST[name])
                ]


@pytest.mark.parametrize(
    "name, column, matrix",
    [
        ("kuaivideo", "item_visual", "visual64_select.npy"),
        ("microvideo-1.7m", "item_image", "item_image_emb_dim64.npy"),
    ],
)
def test_content_vectors_are_the_rows_of_the_matrix(
    name: str, column: str, matrix: str, tmp_path: Path
) -> None:
    files, data = made(name, tmp_path)
    assert data.schema.dense == tuple(f"{column}_{i}" for i in range(64))
    content = np.load(tmp_path / "files" / matrix)
    for split, rows in split_rows(name, files).items():
        expected = content[[int(row["item_id"]) for row in rows]]
        np.testing.assert_array_equal(data.columns(split).dense, expected)


def signed_log(field: str) -> float:
    return math.copysign(math.log1p(abs(int(field))), int(field))


def test_numbers_of_criteo_are_put_on_a_log_scale_and_standardised_by_train(tmp_path: Path) -> None:
    files, data = made("criteo-kaggle", tmp_path)
    parts = split_rows("criteo-kaggle", files)

    for i, name in enumerate(data.schema.dense):
        train = [signed_log(row[name]) for row in parts["train"] if row[name]]
        mean, deviation = statistics.fmean(train), statistics.pstdev(train)
        for split, rows in parts.items():
            expected = [
                (signed_log(row[name]) - mean) / deviation if row[name] else 0.0 for row in rows
            ]
            np.testing.assert_allclose(data.columns(split).dense[:, i], expected, atol=1e-5)


def test_the_last_of_24_days_is_validation_and_test_and_the_others_train(tmp_path: Path) -> None:
    files, data = made("criteo-terabyte", tmp_path)
    days = [row for day in range(23) for row in files[f"day_{day}.gz"]]
    assert data.rows("train") == len(days) == 690
    assert data.rows("validation") + data.rows("test") == 120
    train = data.columns("train")
    assert train.label.tolist() == [int(row["label"]) for row in days]
    assert {f.cardinality for f in data.schema.one_hot} == {4_000_000}
    for i in (0, 25):
        values, ids = [row[CRITEO[14 + i]] for row in days], train.one_hot[:, i].tolist()
        pairs = set(zip(values, ids, strict=True))
        assert len(pairs) == len(set(values)) == len(set(ids)) == 10
    logs = [signed_log(row["I2"]) if row["I2"] else 0.0 for row in days]
    np.testing.assert_allclose(train.dense[:, 1], logs, atol=1e-6)


def test_every_shipped_description_is_a_source_and_is_tested_here() -> None:
    assert set(shipped()) == {*PUBLISHED, "criteo-terabyte"}
    assert set(shipped()) < set(SOURCES)


def test_a_shipped_source_is_prepared_once(tmp_path: Path) -> None:
    write_published("frappe", tmp_path, np.random.default_rng(0))
    said: list[str] = []
    first = prepare("frappe", tmp_path, tmp_path / "cache", said.append)
    steps = len(said)
    again = prepare("frappe", tmp_path, tmp_path / "cache", said.append)
    assert (again, len(said)) == (first, steps)
