"""Text to rows: the fast reader beside the strict one, and encodings beside Python's own."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codesign.errors import DataError
from wukong.data.prepare import text_blocks
from wukong.data.prepare.text import TextTable
from wukong.data.prepare.text_blocks import Dialect
from wukong.data.prepare.text_rows import UnfinishedRowError, problem_of, read_fast, read_strictly

WELL_FORMED = st.sampled_from(["a,b\n", '"a",b\n', '"x,""y\n",\r\n', ",\n", 'é,"\r"\n', '"",""\n'])
PIECES = st.sampled_from(["a", "é", '"', '""', ",", "\n", "\r\n", "\r", " ", "\ufeff", "\x0b", "#"])
TEXTS = st.builds(
    lambda rows, pieces, more: "".join([*rows, *pieces, *more]),
    st.lists(WELL_FORMED, max_size=4),
    st.lists(PIECES, max_size=9),
    st.lists(WELL_FORMED, max_size=2),
)


def strictly(data: bytes, width: int, dialect: Dialect) -> list[tuple[str, ...]] | None:
    """Rows by the strict reader; None where it finds anything wrong."""
    try:
        rows = list(read_strictly(data, 1, dialect))
    except UnfinishedRowError:
        return None
    if any(problem or problem_of(row, width, dialect) for _, row, problem in rows):
        return None
    return [tuple(row) for _, row, _ in rows]


@given(TEXTS, st.integers(1, 3), st.sampled_from(['"', None, "'"]))
@example('a,5" disk\nb,"x"\n', 2, '"')
@example("a,b\rc,d\r", 2, '"')
@example('"a"b,c\n', 2, '"')
@example('a,"b"\n\n"c",d\n', 2, '"')
@example("a,b\n\n,,", 2, '"')
@settings(max_examples=1000, deadline=None)
def test_the_fast_reader_reads_what_the_strict_one_reads_or_leaves_it_to_it(
    text: str, width: int, quote: str | None
) -> None:
    dialect = Dialect(quote=quote)
    data = text.encode()
    if not data:
        return
    fast = read_fast(data, [str(i) for i in range(width)], dialect)
    assert fast is None or fast.rows() == strictly(data, width, dialect)


@given(
    st.lists(
        st.tuples(st.text("aé,\"\n\r 5'", max_size=5), st.text("b\t|", max_size=2)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=300, deadline=None)
def test_the_fast_reader_takes_what_a_csv_writer_has_written(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    text = file.getvalue()
    frame = read_fast(text.encode(), ["first", "second"], Dialect())
    # A lone carriage return is left to the strict reader even inside quotes.
    if text.count("\r") > text.count("\r\n"):
        assert frame is None
    else:
        assert frame is not None
        assert frame.rows() == rows


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"])
@pytest.mark.parametrize("part_bytes", [7, 1 << 20])
def test_an_encoding_that_writes_ascii_otherwise_is_read(
    tmp_path: Path, encoding: str, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_blocks, "PART_BYTES", part_bytes)
    rows = [("item", "price"), ('d"é', "1"), ("x,\ny", "2"), ("", "3")] * 2
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)
    frame = TextTable(path=path, dialect=Dialect(encoding=encoding)).read()
    assert [tuple(frame.columns), *frame.rows()] == rows


@pytest.mark.parametrize(
    "content, encoding, what",
    [
        ("item,price\nb,2\n".encode("utf-16")[:-1], "utf-16", "is not utf-16: truncated data"),
        (b"item,price\nb,2\n", "utf-16-le", "is not utf-16-le: truncated data"),
        (b"item,price\rb,2\r", "utf-8", "no header: a carriage return without a line feed"),
        (b"item,price\nb\rc,2\n", "utf-8", "a.csv:2:1: a carriage return without a line feed"),
        (b'item,"price\nb,2\n', "utf-8", "no header: unexpected end of data"),
    ],
)
def test_bytes_that_are_no_such_text_are_refused(
    tmp_path: Path, content: bytes, encoding: str, what: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        TextTable(path=path, dialect=Dialect(encoding=encoding)).read()
    assert what in str(caught.value)
