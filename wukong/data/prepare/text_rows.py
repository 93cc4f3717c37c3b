"""Whole rows of text to their fields: fast by polars, or one by one by the csv module.

The fast reader takes only what both read alike; for everything else it leaves the piece to the
strict one, which knows what is wrong and where. Imports polars.

B bytes of a piece, R rows, S separators of a row.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from codesign.errors import DataError
from wukong.data.prepare.text_blocks import OPEN_QUOTE_HINT, Dialect, end_of_line, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

# Characters of a malformed row that a message repeats.
SHOWN_CHARACTERS = 200
_LONE_RETURN = "a carriage return without a line feed, outside quotes"


class UnfinishedRowError(DataError):
    """A row whose quotes are open where the piece ends: `data`, from `line` on."""

    def __init__(self, what: str, *, line: int, data: bytes) -> None:
        super().__init__(what, hint=OPEN_QUOTE_HINT)
        self.line, self.data = line, data


def read_fast(data: bytes, columns: Sequence[str], dialect: Dialect) -> pl.DataFrame | None:
    """Read rows all at once, as strings; None where the strict reader might read otherwise."""
    byte_B = np.frombuffer(data, dtype=np.uint8)
    if not _is_plain(data, byte_B) or (len(columns) == 1 and _has_blank_line(data)):
        return None
    if not _has_width(len(columns), byte_B, dialect):
        return None
    try:
        text = data if data.isascii() else data.decode(dialect.block_encoding).encode()
        return pl.read_csv(
            io.BytesIO(text),
            has_header=False,
            separator=dialect.separator,
            quote_char=dialect.quote,
            schema=dict.fromkeys(columns, pl.String),
            empty_string_is_null=False,
        )
    except (UnicodeDecodeError, pl.exceptions.PolarsError):
        return None


def read_strictly(data: bytes, line: int, dialect: Dialect) -> Iterator[tuple[int, list[str], str]]:
    """Yield the line on which each row of `data` starts, its fields, and what is wrong.

    Raises:
        UnfinishedRowError: where a quote is still open at the end.
    """
    reader = csv.reader(lines_of(data, dialect.block_encoding), strict=True, **dialect.for_csv())
    while True:
        start = line + reader.line_num
        try:
            yield start, next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            # These have swallowed rows after the one that is at fault.
            swallowed = any(sign in str(error) for sign in ("field limit", "unexpected end"))
            if swallowed and dialect.quote and dialect.quote.encode() in data:
                rest = data[end_of_line(data, start - line) :]
                raise UnfinishedRowError(f"{error}", line=start, data=rest) from error
            yield start, [], in_words(error)


def in_words(error: csv.Error) -> str:
    """Say what the csv module has found."""
    return _LONE_RETURN if "new-line character" in str(error) else str(error)


def problem_of(row: Sequence[str], width: int, dialect: Dialect) -> tuple[str, int, str] | None:
    """Say what is wrong with a row, in which column, and what to do; None: nothing."""
    if not row:
        return "a blank line", 1, ""
    for column, value in enumerate(row, start=1):
        if problem := no_text(value, dialect):
            what, hint = problem
            return what, column, hint
    if len(row) != width:
        shown = dialect.separator.join(row)
        if len(shown) > SHOWN_CHARACTERS:
            shown = f"{shown[:SHOWN_CHARACTERS]}…"
        return f"{len(row)} fields; must be {width}: {shown!r}", min(len(row), width) + 1, ""
    return None


def no_text(value: str, dialect: Dialect) -> tuple[str, str] | None:
    """Name the first byte that is not of the encoding, or none of text, and say what to do."""
    stray = [] if value.isascii() else [c for c in value if "\udc80" <= c <= "\udcff"]
    if stray:
        what = f"byte {os.fsencode(stray[0])!r} is not {dialect.block_encoding}"
        return what, "save the file as UTF-8, or give its `encoding` in a description"
    if "\0" in value:
        return "a NUL byte", "the file is cut off, or no text"
    return None


def _is_plain(data: bytes, byte_B: NDArray[np.uint8]) -> bool:
    """Whether nothing but quotes and widths can be wrong."""
    breaks = np.flatnonzero(byte_B == ord("\n"))
    longest = np.diff(breaks, prepend=-1, append=len(data)).max()
    return (
        b"\0" not in data
        and data.count(b"\r") == data.count(b"\r\n")
        # Not at the beginning of the file, thus part of a field.
        and not data.startswith(codecs.BOM_UTF8)
        and longest <= csv.field_size_limit()
    )


def _has_blank_line(data: bytes) -> bool:
    """Whether there may be a line that is no row; an empty field alone in its row is quoted."""
    blank = (b"\n", b"\r\n")
    return data.startswith(blank) or any(b"\n" + line in data for line in blank)


def _has_width(width: int, byte_B: NDArray[np.uint8], dialect: Dialect) -> bool:
    """Whether each quote is in place and each row has `width` fields; polars forgives both."""
    ends, separators = byte_B == ord("\n"), byte_B == ord(dialect.separator)
    if dialect.quote and (quotes := byte_B == ord(dialect.quote)).any():
        marks = [ord(mark) for mark in (dialect.separator, dialect.quote, "\n", "\r")]
        if not _are_in_place(np.flatnonzero(quotes), byte_B, marks):
            return False
        outside = ~np.logical_xor.accumulate(quotes)
        ends &= outside
        separators &= outside
    end_R = np.flatnonzero(ends)
    if byte_B[-1] != ord("\n"):
        end_R = np.append(end_R, len(byte_B))
    places = np.flatnonzero(separators)
    if len(places) != len(end_R) * (width - 1):
        return False
    if width == 1:
        return True
    place_RS = places.reshape(len(end_R), width - 1)
    # The first separator of a row lies behind the row before, the last one before the row's end.
    return bool((place_RS[1:, 0] > end_R[:-1]).all() and (place_RS[:, -1] < end_R).all())


def _are_in_place(
    places: NDArray[np.int64], byte_B: NDArray[np.uint8], marks: Sequence[int]
) -> bool:
    """Whether quotes stand at the ends of fields only, or are doubled within quotes.

    They open and close in turn, where one that is doubled closes and opens again. So each that
    opens follows the beginning of a field or a quote, and each that closes precedes the end of a
    field or a quote.

    Args:
        marks: separator, quote, line feed, carriage return.
    """
    opens, closes = places[::2], places[1::2]
    before = byte_B[opens[opens > 0] - 1]
    after = byte_B[closes[closes < len(byte_B) - 1] + 1]
    return bool(
        len(places) % 2 == 0 and np.isin(before, marks[:3]).all() and np.isin(after, marks).all()
    )
