"""Text tables read as strings, with every fault named as file:line:column.

A column is counted in fields from 1. polars does the reading; only after it has found a fault does
the csv module look for the line. Imports polars; import this module late.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from codesign.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A file that holds a table of text.

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
        """Read all of the file as strings; an empty field is the empty string.

        Raises:
            DataError: where it is empty, not text in this encoding, or its rows differ in width.
        """
        text = self._text()
        columns = list(self.names) if self.names else self._header(text)
        try:
            frame = pl.read_csv(
                io.BytesIO(text),
                has_header=self.names is None,
                separator=self.separator,
                quote_char=self.quote,
                schema=dict.fromkeys(columns, pl.String),
            )
        except pl.exceptions.PolarsError as error:
            self._raise_first_ragged(text, len(columns))
            raise DataError(str(error).splitlines()[0], where=str(self.path)) from error
        if not len(frame):
            raise DataError("no rows", where=str(self.path))
        if frame[columns[-1]].has_nulls():
            # A row that is too short and one that ends in an empty field look the same here.
            self._raise_first_ragged(text, len(columns))
        return frame.fill_null("")

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
            line, _ = next(r for i, r in enumerate(self._rows(self._text())) if i == row)
            raise DataError(
                f"{column} is {frame[column][row]!r}; must be {expected}",
                where=f"{self.path}:{line}:{frame.columns.index(column) + 1}",
            )
        return values

    def _text(self) -> bytes:
        """Return the file as UTF-8, without a byte order mark."""
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(self.path)) from error
        raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            raise DataError("the file is empty", where=str(self.path))
        try:
            return raw.decode(self.encoding).encode()
        except UnicodeDecodeError as error:
            line_start = raw.rfind(b"\n", 0, error.start) + 1
            line = raw.count(b"\n", 0, error.start) + 1
            column = raw.count(self.separator.encode(), line_start, error.start) + 1
            raise DataError(
                f"byte {raw[error.start : error.end]!r} is not {self.encoding}",
                where=f"{self.path}:{line}:{column}",
                hint="save the file as UTF-8",
            ) from error

    def _header(self, text: bytes) -> list[str]:
        try:
            header = next(self._reader(text))
        except csv.Error as error:
            raise DataError(f"no header: {error}", where=f"{self.path}:1") from error
        if not header:
            raise DataError("a blank line in place of the header", where=f"{self.path}:1")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"columns named twice: {', '.join(twice)}", where=f"{self.path}:1")
        return header

    def _raise_first_ragged(self, text: bytes, width: int) -> None:
        for line, row in self._rows(text):
            if len(row) != width:
                raise DataError(
                    f"{len(row)} fields; must be {width}: {self.separator.join(row)!r}",
                    where=f"{self.path}:{line}:{min(len(row), width) + 1}",
                )

    def _rows(self, text: bytes) -> Iterator[tuple[int, list[str]]]:
        """Yield the line on which each row starts, and its fields; the header is left out."""
        reader = self._reader(text)
        if self.names is None:
            next(reader)
        line = reader.line_num + 1
        try:
            for row in reader:
                yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{error}", where=f"{self.path}:{line}", hint="look for a quote that is left open"
            ) from error

    def _reader(self, text: bytes) -> Reader:
        lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline="")
        if self.quote is None:
            return csv.reader(lines, delimiter=self.separator, quoting=csv.QUOTE_NONE)
        return csv.reader(lines, delimiter=self.separator, quotechar=self.quote)
