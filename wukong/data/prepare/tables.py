"""Files of every format as pieces of a table: CSV, TSV, libsvm, Parquet. Imports polars."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl

from codesign.errors import DataError
from wukong.data.prepare.text import TextPart, TextTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wukong.data.prepare.description import Description
    from wukong.data.prepare.faults import Faults

# Rows of a Parquet file read at a time.
PARQUET_ROWS = 1 << 17
# Separates the columns of libsvm lines while these are one column: no such file holds it.
_UNIT_SEPARATOR = "\x1f"
_LIBSVM_PAIR = r"^([0-9]+|qid):([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)$"


class Part(Protocol):
    """Some rows of a file, in order."""

    @property
    def frame(self) -> pl.DataFrame:
        """The columns, as strings or as the file has them."""

    def where(self, row: int, column: str) -> str:
        """Name the place of a field."""


def read_parts(
    description: Description, path: Path, columns: Sequence[str], faults: Faults
) -> Iterator[Part]:
    """Read the file in pieces that hold at least `columns`.

    Raises:
        DataError: where a column is missing, the file is malformed, or it has more malformed rows
            than may be left out.
    """
    if description.format == "parquet":
        return _parquet(path, columns)
    if description.format == "libsvm":
        return _libsvm(path, columns, faults)
    table = TextTable(
        path=path,
        separator=description.separator,
        quote=description.quote,
        names=description.names or None,
        encoding=description.encoding,
    )
    _require(columns, table.header(), f"{path}:1")
    return table.parts(faults)


def _require(columns: Sequence[str], found: Sequence[str], where: str) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=1)
        raise DataError(
            f"no column {', '.join(missing)}; the file has {', '.join(found)}",
            where=where,
            hint=f"did you mean {near[0]!r}?" if near else "mend the description",
        )


@dataclass(frozen=True, kw_only=True)
class _ParquetPart:
    frame: pl.DataFrame
    path: Path
    first_row: int

    def where(self, row: int, column: str) -> str:
        """Name row (from 1) and column."""
        return f"{self.path}:row {self.first_row + row + 1}:{column}"


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[_ParquetPart]:
    try:
        lazy = pl.scan_parquet(path, glob=False)
        _require(columns, lazy.collect_schema().names(), str(path))
        rows = lazy.select(pl.len()).collect().item()
        for start in range(0, rows, PARQUET_ROWS):
            frame = lazy.select(columns).slice(start, PARQUET_ROWS).collect()
            yield _ParquetPart(frame=frame, path=path, first_row=start)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot be read: {reason}", where=str(path)) from error
    if not rows:
        raise DataError("no rows", where=str(path))


@dataclass(frozen=True, kw_only=True)
class _LibsvmPart:
    frame: pl.DataFrame
    text: TextPart
    rows: pl.Series

    def where(self, row: int, column: str) -> str:
        """Name the line; the place within it is not known."""
        line = self.text.where(self.rows[row], "line").rpartition(":")[0]
        return f"{line}:1" if column == "label" else line


def _libsvm(path: Path, columns: Sequence[str], faults: Faults) -> Iterator[_LibsvmPart]:
    """Read lines of `label index:value …`, where what is left out is 0.

    The columns are `label`, `qid`, `indices` (a list of all whose value is not 0) and, for every
    index among `columns`, its value.
    """
    indices = [name for name in columns if name not in ("label", "qid", "indices")]
    wrong = [name for name in indices if not name.isdigit()]
    if wrong:
        raise DataError(
            f"no column {', '.join(wrong)}; a libsvm file has label, qid, indices, and numbers",
            where=str(path),
        )
    table = TextTable(path=path, separator=_UNIT_SEPARATOR, quote=None, names=("line",))
    for text in table.parts(faults):
        tokens = (
            text.frame.with_row_index("row")
            .select(
                "row",
                # What follows # is a comment.
                token=pl.col("line").str.replace("#.*", "").str.extract_all(r"\S+"),
            )
            .with_columns(pl.col("token").list.first().alias("label"))
        )
        pairs = (
            tokens.with_columns(pl.col("token").list.slice(1))
            .explode("token", empty_as_null=False)
            .select(
                "row",
                "token",
                pl.col("token").str.extract(_LIBSVM_PAIR, 1).alias("index"),
                pl.col("token").str.extract(_LIBSVM_PAIR, 2).alias("value"),
            )
        )
        good = _well_formed(tokens, pairs, text, faults)
        frame = _libsvm_columns(tokens.filter(good), pairs, columns, indices)
        yield _LibsvmPart(frame=frame.drop("row"), text=text, rows=frame["row"])


def _well_formed(
    tokens: pl.DataFrame, pairs: pl.DataFrame, text: TextPart, faults: Faults
) -> pl.Series:
    """Report malformed lines; return which are well formed."""
    bad = pairs.filter(pl.col("index").is_null()).unique("row", keep="first", maintain_order=True)
    problems = {
        row: f"{token!r} is not index:number" for row, token in bad.select("row", "token").rows()
    }
    empty = tokens.filter(pl.col("label").is_null())["row"]
    problems |= dict.fromkeys(empty, "a blank line")
    for row in sorted(problems):
        faults.add(problems[row], where=text.where(row, "line").rpartition(":")[0])
    return ~tokens["row"].is_in(pl.Series(list(problems), dtype=tokens.schema["row"]).implode())


def _libsvm_columns(
    rows: pl.DataFrame, pairs: pl.DataFrame, columns: Sequence[str], indices: Sequence[str]
) -> pl.DataFrame:
    frame = rows.select("row", "label")
    numbered = pairs.filter(pl.col("index") != "qid")
    if "indices" in columns:
        present = numbered.filter(pl.col("value").cast(pl.Float64) != 0)
        bags = present.group_by("row", maintain_order=True).agg(pl.col("index").alias("indices"))
        frame = frame.join(bags, on="row", how="left", maintain_order="left")
    for name in ("qid", *indices):
        if name in columns:
            one = pairs.filter(pl.col("index") == name).unique("row", keep="last")
            values = one.select("row", pl.col("value").alias(name))
            frame = frame.join(values, on="row", how="left", maintain_order="left")
            frame = frame.with_columns(pl.col(name).fill_null("0"))
    return frame
