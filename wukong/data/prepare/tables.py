"""Files of every format as pieces of a table: CSV, TSV, libsvm, Parquet. Imports polars."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl

from codesign.errors import DataError
from wukong.data.prepare.text import TextPart, TextTable
from wukong.data.prepare.text_blocks import Dialect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from wukong.data.prepare.description import Description
    from wukong.data.prepare.faults import Faults

# Rows of a Parquet file read at a time.
PARQUET_ROWS = 1 << 17
# Characters of a file's columns that a message lists.
LISTED_CHARACTERS = 1000
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
        return _parquet(path, columns, _single_valued(description))
    if description.format == "libsvm":
        return _libsvm(path, columns, faults)
    table = TextTable(path=path, dialect=description.dialect, names=description.names or None)
    _require(columns, table.header(), f"{path}:1")
    return table.parts(faults)


def _require(columns: Sequence[str], found: Sequence[str], where: str) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=1)
        raise DataError(
            f"no column {', '.join(missing)}; the file has {_listed(found)}",
            where=where,
            hint=f"did you mean {near[0]!r}?" if near else "mend the description",
        )


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= LISTED_CHARACTERS else f"{text[:LISTED_CHARACTERS]}…"


@dataclass(frozen=True, kw_only=True)
class _ParquetPart:
    frame: pl.DataFrame
    path: Path
    first_row: int

    def where(self, row: int, column: str) -> str:
        """Name row (from 1) and column."""
        return f"{self.path}:row {self.first_row + row + 1}:{column}"


def _single_valued(description: Description) -> set[str]:
    """Name the columns of the files that must hold one value a row."""
    bags = description.of_type("multi_hot", "sequence")
    names = {column.source for column in description.columns if column not in bags}
    return names | {c.mask for c in description.columns} | {description.split.column}


def _parquet(path: Path, columns: Sequence[str], single: set[str]) -> Iterator[_ParquetPart]:
    """Read some columns; bytes are taken for UTF-8, as older writers mark no text."""
    try:
        lazy = pl.scan_parquet(path, glob=False)
        schema = lazy.collect_schema()
        _require(columns, schema.names(), str(path))
        _require_types({name: schema[name] for name in columns}, single, path)
        binary = [name for name in columns if schema[name] == pl.Binary]
        lazy = lazy.with_columns(pl.col(binary).cast(pl.String))
        rows = lazy.select(pl.len()).collect().item()
        for start in range(0, rows, PARQUET_ROWS):
            frame = lazy.select(columns).slice(start, PARQUET_ROWS).collect()
            yield _ParquetPart(frame=frame, path=path, first_row=start)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot be read: {reason}", where=str(path)) from error
    if not rows:
        raise DataError("no rows", where=str(path))


def _require_types(schema: Mapping[str, pl.DataType], single: set[str], path: Path) -> None:
    mistakes = []
    for name, dtype in schema.items():
        if isinstance(dtype, (pl.List, pl.Array)):
            bad = name in single or pl.Series(dtype=dtype.inner).dtype.is_nested()
        else:
            bad = dtype.is_nested()
        if bad:
            allowed = "numbers or texts" if name in single else "numbers, texts or lists of those"
            mistakes.append(f"{path}: {name} is {dtype}; must be {allowed}")
    if mistakes:
        raise DataError("\n".join(mistakes), hint="write the file with plain columns")


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
    wrong = [name for name in indices if not (name.isascii() and name.isdigit())]
    if wrong:
        raise DataError(
            f"no column {', '.join(wrong)}; a libsvm file has label, qid, indices, and numbers",
            where=str(path),
        )
    table = TextTable(
        path=path, dialect=Dialect(separator=_UNIT_SEPARATOR, quote=None), names=("line",)
    )
    for text in table.parts(faults):
        tokens, pairs = _tokens_and_pairs(text.frame)
        good = _well_formed(tokens, pairs, text, faults)
        frame = _libsvm_columns(tokens.filter(good), pairs, columns, indices)
        yield _LibsvmPart(frame=frame.drop("row"), text=text, rows=frame["row"])


def _tokens_and_pairs(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take lines apart: `row`, `token` (a list), `label`; and `row`, `token`, `index`, `value`.

    What follows # is a comment, and a line of nothing else is no row. The index 003 is 3.
    """
    tokens = (
        lines.with_row_index("row")
        .select("row", "line", token=pl.col("line").str.replace("#.*", "").str.extract_all(r"\S+"))
        .with_columns(pl.col("token").list.first().alias("label"))
        .filter(pl.col("label").is_not_null() | ~pl.col("line").str.contains("#"))
    )
    index = pl.col("token").str.extract(_LIBSVM_PAIR, 1).str.replace("^0+([0-9])", "$1")
    pairs = (
        tokens.with_columns(pl.col("token").list.slice(1))
        .explode("token", empty_as_null=False)
        .select(
            "row",
            "token",
            index.alias("index"),
            pl.col("token").str.extract(_LIBSVM_PAIR, 2).alias("value"),
        )
    )
    return tokens, pairs


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
            one = pairs.filter(pl.col("index") == _plain(name)).unique("row", keep="last")
            values = one.select("row", pl.col("value").alias(name))
            frame = frame.join(values, on="row", how="left", maintain_order="left")
            frame = frame.with_columns(pl.col(name).fill_null("0"))
    return frame


def _plain(index: str) -> str:
    """Write an index without leading zeros."""
    return str(int(index)) if index.isdigit() else index
