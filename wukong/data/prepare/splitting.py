"""Which rows are train, validation and test. N rows of a piece, R rows of all files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import DataError
from wukong.data.columns import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from wukong.data.prepare.rows import Rows
    from wukong.data.prepare.split_rule import Split

TRAIN, VALIDATION, TEST = range(3)


class Splitter:
    """Assigns rows, piece by piece, in the order of the files; made anew for each reading.

    Args:
        cuts: for a split by time, the last times of train and validation.
    """

    def __init__(self, split: Split, cuts: tuple[float, float] | None = None) -> None:
        self._split, self._cuts = split, cuts
        self._rng = np.random.default_rng(split.seed)

    def codes(self, rows: Rows, part: str) -> NDArray[np.int8]:
        """Return the split of each row as its place in `SPLITS`, int8 (N,).

        Args:
            part: the entry of the description's `files` that the rows come from.
        """
        split = self._split
        if split.by == "files":
            codes = np.full(len(rows), SPLITS.index(part), dtype=np.int8)
            if part == split.validation_of:
                drawn = self._rng.random(len(rows)) < split.validation_share
                codes[drawn] = VALIDATION
            return codes
        if split.by == "random":
            bounds = np.cumsum(split.shares)[:-1]
            drawn_N = self._rng.random(len(rows))
            return np.searchsorted(bounds, drawn_N, side="right").astype(np.int8)
        key_N = rows.split_key
        if key_N is None:
            raise ValueError("rows were read without the column of the split")
        if split.by == "column":
            return key_N.astype(np.int8)
        if split.starts:
            return np.searchsorted(split.starts, key_N, side="right").astype(np.int8)
        return np.searchsorted(self._cuts or (), key_N, side="left").astype(np.int8)


def time_cuts(split: Split, times: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """Find the last times of train and validation, so that each holds at least its share.

    Rows of one time stay together. Keeps one count per distinct time in memory.

    Args:
        times: of all rows, piece by piece, int64 or float64; whole numbers are compared as such.

    Raises:
        DataError: where there are no rows.
    """
    distinct: NDArray[Any] = np.empty(0, dtype=np.int64)
    counts = np.empty(0, dtype=np.int64)
    for piece in times:
        times_here, counts_here = np.unique(piece, return_counts=True)
        merged, places = np.unique(np.concatenate([distinct, times_here]), return_inverse=True)
        weights = np.concatenate([counts, counts_here])
        distinct, counts = merged, np.bincount(places, weights=weights).astype(np.int64)
    if not len(counts):
        raise DataError("no well-formed row is left", hint="check the column of the time")
    before_R = np.cumsum(counts)
    shares = np.cumsum(split.shares)[:-1]
    # A hair less, so that shares such as 0.7 + 0.2 of 10 rows mean 9 rows.
    wanted = np.ceil(shares * before_R[-1] - 1e-9)
    last = np.searchsorted(before_R, wanted)
    return distinct[last[0]].item(), distinct[last[1]].item()


def rule_in_words(split: Split, cuts: tuple[float, float] | None) -> str:
    """Describe the rule for people who read results."""
    shares = ":".join(f"{share:g}" for share in split.shares)
    if split.by == "random":
        return f"random, each row drawn by itself with shares {shares} (seed {split.seed})"
    if split.by == "column":
        return f"by the column {split.column}"
    if split.by == "time":
        if split.starts:
            first, second = map(_time_in_words, split.starts)
            return f"by {split.column}: validation from {first}, test from {second}"
        first, second = map(_time_in_words, cuts or ())
        return (
            f"by {split.column}, shares {shares}: train up to {first}, validation up to {second}; "
            "rows of one time stay together"
        )
    if split.validation_of:
        return (
            f"as given; validation is {split.validation_share:g} of {split.validation_of}, "
            f"each row drawn by itself (seed {split.seed})"
        )
    return "as given"


def _time_in_words(time: float) -> str:
    return str(time) if isinstance(time, int) else f"{time:.15g}"
