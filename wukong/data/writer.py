"""Writes prepared data piece by piece; what is left behind is complete or nothing.

T tasks. Everything goes into a hidden sibling of the folder, which is renamed at the end. Imports
neither torch nor polars.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from codesign.errors import DataError
from wukong.data.columns import (
    FORMAT_VERSION,
    MANIFEST,
    SPLITS,
    UNOBSERVED,
    LabelTask,
    SplitColumns,
    file_md5,
    map_columns,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from wukong.schema import InputSchema

# The task of a source that has one label only.
ONE_TASK: Mapping[str, float] = {"label": 1.0}


class PreparedWriter:
    """Takes columns split by split, piece by piece, in a `with` statement.

    Leaving it without `finish` removes what was written. Where another process was first, its
    folder stays.

    Args:
        folder: to be made; it must not be there yet, or be a prepared data set.
        tasks: name → weight of its loss, in the order of `labels`; the schema gets these names.
        first_wins: the folder's name says what is in it, so that one that another process made
            meanwhile is as good; else it is refused.
    """

    def __init__(
        self, folder: Path, tasks: Mapping[str, float], *, first_wins: bool = True
    ) -> None:
        # Not below /tmp: a rename is atomic only within one file system.
        self._unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        self._folder, self._tasks, self._first_wins = folder, tasks, first_wins
        self._files: dict[str, dict[str, _GrowingArray]] = {split: {} for split in SPLITS}
        self._rows = dict.fromkeys(SPLITS, 0)
        # Sums of weights; without weights they are counts, exact to 2^53.
        self._observed_T = np.zeros(len(tasks))
        self._positive_T = np.zeros(len(tasks))

    def __enter__(self) -> Self:
        """Make the hidden folder.

        Raises:
            DataError: where the file system refuses.
        """
        try:
            for split in SPLITS:
                (self._unfinished / split).mkdir(parents=True)
        except OSError as error:
            raise self._refused(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for files in self._files.values():
            for file in files.values():
                file.close()
        shutil.rmtree(self._unfinished, ignore_errors=True)
        if isinstance(error, OSError):
            raise self._refused(error) from error

    def path(self, name: str) -> Path:
        """Return where a further file of the folder is to be written, its folder made."""
        path = self._unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def append(self, split: str, columns: SplitColumns) -> None:
        """Add rows to a split."""
        files = self._files[split]
        for name, array in columns.arrays().items():
            offsets = name.endswith("_offsets")
            if name not in files:
                files[name] = _GrowingArray(self._unfinished / split / f"{name}.npy", array)
                if offsets:
                    files[name].append(np.zeros(1, dtype=np.int64))
            files[name].append(array[1:] + files[name].last if offsets else array)
        self._rows[split] += len(columns)
        if split == "train":
            labels, weight = columns.labels, columns.weight
            weight_N1 = 1.0 if weight is None else weight[:, None].astype(np.float64)
            self._observed_T += (weight_N1 * (labels != UNOBSERVED)).sum(axis=0)
            self._positive_T += (weight_N1 * (labels == 1)).sum(axis=0)

    def columns(self) -> dict[str, SplitColumns]:
        """Map what was appended, without groups; nothing may be appended afterwards.

        Raises:
            DataError: where a split has no rows.
        """
        for split, rows in self._rows.items():
            if not rows:
                raise DataError(f"no row belongs to {split}", hint="check the rule of the split")
            for file in self._files[split].values():
                file.close()
        bags = sum(name.endswith("_offsets") for name in self._files["train"])
        extra = [name for name in ("weight",) if name in self._files["train"]]
        return {
            split: map_columns(self._unfinished, split, bags=bags, extra=extra) for split in SPLITS
        }

    def finish(
        self,
        *,
        name: str,
        schema: InputSchema,
        split_rule: str,
        source_md5: Mapping[str, str],
        notes: tuple[str, ...],
        facts: Mapping[str, Any],
        vocabularies: Mapping[str, str],
    ) -> None:
        """Close the files, write the manifest, and rename the folder into place.

        Raises:
            DataError: where the file system refuses, a split has no rows, or the folder is there
                and the first does not win.
        """
        self.columns()
        observed_T = np.where(self._observed_T > 0, self._observed_T, 1.0)
        rate_T = self._positive_T / observed_T
        tasks = [
            LabelTask(name=task, weight=weight, base_rate=float(rate))
            for (task, weight), rate in zip(self._tasks.items(), rate_T, strict=True)
        ]
        files = sorted(path for path in self._unfinished.rglob("*") if path.is_file())
        manifest = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "schema": replace(schema, tasks=tuple(self._tasks)).to_json(),
            "row_counts": self._rows,
            "tasks": [vars(task) for task in tasks],
            "split_rule": split_rule,
            "source_md5": dict(source_md5),
            "vocabularies": dict(vocabularies),
            "checksums": {
                path.relative_to(self._unfinished).as_posix(): file_md5(path) for path in files
            },
            "notes": list(notes),
            "facts": dict(facts),
        }
        self.path(MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        self._rename_unless_there()

    def _rename_unless_there(self) -> None:
        try:
            self._unfinished.rename(self._folder)
        except OSError as error:
            # A folder that is there is never replaced: other processes may have it mapped.
            if not self._first_wins and self._folder.exists():
                raise there_already(self._folder) from error
            if not (self._folder / MANIFEST).exists():
                raise

    def _refused(self, error: OSError) -> DataError:
        return DataError(
            f"prepared data cannot be written: {error}",
            where=str(self._folder),
            hint="free some space, or choose another folder",
        )


def there_already(folder: Path) -> DataError:
    """Make the error for a folder that must not be there yet."""
    return DataError(
        "is there already", where=str(folder), hint="delete it, or choose another folder"
    )


class _GrowingArray:
    """A `.npy` file to which rows are appended; its header is right once it is closed."""

    def __init__(self, path: Path, like: NDArray[Any]) -> None:
        self._file = path.open("wb")
        self._dtype, self._row_shape = like.dtype, like.shape[1:]
        self._rows = 0
        # The last number appended: where the next piece of offsets goes on from.
        self.last = 0
        self._write_header()
        self._header_bytes = self._file.tell()

    def append(self, array: NDArray[Any]) -> None:
        if array.dtype != self._dtype or array.shape[1:] != self._row_shape:
            raise ValueError(
                f"{array.dtype} {array.shape[1:]} appended to {self._dtype} {self._row_shape}"
            )
        self._file.write(np.ascontiguousarray(array).data)
        self._rows += len(array)
        if array.ndim == 1 and len(array):
            self.last = array[-1]

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._header_bytes:
            raise ValueError(f"the header of {self._file.name} has outgrown its place")
        self._file.close()

    def _write_header(self) -> None:
        # NumPy leaves room in the header for the number of rows to grow.
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._row_shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)
