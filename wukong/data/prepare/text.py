"""Text tables read as strings in pieces of bounded size; a fault is named as file:line:column.

A column is counted in fields from 1. polars does the reading; only a piece that it cannot read
without doubt goes through the csv module, row by row. Imports polars; import this module late.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import polars as pl

from codesign.errors import DataError
from wukong.data.prepare.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Bytes read at a time: several times as much is in memory while a piece is worked on.
PART_BYTES = 16 << 20
# A row longer than this is taken for a quote that was left open.
ROW_BYTES = 64 << 20
# Characters of a malformed row that a message repeats.
SHOWN_CHARACTERS = 200
# The module's own limit of 128 KiB a field would refuse rows that are legal.
csv.field_size_limit(ROW_BYTES)
_OPEN_QUOTE = "look for a quote that is left open"


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """Some rows of a table, in order.

    Attributes:
        frame: all columns as strings; an empty field is the empty string.
        first_line: of the file, on which `data` begins.
        lines: the line of each row; None: to be looked for in `data`.
    """

    frame: pl.DataFrame
    table: TextTable
    data: bytes
    first_line: int
    lines: Sequence[int] | None = None

    def where(self, row: int, column: str) -> str:
        """Name the place of a field."""
        lines = self.lines
        if lines is None:
            lines = [line for line, *_ in self.table.rows(self.data, self.first_line)]
        return f"{self.table.path}:{lines[row]}:{self.frame.columns.index(column) + 1}"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A file that holds a table of text; one whose name ends in `.gz` is unpacked on the way.

    Attributes:
        quote: the quoting character, or None where the format knows no quoting.
        names: the columns of a file without a header; None: the first line names them.
    """

    path: Path
    separator: str = ","
    quote: str | None = '"'
    names: Sequence[str] | None = None
    encoding: str = "utf-8"

    def read(self) -> pl.DataFrame:
        """Read all of the file.

        Raises:
            DataError: where it is empty, not text in this encoding, or its rows differ in width.
        """
        return pl.concat([part.frame for part in self.parts(Faults())])

    def parts(self, faults: Faults) -> Iterator[TextPart]:
        """Read the file piece by piece; rows that cannot be read are reported and left out.

        Raises:
            DataError: where the file is empty, cannot be read, or has more faults than may be.
        """
        columns: list[str] | None = list(self.names) if self.names else None
        any_rows = False
        unfinished: _UnfinishedRowError | None = None
        for line, data in self._blocks():
            if columns is None:
                columns, data, line = self._header(data, line)  # noqa: PLW2901
            if unfinished:
                line, data = unfinished.line, unfinished.data + data  # noqa: PLW2901
            if data:
                part, unfinished = self._parse(data, line, columns, faults)
                any_rows |= bool(len(part.frame))
                if len(part.frame):
                    yield part
            if unfinished and len(unfinished.data) > ROW_BYTES:
                break
        if unfinished:
            raise unfinished
        if not any_rows:
            what = "no rows" if columns else "the file is empty"
            raise DataError(what, where=str(self.path))

    def numbers(
        self, frame: pl.DataFrame, column: str, allowed: Sequence[float] | None = None
    ) -> pl.Series:
        """Cast one column of `read`'s frame to Float64.

        Raises:
            DataError: naming the first field that is no finite number, or none of `allowed`.
        """
        values = frame[column].cast(pl.Float64, strict=False)
        if allowed is None:
            good = values.is_finite()
            expected = "a number"
        else:
            good = values.is_in(pl.Series(allowed, dtype=pl.Float64).implode())
            expected = " or ".join(f"{value:g}" for value in allowed)
        bad = ~good.fill_null(False)
        if bad.any():
            row = bad.arg_max() or 0
            raise DataError(
                f"{column} is {frame[column][row]!r}; must be {expected}",
                where=self._where(row, column),
            )
        return values

    def header(self) -> list[str]:
        """Return the names of the columns.

        Raises:
            DataError: where the file is empty, or has no header or one that names columns twice.
        """
        if self.names:
            return list(self.names)
        line, data = next(self._blocks(), (1, b""))
        return self._header(data, line)[0]

    def rows(self, data: bytes, line: int) -> Iterator[tuple[int, list[str], str]]:
        """Yield the line on which each row of `data` starts, its fields, and what is wrong."""
        reader = csv.reader(_lines(data, self.encoding), strict=True, **self._dialect())
        while True:
            start = line + reader.line_num
            try:
                yield start, next(reader), ""
            except StopIteration:
                return
            except csv.Error as error:
                # These have swallowed rows after the one that is at fault.
                swallowed = any(sign in str(error) for sign in ("field limit", "unexpected end"))
                if swallowed and self.quote and self.quote.encode() in data:
                    rest = data[_end_of_line(data, start - line) :]
                    raise _UnfinishedRowError(
                        f"{error}", where=f"{self.path}:{start}", line=start, data=rest
                    ) from error
                yield start, [], str(error)

    def _where(self, row: int, column: str) -> str:
        for part in self.parts(Faults()):
            if row < len(part.frame):
                return part.where(row, column)
            row -= len(part.frame)
        raise IndexError(row)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield pieces that end where a row ends, and the line each begins on."""
        rest, line = b"", 1
        for data in self._chunks():
            block = rest + data if rest else data
            end = self._last_row_end(block)
            if len(block) - end > ROW_BYTES:
                line += block.count(b"\n", 0, end)
                raise DataError(
                    f"a row of more than {ROW_BYTES:,} bytes",
                    where=f"{self.path}:{line}",
                    hint=_OPEN_QUOTE,
                )
            rest = block[end:]
            if end:
                yield line, block[:end]
                line += block.count(b"\n", 0, end)
        if rest:
            yield line, rest

    def _chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file, without a byte order mark."""
        first = True
        try:
            with self._open() as file:
                while data := file.read(PART_BYTES):
                    yield data.removeprefix(b"\xef\xbb\xbf") if first else data
                    first = False
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"cannot be read: {reason}", where=str(self.path)) from error

    def _open(self) -> BinaryIO:
        if self.path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(self.path, "rb"))
        return self.path.open("rb")

    def _last_row_end(self, block: bytes) -> int:
        """Return how many bytes of `block` are whole rows, by the rules of quoting."""
        end = block.rfind(b"\n") + 1
        quote = self.quote.encode() if self.quote else b""
        if not quote or block.count(quote, 0, end) % 2 == 0:
            return end
        # A line break inside quotes, or a stray quote: only reading row by row can tell. The last
        # row is left for the next piece, as it may go on there.
        reader = csv.reader(_lines(block, "latin-1"), **self._dialect())
        lines = lines_before = 0
        try:
            for _ in reader:
                lines_before, lines = lines, reader.line_num
        except csv.Error:
            return end
        return _end_of_line(block, lines_before)

    def _header(self, data: bytes, line: int) -> tuple[list[str], bytes, int]:
        """Return the names, and the bytes and the line that follow them."""
        if not data.strip():
            raise DataError("the file is empty", where=str(self.path))
        reader = csv.reader(_lines(data, self.encoding), **self._dialect())
        try:
            names = next(reader)
        except csv.Error as error:
            raise DataError(f"no header: {error}", where=f"{self.path}:{line}") from error
        if not names:
            raise DataError("a blank line in place of the header", where=f"{self.path}:{line}")
        for column, name in enumerate(names, start=1):
            if problem := self._undecoded(name):
                raise DataError(
                    problem, where=f"{self.path}:{line}:{column}", hint="save the file as UTF-8"
                )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"columns named twice: {', '.join(twice)}", where=f"{self.path}:{line}")
        end = _end_of_line(data, reader.line_num)
        return names, data[end:], line + reader.line_num

    def _parse(
        self, data: bytes, line: int, columns: Sequence[str], faults: Faults
    ) -> tuple[TextPart, _UnfinishedRowError | None]:
        """Read rows; the last of them may go on in the next piece."""
        frame = self._by_polars(data, columns)
        lines, unfinished = None, None
        if frame is None:
            frame, lines, unfinished = self._by_csv(data, line, columns, faults)
        part = TextPart(frame=frame, table=self, data=data, first_line=line, lines=lines)
        return part, unfinished

    def _by_polars(self, data: bytes, columns: Sequence[str]) -> pl.DataFrame | None:
        """Read rows fast; None where a row may be malformed."""
        breaks = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
        longest = np.diff(breaks, prepend=-1, append=len(data)).max()
        if b"\0" in data or longest > csv.field_size_limit():
            return None
        try:
            text = data if data.isascii() else data.decode(self.encoding).encode()
            frame = pl.read_csv(
                io.BytesIO(text),
                has_header=False,
                separator=self.separator,
                quote_char=self.quote,
                schema=dict.fromkeys(columns, pl.String),
                empty_string_is_null=False,
            )
        except (UnicodeDecodeError, pl.exceptions.PolarsError):
            return None
        if self.quote and self.quote.encode() in data:
            # A row that is too short and one that ends in an empty field look the same here.
            return None if (frame[columns[-1]] == "").any() else frame
        rows = len(breaks) + (not data.endswith(b"\n"))
        separators = data.count(self.separator.encode())
        return frame if separators == rows * (len(columns) - 1) and len(frame) == rows else None

    def _by_csv(
        self, data: bytes, first_line: int, columns: Sequence[str], faults: Faults
    ) -> tuple[pl.DataFrame, list[int], _UnfinishedRowError | None]:
        """Read rows one by one, leaving out the malformed; also return their lines."""
        rows: list[list[str]] = []
        lines: list[int] = []
        unfinished = None
        try:
            for line, row, problem in self.rows(data, first_line):
                found = (problem, 1, "") if problem else self._problem(row, len(columns))
                if found:
                    what, column, hint = found
                    faults.add(what, where=f"{self.path}:{line}:{column}", hint=hint)
                else:
                    rows.append(row)
                    lines.append(line)
        except _UnfinishedRowError as error:
            unfinished = error
        schema = dict.fromkeys(columns, pl.String)
        return pl.DataFrame(rows, schema=schema, orient="row"), lines, unfinished

    def _problem(self, row: Sequence[str], width: int) -> tuple[str, int, str] | None:
        """Say what is wrong with a row, in which column, and what to do; None: nothing."""
        for column, value in enumerate(row, start=1):
            if problem := self._undecoded(value):
                return problem, column, "save the file as UTF-8"
            if "\0" in value:
                return "a NUL byte", column, "the file is cut off, or no text"
        if len(row) != width:
            shown = self.separator.join(row)
            if len(shown) > SHOWN_CHARACTERS:
                shown = f"{shown[:SHOWN_CHARACTERS]}…"
            return f"{len(row)} fields; must be {width}: {shown!r}", min(len(row), width) + 1, ""
        return None

    def _undecoded(self, value: str) -> str:
        if value.isascii():
            return ""
        stray = [c for c in value if "\udc80" <= c <= "\udcff"]
        return f"byte {os.fsencode(stray[0])!r} is not {self.encoding}" if stray else ""

    def _dialect(self) -> dict[str, Any]:
        """Say to the csv module how rows are written."""
        quoting = csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE
        return {"delimiter": self.separator, "quotechar": self.quote, "quoting": quoting}


class _UnfinishedRowError(DataError):
    """A row whose quotes are open where the piece ends: `data`, from `line` on."""

    def __init__(self, what: str, *, where: str, line: int, data: bytes) -> None:
        super().__init__(what, where=where, hint=_OPEN_QUOTE)
        self.line, self.data = line, data


def _lines(data: bytes, encoding: str) -> io.StringIO:
    return io.StringIO(data.decode(encoding, "surrogateescape"), newline="\n")


def _end_of_line(data: bytes, lines: int) -> int:
    """Return how many bytes the first `lines` lines have."""
    end = 0
    for _ in range(lines):
        end = data.find(b"\n", end) + 1 or len(data)
    return end
