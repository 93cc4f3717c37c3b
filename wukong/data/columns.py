"""The columns of one split, their files, and what else reading and writing them share.

T tasks, F1 one-hot features, D dense features. Imports neither torch nor polars.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

# Raised whenever the same source files would give other columns or another manifest.
FORMAT_VERSION = 2
SPLITS = ("train", "validation", "test")
# Stands in `labels` where a task's label was not observed.
UNOBSERVED = 255
MANIFEST = "manifest.json"
# Rows that `SplitColumns.blocks` takes into memory at a time.
BLOCK_ROWS = 1 << 18
_PREPARE_AGAIN = "delete this folder and prepare the data again"


# A number beyond this may become infinite as float32.
MOST_FLOAT32 = 3.4e38


@dataclass(frozen=True, kw_only=True)
class SplitColumns:
    """The columns of one split: arrays in memory, or whole files that are mapped.

    Attributes:
        one_hot: int32 (rows, F1), ids in schema order; 0 stands for a value unseen in train.
        bag_values: for each multi-hot feature int32 (ids of all rows,), row by row; the ids of a
            sequence stand in its order, the most recent last.
        bag_offsets: for each multi-hot feature int64 (rows + 1,): row r owns the ids from
            `offsets[r]` up to but without `offsets[r + 1]`.
        dense: float32 (rows, D), transformed with the statistics of train.
        labels: uint8 (rows, T), 0, 1, or UNOBSERVED.
        weight: float32 (rows,), what a row counts in the loss, ≥ 0; None: all count the same.
        group: int64 (rows,), rows of one group share a number; None: the data has no groups.
    """

    one_hot: NDArray[np.int32]
    bag_values: tuple[NDArray[np.int32], ...]
    bag_offsets: tuple[NDArray[np.int64], ...]
    dense: NDArray[np.float32]
    labels: NDArray[np.uint8]
    weight: NDArray[np.float32] | None = None
    group: NDArray[np.int64] | None = None

    @property
    def label(self) -> NDArray[np.uint8]:
        """Labels of the first task, uint8 (rows,)."""
        return self.labels[:, 0]

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays under the names of their files, without `.npy`."""
        named: dict[str, NDArray[Any]] = {
            "one_hot": self.one_hot,
            "dense": self.dense,
            "labels": self.labels,
        }
        if self.weight is not None:
            named["weight"] = self.weight
        if self.group is not None:
            named["group"] = self.group
        for i, (values, offsets) in enumerate(zip(self.bag_values, self.bag_offsets, strict=True)):
            named |= {f"bag_{i}_values": values, f"bag_{i}_offsets": offsets}
        return named

    def blocks(
        self, most_rows: int
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32] | None]]:
        """Yield ids (rows, F1), labels (rows, T) and weights of the first `most_rows` rows, copied.

        Files are mapped anew for each block: a map that lives on counts as memory of the process.
        """
        for start in range(0, min(len(self), most_rows), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, most_rows))
            weight = None if self.weight is None else _copied(self.weight, rows)
            yield _copied(self.one_hot, rows), _copied(self.labels, rows), weight


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """One column of `labels`.

    Attributes:
        weight: of the task's loss among all tasks.
        base_rate: share of positive labels among those observed in train, by weight where the
            examples have weights.
    """

    name: str
    weight: float = 1.0
    base_rate: float


def deviation_or_one(
    mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what to divide by: 1 where a deviation is no more than the rounding of its mean."""
    noise = 1e-9 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return np.where(deviation > noise, deviation, 1.0)


def map_columns(folder: Path, split: str, *, bags: int, extra: Iterable[str] = ()) -> SplitColumns:
    """Map the files of a split; `extra` names those that not every prepared folder has.

    Raises:
        DataError: where a file is missing or broken.
    """
    return SplitColumns(
        one_hot=load_column(folder, split, "one_hot"),
        bag_values=tuple(load_column(folder, split, f"bag_{i}_values") for i in range(bags)),
        bag_offsets=tuple(load_column(folder, split, f"bag_{i}_offsets") for i in range(bags)),
        dense=load_column(folder, split, "dense"),
        labels=load_column(folder, split, "labels"),
        **{name: load_column(folder, split, name) for name in extra},
    )


def load_column(folder: Path, split: str, name: str) -> NDArray[Any]:
    """Map one file of a split.

    Raises:
        DataError: where it is missing or broken.
    """
    try:
        array: NDArray[Any] = np.load(folder / split / f"{name}.npy", mmap_mode="c")
    except (OSError, ValueError) as error:
        raise broken(folder, f"{split}/{name}.npy does not load: {error}") from error
    return array


def file_md5(path: Path) -> str:
    """Return the md5 of a file's content, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def broken(folder: Path, what: str) -> DataError:
    """Make the error for a prepared folder that cannot be used."""
    return DataError(what, where=str(folder), hint=_PREPARE_AGAIN)


def _copied(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    if isinstance(array, np.memmap):
        array = np.load(str(array.filename), mmap_mode="r")
    return np.array(array[rows])
