"""Text tables read as strings in pieces of bounded size; a fault is named as file:line:column.

A column is counted in fields from 1. Imports polars; import this module late.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from codesign.errors import DataError
from wukong.data.prepare import text_blocks
from wukong.data.prepare.faults import Faults
from wukong.data.prepare.text_blocks import Dialect, end_of_line, lines_of, row_blocks
from wukong.data.prepare.text_rows import (
    UnfinishedRowError,
    in_words,
    no_text,
    problem_of,
    read_fast,
    read_strictly,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


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
            rows = read_strictly(self.data, self.first_line, self.table.dialect)
            lines = [line for line, *_ in rows]
        return f"{self.table.path}:{lines[row]}:{self.frame.columns.index(column) + 1}"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A file that holds a table of text; one whose name ends in `.gz` is unpacked on the way.

    Attributes:
        names: the columns of a file without a header; None: the first line names them.
    """

    path: Path
    dialect: Dialect = field(default_factory=Dialect)
    names: Sequence[str] | None = None

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
        unfinished: UnfinishedRowError | None = None
        for line, data in row_blocks(self.path, self.dialect):
            if columns is None:
                columns, data, line = self._header(data, line)  # noqa: PLW2901
            if unfinished:
                line, data = unfinished.line, unfinished.data + data  # noqa: PLW2901
            if data:
                part, unfinished = self._parse(data, line, columns, faults)
                any_rows |= bool(len(part.frame))
                if len(part.frame):
                    yield part
            if unfinished and len(unfinished.data) > text_blocks.ROW_BYTES:
                break
        if unfinished:
            raise DataError(
                unfinished.what, where=f"{self.path}:{unfinished.line}", hint=unfinished.hint
            )
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
        line, data = next(row_blocks(self.path, self.dialect), (1, b""))
        return self._header(data, line)[0]

    def _where(self, row: int, column: str) -> str:
        for part in self.parts(Faults()):
            if row < len(part.frame):
                return part.where(row, column)
            row -= len(part.frame)
        raise IndexError(row)

    def _header(self, data: bytes, line: int) -> tuple[list[str], bytes, int]:
        """Return the names, and the bytes and the line that follow them."""
        if not data.strip():
            raise DataError("the file is empty", where=str(self.path))
        lines = lines_of(data, self.dialect.block_encoding)
        reader = csv.reader(lines, strict=True, **self.dialect.for_csv())
        try:
            names = next(reader)
        except csv.Error as error:
            raise DataError(f"no header: {in_words(error)}", where=f"{self.path}:{line}") from error
        if not names:
            raise DataError("a blank line in place of the header", where=f"{self.path}:{line}")
        for column, name in enumerate(names, start=1):
            if problem := no_text(name, self.dialect):
                raise DataError(problem[0], where=f"{self.path}:{line}:{column}", hint=problem[1])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"columns named twice: {', '.join(twice)}", where=f"{self.path}:{line}")
        end = end_of_line(data, reader.line_num)
        return names, data[end:], line + reader.line_num

    def _parse(
        self, data: bytes, line: int, columns: Sequence[str], faults: Faults
    ) -> tuple[TextPart, UnfinishedRowError | None]:
        """Read rows; the last of them may go on in the next piece."""
        frame = read_fast(data, columns, self.dialect)
        lines, unfinished = None, None
        if frame is None:
            frame, lines, unfinished = self._without_malformed(data, line, columns, faults)
        part = TextPart(frame=frame, table=self, data=data, first_line=line, lines=lines)
        return part, unfinished

    def _without_malformed(
        self, data: bytes, first_line: int, columns: Sequence[str], faults: Faults
    ) -> tuple[pl.DataFrame, list[int], UnfinishedRowError | None]:
        """Read rows one by one, leaving out the malformed; also return their lines."""
        rows: list[list[str]] = []
        lines: list[int] = []
        unfinished = None
        try:
            for line, row, problem in read_strictly(data, first_line, self.dialect):
                found = (problem, 1, "") if problem else problem_of(row, len(columns), self.dialect)
                if found:
                    what, column, hint = found
                    faults.add(what, where=f"{self.path}:{line}:{column}", hint=hint)
                else:
                    rows.append(row)
                    lines.append(line)
        except UnfinishedRowError as error:
            unfinished = error
        schema = dict.fromkeys(columns, pl.String)
        return pl.DataFrame(rows, schema=schema, orient="row"), lines, unfinished
