"""Pieces of a table with every field checked; what is malformed is reported and left out.

N rows, T tasks, D dense columns. Imports polars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from wukong.data.columns import MOST_FLOAT32, SPLITS, UNOBSERVED
from wukong.data.prepare.text import SHOWN_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wukong.data.prepare.description import Column, Description
    from wukong.data.prepare.faults import Faults
    from wukong.data.prepare.tables import Part

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Well-formed rows.

    Attributes:
        frame: all that was read.
        labels: uint8 (N, T), 0, 1 or UNOBSERVED.
        dense_ND: float64 (N, D), NaN where missing.
        weight: float32 (N,), or None.
        split_key: what the rule of the split looks at, (N,), or None.
    """

    frame: pl.DataFrame
    labels: NDArray[np.uint8]
    dense_ND: NDArray[np.float64]
    weight: NDArray[np.float32] | None
    split_key: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.labels)

    def filter(self, chosen: Mask) -> Rows:
        """Return some of the rows, in order."""
        if chosen.all():
            return self
        return Rows(
            frame=self.frame.filter(pl.Series(chosen)),
            labels=self.labels[chosen],
            dense_ND=self.dense_ND[chosen],
            weight=None if self.weight is None else self.weight[chosen],
            split_key=None if self.split_key is None else self.split_key[chosen],
        )


def needed_columns(description: Description) -> list[str]:
    """Name the columns of the files that a description refers to."""
    names = [column.source for column in description.columns]
    names += [column.mask for column in description.columns if column.mask]
    names += [description.split.column] if description.split.column else []
    return list(dict.fromkeys(names))


def checked_rows(description: Description, part: Part, faults: Faults) -> Rows:
    """Check and convert the fields of a piece.

    Raises:
        DataError: where there are more malformed rows than may be left out.
    """
    frame, split = part.frame, description.split
    checks = _Checks(part)
    labels = [checks.label(column) for column in description.of_type("label")]
    dense = [checks.dense(c.source, description.missing) for c in description.of_type("dense")]
    for column in description.of_type("vector"):
        checks.whole(column.source)
    weights = [checks.not_negative(column.source) for column in description.of_type("weight")]
    split_key: NDArray[Any] | None = None
    if split.by == "time":
        split_key = checks.number(split.column)
    elif split.by == "column":
        split_key = checks.one_of(split.column, split.values)
    # What overflows here is in a row that is left out.
    with np.errstate(over="ignore"):
        weight = weights[0].astype(np.float32) if weights else None
    rows = Rows(
        frame=frame,
        labels=np.stack(labels, axis=1),
        dense_ND=np.stack(dense, axis=1) if dense else np.empty((len(frame), 0)),
        weight=weight,
        split_key=split_key,
    )
    return rows.filter(checks.report(faults))


def as_text(frame: pl.DataFrame, column: str) -> pl.Series:
    """Return a column as strings, null as the empty string."""
    return frame[column].cast(pl.String).fill_null("")


