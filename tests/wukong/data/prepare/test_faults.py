"""Other people's broken files: named by file:line:column, or counted and left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.errors import DataError
from wukong.data.prepare import text
from wukong.data.prepared import PreparedData
from wukong.data.sources import prepare_folder

DESCRIPTION = """
format: csv
files: a.csv
split: {by: random, shares: [1, 1, 1]}
columns:
  label: {type: label}
  item: {type: categorical}
  price: {type: dense, transform: none}
"""
HEADER = b"label,item,price\n"
GOOD = b"0,a,1\n1,b,2\n" * 20
# Rows of GOOD and the header come before what a test appends.
FIRST_LINE = 42


def prepared(
    folder: Path, content: bytes, description: str = DESCRIPTION, skip_bad: int = 0
) -> PreparedData:
    (folder / "a.csv").write_bytes(content)
    (folder / "a.yaml").write_text(description)
    return prepare_folder(folder / "a.yaml", folder, folder / "out", skip_bad=skip_bad)


FAULTS = [
    pytest.param(b"1,a\n", ":42:3", "2 fields; must be 3", id="short row"),
    pytest.param(b"1,a,2,3\n", ":42:4", "4 fields; must be 3", id="long row"),
    pytest.param(b"\n", ":42:1", "0 fields; must be 3", id="empty line"),
    pytest.param(b"1,a\x00,2\n", ":42:2", "NUL byte", id="NUL"),
    pytest.param(b"1,caf\xe9,2\n", ":42:2", r"byte b'\xe9' is not utf-8", id="latin-1"),
    pytest.param(b'1,"a"b,2\n', ":42:1", "expected after", id="text after a quote"),
    pytest.param(b"2,a,2\n", ":42:1", "label is '2'; must be 1 or true or 0 or false", id="label"),
    pytest.param(b"-1,a,2\n", ":42:1", "label is '-1'", id="label -1"),
    pytest.param(b",a,2\n", ":42:1", "label is ''", id="no label"),
    pytest.param(b"1,a,NaN\n", ":42:3", "price is 'NaN'; must be a finite number", id="NaN"),
    pytest.param(b"1,a,-inf\n", ":42:3", "price is '-inf'", id="inf"),
    pytest.param(b"1,a,1e999\n", ":42:3", "price is '1e999'", id="overflow"),
    pytest.param(b"1,a,two\n", ":42:3", "price is 'two'", id="word"),
    pytest.param(b"1,a,1e39\n", ":42:3", "price is '1e39'; must be a finite", id="float32"),
    pytest.param(b'1,"\n\n",2\n1,a,x\n', ":45:3", "price is 'x'", id="after a quoted break"),
]


@pytest.mark.parametrize("row, where, what", FAULTS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_malformed_row_stops_with_its_place(
    tmp_path: Path, row: bytes, where: str, what: str, line_end: bytes
) -> None:
    content = (HEADER + GOOD + row + GOOD).replace(b"\n", line_end)
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, content)
    assert caught.value.where.startswith(f"{tmp_path / 'a.csv'}{where}")
    assert what in caught.value.what
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.yaml"]


@pytest.mark.parametrize("row, where, what", FAULTS)
def test_a_malformed_row_may_be_left_out_and_is_listed(
    tmp_path: Path, row: bytes, where: str, what: str
) -> None:
    data = prepared(tmp_path, HEADER + GOOD + row + GOOD, skip_bad=1)
    skipped = data.facts["skipped_rows"]
    assert skipped["count"] == 1
    assert skipped["first"][0].startswith(f"{tmp_path / 'a.csv'}{where}")
    assert what in skipped["first"][0]
    # The one row that a quoted line break makes is well formed.
    assert sum(data.row_counts.values()) == 80 + row.count(b'"\n\n"')


def test_one_malformed_row_more_than_allowed_stops(tmp_path: Path) -> None:
    content = HEADER + GOOD + b"7,a,1\n" + GOOD + b"1,a\n" + GOOD + b"1,a,?\n"
    with pytest.raises(DataError, match=r"a\.csv:124:3: .*malformed row 3; 2 may be left out"):
        prepared(tmp_path, content, skip_bad=2)
    assert prepared(tmp_path, content, skip_bad=3).facts["skipped_rows"]["count"] == 3


def test_a_quote_left_open_is_named_where_it_opens_and_is_never_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:42: (?s:.)*quote that is left open"):
        prepared(tmp_path, HEADER + GOOD + b'1,"a,2\n' + GOOD, skip_bad=100)


def test_an_open_quote_in_a_long_file_is_named_before_the_file_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", 1000)
    monkeypatch.setattr(text, "ROW_BYTES", 5000)
    content = HEADER + GOOD * 20 + b'1,"a,2\n' + GOOD * 200
    with pytest.raises(DataError, match=r"a\.csv:802: a row of more than 5,000 bytes"):
        prepared(tmp_path, content)


@pytest.mark.parametrize("part_bytes", [7, 64, 1 << 20])
def test_pieces_of_any_size_hold_the_same_rows(
    tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", part_bytes)
    values = ["plain", "com,ma", "bre\nak", 'quo"te', "é", "", "a b"]
    path = tmp_path / "a.csv"
    lines = ["value,row"]
    for row in range(300):
        value = values[row * row % 7]
        quoted = '"' + value.replace('"', '""') + '"' if set(value) & set(',\n"') else value
        lines.append(f"{quoted},{row}")
    path.write_text("\n".join(lines), encoding="utf-8")
    frame = text.TextTable(path=path).read()
    assert frame["value"].to_list() == [values[row * row % 7] for row in range(300)]
    assert frame["row"].to_list() == [str(row) for row in range(300)]


@pytest.mark.parametrize("bad", [0, 654_321, 999_999])
def test_one_bad_row_among_a_million_is_found_and_named(tmp_path: Path, bad: int) -> None:
    rows = [b"0,a,1.5", b"1,b,2"] * 500_000
    rows[bad] = b"1,b,2;5"
    with pytest.raises(DataError, match=rf"a\.csv:{bad + 2}:3: price is '2;5'; must be a finite"):
        prepared(tmp_path, HEADER + b"\n".join(rows))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER + GOOD,
        (HEADER + GOOD).replace(b"\n", b"\r\n"),
        HEADER + GOOD.removesuffix(b"\n"),
        HEADER.replace(b"label", b'"label"') + GOOD.replace(b"a", b'"a"'),
        b"price,label,unused,item\n" + b"1,0,?,a\n2,1,?,b\n" * 20,
        (HEADER + GOOD).replace(b"\n0", b"\nfalse").replace(b"\n1,", b"\n1.0,"),
    ],
    ids=["BOM", "CRLF", "no last line break", "quoted", "other columns", "labels 1.0 and false"],
)
def test_what_files_differ_in_without_meaning_changes_nothing(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    expected = prepared(tmp_path / "one", HEADER + GOOD)
    assert prepared(tmp_path / "two", content).checksums == expected.checksums


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "a.csv: the file is empty"),
        (b"\n\n", "a.csv: the file is empty"),
        (HEADER, "a.csv: no rows"),
        (b"label,itme,price\n" + GOOD, "a.csv:1: no column item; the file has label, itme, price"),
        (b"label,itme,price\n" + GOOD, "did you mean 'itme'?"),
        (b"label,item,item\n" + GOOD, "a.csv:1: columns named twice: item"),
        (b"label,it\xe9m,price\n" + GOOD, r"a.csv:1:2: byte b'\xe9' is not utf-8"),
        ((HEADER + GOOD).decode().encode("utf-16"), r"a.csv:1:1: byte b'\xff' is not utf-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, content, skip_bad=1000)
    assert what in str(caught.value)


def test_what_stands_for_a_missing_number_can_be_listed(tmp_path: Path) -> None:
    described = DESCRIPTION + "missing: ['', NaN, \\N]\n"
    content = HEADER + b"0,a,\n1,a,NaN\n0,b,\\N\n1,b,7\n" * 20
    data = prepared(tmp_path, content, described)
    dense = np.concatenate([data.columns(split).dense[:, 0] for split in data.row_counts])
    assert sorted(set(dense.tolist())) == [0.0, 7.0]
    assert (dense == 0).sum() == 60


def test_labels_may_be_written_otherwise_or_be_absent(tmp_path: Path) -> None:
    described = DESCRIPTION.replace(
        "{type: label}", "{type: label, positive: yes, negative: [-1, no], unobserved: '?'}"
    )
    content = HEADER + b"yes,a,1\n-1.0,a,1\nNo,b,1\n?,b,1\n" * 30
    data = prepared(tmp_path, content, described)
    labels = np.concatenate([data.columns(split).label for split in data.row_counts])
    assert sorted(labels.tolist()) == [0] * 60 + [1] * 30 + [255] * 30
    train = data.columns("train").label
    assert data.base_rate == pytest.approx((train == 1).sum() / (train != 255).sum())


def test_a_rating_can_be_cut_into_a_label(tmp_path: Path) -> None:
    described = DESCRIPTION.replace("{type: label}", "{type: label, at_least: 4}")
    content = HEADER + b"3.5,a,1\n4,b,1\n5,c,1\n1,d,1\n" * 30
    data = prepared(tmp_path, content, described)
    labels = np.concatenate([data.columns(split).label for split in data.row_counts])
    assert sorted(labels.tolist()) == [0] * 60 + [1] * 60


def test_latin_1_is_read_where_the_description_says_so(tmp_path: Path) -> None:
    content = HEADER + b"0,caf\xe9,1\n1,the,1\n" * 20
    data = prepared(tmp_path, content, DESCRIPTION + "encoding: latin-1\n")
    words = (data.folder / data.vocabularies["item"]).read_text(encoding="utf-8")
    assert "café" in words


def test_a_file_that_is_missing_is_named_with_all_that_are_needed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DESCRIPTION)
    with pytest.raises(DataError, match=r"no a\.csv(?s:.)*give the folder that holds a\.csv"):
        prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")


def test_a_weight_that_is_infinite_as_float32_is_named(tmp_path: Path) -> None:
    described = DESCRIPTION.replace("{type: dense, transform: none}", "{type: weight}")
    with pytest.raises(DataError, match=r"a\.csv:42:3: price is '1e39'; must be a number ≥ 0, of"):
        prepared(tmp_path, HEADER + GOOD + b"1,a,1e39\n", described)


def test_a_value_that_overflows_beside_trains_deviation_is_named(tmp_path: Path) -> None:
    described = DESCRIPTION.replace("transform: none", "transform: standardize").replace(
        "{by: random, shares: [1, 1, 1]}",
        "{by: column, column: at, train: a, validation: b, test: c}",
    )
    content = b"label,item,price,at\n" + b"".join(
        b"%d,a,%s,%s\n" % (row % 2, price, at)
        for at, prices in (
            (b"a", (b"1e-9", b"2e-9")),
            (b"b", (b"0", b"0")),
            (b"c", (b"3e38", b"0")),
        )
        for row, price in enumerate(prices * 4)
    )
    with pytest.raises(DataError, match="price has a value that is too large for float32"):
        prepared(tmp_path, content, described)


@pytest.mark.parametrize("quote", [b"", b'"'], ids=["bare", "quoted"])
def test_a_field_of_megabytes_is_read(tmp_path: Path, quote: bytes) -> None:
    huge = b"x" * 2_000_000
    content = HEADER + b"0,a,1\n" + b"1," + quote + huge + quote + b",2\n"
    (tmp_path / "a.csv").write_bytes(content)
    frame = text.TextTable(path=tmp_path / "a.csv").read()
    assert frame["item"].to_list() == ["a", huge.decode()]


@pytest.mark.parametrize("part_bytes", [7, 23, 64, 100, 1 << 20])
def test_stray_quotes_do_not_make_a_piece_end_within_a_row(
    tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", part_bytes)
    values = ['5" disk', "bre\nak", "plain", 'a "b" c', 'x\n"y"\n', '6"']
    path = tmp_path / "a.csv"
    lines = ["value,row"]
    for row in range(200):
        value = values[row * row % 11 % 6]
        shown = '"' + value.replace('"', '""') + '"' if "\n" in value else value
        lines.append(f"{shown},{row}")
    path.write_text("\n".join(lines))
    frame = text.TextTable(path=path).read()
    assert frame["value"].to_list() == [values[row * row % 11 % 6] for row in range(200)]
    assert frame["row"].to_list() == [str(row) for row in range(200)]
