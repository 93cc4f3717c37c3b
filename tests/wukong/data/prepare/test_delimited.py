from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from codesign.errors import DataError
from wukong.data.sources import prepare

COLUMNS = ["user", "item", "weather"]
SPLIT_FILES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}


def frappe_like(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Ids that look like numbers but are not all (a leading zero), one value missing at times."""
    return pd.DataFrame(
        {
            "label": rng.integers(0, 2, rows).astype(str),
            "user": [f"0{i}" for i in rng.integers(0, 9, rows)],
            "item": rng.integers(100, 140, rows).astype(str),
            "weather": rng.choice(["sunny", "", "rain"], rows),
        }
    )


def write_csv(frame: pd.DataFrame, path: Path, line_end: str = "\r\n") -> None:
    frame.to_csv(path, index=False, lineterminator=line_end)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    source.mkdir()
    for name, rows in (("train.csv", 60), ("valid.csv", 20), ("test.csv", 25)):
        write_csv(frappe_like(rng, rows), source / name)
    return source


def test_every_value_keeps_its_id_and_unseen_values_get_zero(folder: Path, tmp_path: Path) -> None:
    data = prepare("csv", folder, tmp_path / "cache")
    read = {
        split: pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        for split, name in SPLIT_FILES.items()
    }
    seen = {column: sorted(set(read["train"][column])) for column in COLUMNS}
    assert [(f.name, f.cardinality) for f in data.schema.categorical] == [
        (column, len(seen[column]) + 1) for column in COLUMNS
    ]
    unseen = 0
    for split, frame in read.items():
        columns = data.columns(split)
        expected = [
            [seen[c].index(v) + 1 if v in seen[c] else 0 for c, v in zip(COLUMNS, row, strict=True)]
            for row in frame[COLUMNS].itertuples(index=False)
        ]
        assert columns.one_hot.tolist() == expected
        assert columns.label.tolist() == [int(label) for label in frame["label"]]
        assert data.rows(split) == len(frame)
        unseen += sum(row.count(0) for row in expected)
    assert unseen > 0
    assert data.base_rate == pytest.approx(np.mean(read["train"]["label"] == "1"))


def test_line_ends_and_a_byte_order_mark_change_nothing(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "unix"
    other.mkdir()
    for name in SPLIT_FILES.values():
        text = (folder / name).read_bytes().replace(b"\r\n", b"\n").removesuffix(b"\n")
        (other / name).write_bytes(b"\xef\xbb\xbf" + text)
    first = prepare("csv", folder, tmp_path / "cache")
    second = prepare("csv", other, tmp_path / "cache")
    assert first.folder != second.folder
    assert first.schema == second.schema
    for split in SPLIT_FILES:
        for name, array in first.columns(split).arrays().items():
            np.testing.assert_array_equal(array, second.columns(split).arrays()[name])


def test_one_file_is_split_7_2_1_and_every_row_lands_in_exactly_one_split(tmp_path: Path) -> None:
    frame = frappe_like(np.random.default_rng(1), 203)
    frame["weather"] = [str(i) for i in range(203)]
    write_csv(frame, tmp_path / "all.csv")
    data = prepare("csv", tmp_path / "all.csv", tmp_path / "cache")
    assert dict(data.row_counts) == {"train": 142, "validation": 40, "test": 21}
    labels = np.concatenate([data.columns(s).label for s in SPLIT_FILES])
    assert Counter(labels.tolist()) == Counter(int(label) for label in frame["label"])
    # `weather` names the row, so each of the train rows owns one id and no other split any.
    assert sorted(data.columns("train").one_hot[:, 2]) == list(range(1, 143))
    assert not data.columns("test").one_hot[:, 2].any()
    assert "random" in data.split_rule


def test_columns_may_come_in_another_order_in_another_split(folder: Path, tmp_path: Path) -> None:
    first = prepare("csv", folder, tmp_path / "cache")
    frame = pd.read_csv(folder / "test.csv", dtype=str, keep_default_na=False)
    write_csv(frame[["weather", "label", "item", "user"]], folder / "test.csv")
    second = prepare("csv", folder, tmp_path / "cache")
    assert first.columns("test").one_hot.tolist() == second.columns("test").one_hot.tolist()


def test_quoted_separators_and_line_breaks_are_part_of_the_value(
    folder: Path, tmp_path: Path
) -> None:
    text = (folder / "train.csv").read_bytes()
    (folder / "train.csv").write_bytes(text + b'1,"a,b","c\nd",rain\r\n1,"a,b",x,rain\r\n')
    train = prepare("csv", folder, tmp_path / "cache").columns("train").one_hot
    assert len(train) == 62
    assert train[-1, 0] == train[-2, 0]
    assert train[-1, 1] != train[-2, 1]


HEADER = b"label,user,item,weather\r\n"


@pytest.mark.parametrize(
    "content, where, what",
    [
        pytest.param(b"", "", "the file is empty", id="empty"),
        pytest.param(b" \r\n\r\n", "", "the file is empty", id="blank"),
        pytest.param(HEADER, "", "no rows", id="header only"),
        pytest.param(b"\r\n" + HEADER, ":1", "blank line", id="blank header"),
        pytest.param(b"user,item,weather\r\n1,2,3\r\n", ":1", "`label`", id="no label"),
        pytest.param(b"label\r\n1\r\n", ":1", "at least one feature", id="no feature"),
        pytest.param(b"label,user,user\r\n1,2,3\r\n", ":1", "twice: user", id="column twice"),
        pytest.param(HEADER + b"1,2,3,4\r\n2,2,3,4\r\n", ":3:1", "label is '2'", id="label 2"),
        pytest.param(HEADER + b"1,2,3,4\r\n,2,3,4\r\n", ":3:1", "label is ''", id="no value"),
        pytest.param(HEADER + b"nan,2,3,4\r\n", ":2:1", "label is 'nan'", id="label nan"),
        pytest.param(HEADER + b'1,"\n",3,4\r\nx,2,3,4\r\n', ":4:1", "'x'", id="after a break"),
        pytest.param(HEADER + b"1,2,3,4\r\n1,2,3\r\n", ":3:4", "3 fields", id="short row"),
        pytest.param(HEADER + b"1,2,3,4\r\n1,2,3,4,5\r\n", ":3:5", "5 fields", id="long row"),
        pytest.param(HEADER + b"1,2,3,4\r\n\r\n1,2,3,4\r\n", ":3:1", "0 fields", id="blank row"),
        pytest.param(HEADER + b"1,2,\xff,4\r\n", ":2:3", r"b'\xff' is not utf-8", id="latin-1"),
        pytest.param(HEADER + b'1,2,3,"4\r\n', "", "", id="open quote"),
        pytest.param(
            HEADER + b'1,2,3,"4\r\n' + b"1,2,3,4\r\n" * 20_000, ":2", "end of data", id="long quote"
        ),
        pytest.param(b"\x00\x01\x02\x03", "", "no rows", id="binary"),
    ],
)
def test_rubbish_is_named_by_file_line_and_column(
    folder: Path, tmp_path: Path, content: bytes, where: str, what: str
) -> None:
    (folder / "train.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        prepare("csv", folder, tmp_path / "cache")
    assert caught.value.where.startswith(str(folder / "train.csv") + where)
    assert what in caught.value.what
    assert not (tmp_path / "cache").exists()


def test_a_split_that_lacks_a_column_is_refused(folder: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(folder / "valid.csv", dtype=str, keep_default_na=False)
    write_csv(frame.drop(columns="item"), folder / "valid.csv")
    with pytest.raises(DataError, match=r"valid.csv:1: columns label, user, weather; must be"):
        prepare("csv", folder, tmp_path / "cache")


def test_a_folder_without_a_file_names_it(folder: Path, tmp_path: Path) -> None:
    (folder / "valid.csv").unlink()
    with pytest.raises(DataError, match=r"no valid\.csv(?s:.)*hint: give a folder of train\.csv"):
        prepare("csv", folder, tmp_path / "cache")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        prepare("csv", tmp_path / "nowhere", tmp_path / "cache")


def test_a_split_with_one_label_only_is_refused(folder: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(folder / "test.csv", dtype=str, keep_default_na=False)
    write_csv(frame.assign(label="1"), folder / "test.csv")
    with pytest.raises(DataError, match="25 of the 25 labels of test are 1"):
        prepare("csv", folder, tmp_path / "cache")