class _Checks:
    """Converts columns of one piece and remembers which fields are malformed."""

    def __init__(self, part: Part) -> None:
        self._part, self._frame = part, part.frame
        # Column and what it must hold, with the rows that hold something else.
        self._bad: list[tuple[str, str, Mask]] = []

    def report(self, faults: Faults) -> Mask:
        """Report malformed rows by their first malformed column; return which are not."""
        good = np.ones(len(self._frame), dtype=np.bool_)
        for _, _, bad in self._bad:
            good &= ~bad
        for row in np.flatnonzero(~good):
            column, expected, _ = next(entry for entry in self._bad if entry[2][row])
            shown = repr(self._frame[column][int(row)])
            if len(shown) > SHOWN_CHARACTERS:
                shown = f"{shown[:SHOWN_CHARACTERS]}…"
            where = self._part.where(int(row), column)
            faults.add(f"{column} is {shown}; must be {expected}", where=where)
        return good

    def label(self, column: Column) -> NDArray[np.uint8]:
        values = self._mapped(
            column.source, lambda text: _label(text, column), _label_words(column)
        )
        if column.mask:
            observed = self._mapped(column.mask, _truth, "0 or 1")
            values = np.where(observed == 1, values, UNOBSERVED).astype(np.uint8)
        return values

    def dense(self, column: str, missing: tuple[str, ...]) -> NDArray[np.float64]:
        values, known = self._numbers(column, missing)
        self._note(
            column,
            f"a finite number of at most {MOST_FLOAT32:g} "
            "(`missing` of the description lists what stands for none)",
            known & ~(np.abs(values) <= MOST_FLOAT32),
        )
        return values

    def number(self, column: str) -> NDArray[np.float64]:
        values, _ = self._numbers(column, ())
        self._note(column, "a finite number", ~np.isfinite(values))
        return values

    def not_negative(self, column: str) -> NDArray[np.float64]:
        values, _ = self._numbers(column, ())
        in_range = (values >= 0) & (values <= MOST_FLOAT32)
        self._note(column, f"a number ≥ 0, of at most {MOST_FLOAT32:g}", ~in_range)
        return values

    def whole(self, column: str) -> None:
        values, _ = self._numbers(column, ())
        self._note(column, "a whole number ≥ 0", ~((values >= 0) & (np.mod(values, 1) == 0)))

    def one_of(self, column: str, values: Mapping[str, tuple[str, ...]]) -> NDArray[np.uint8]:
        code = {value: SPLITS.index(name) for name, texts in values.items() for value in texts}
        return self._mapped(column, code.get, f"one of {', '.join(code)}")

    def _note(self, column: str, expected: str, bad: Mask) -> None:
        if bad.any():
            self._bad.append((column, expected, bad))

    def _numbers(self, column: str, missing: tuple[str, ...]) -> tuple[NDArray[np.float64], Mask]:
        """Return numbers, NaN where there is none, and which fields do not stand for none."""
        raw = self._frame[column]
        # A string that is no number becomes null and so NaN, which the caller takes for malformed.
        values = raw.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
        if raw.dtype == pl.String:
            known = ~raw.is_in(pl.Series(missing, dtype=pl.String).implode())
        else:
            known = raw.is_not_null() if missing else pl.repeat(True, len(raw), eager=True)
            if "nan" in {text.lower() for text in missing} and raw.dtype.is_float():
                known &= ~raw.is_nan().fill_null(True)
        return np.where(known.fill_null(False), values, np.nan), known.fill_null(False).to_numpy()

    def _mapped(self, column: str, code: Any, expected: str) -> NDArray[np.uint8]:
        """Map each text by `code`, which gives None for a malformed one."""
        text = as_text(self._frame, column)
        unique = text.unique()
        codes = pl.Series([code(value) for value in unique], dtype=pl.UInt8)
        mapped = text.replace_strict(unique, codes, return_dtype=pl.UInt8)
        self._note(column, expected, mapped.is_null().to_numpy())
        return mapped.fill_null(0).to_numpy()


def _label(text: str, column: Column) -> int | None:
    """Return 0, 1 or UNOBSERVED; None for a malformed label."""
    if text in column.unobserved:
        return UNOBSERVED
    number = _number(text)
    if column.at_least is not None:
        return None if number is None else int(number >= column.at_least)
    for value, texts in ((1, column.positive), (0, column.negative)):
        for one in texts:
            same = text.lower() == one.lower() if number is None else number == _number(one)
            if same:
                return value
    return None


def _label_words(column: Column) -> str:
    if column.at_least is not None:
        return "a number"
    return " or ".join((*column.positive, *column.negative, *column.unobserved))


def _truth(text: str) -> int | None:
    number = _number({"true": "1", "false": "0"}.get(text.lower(), text))
    return int(number) if number in (0, 1) else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
