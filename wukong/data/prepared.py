"""Prepared data: a folder of memory-mapped columns with a manifest, complete or absent.

F1 one-hot features, D dense features. A folder holds `manifest.json` and one folder per split with
`one_hot.npy`, `dense.npy`, `label.npy` and, for the i-th multi-hot feature, `bag_i_values.npy` and
`bag_i_offsets.npy`. Imports neither torch nor polars.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import ConfigError, DataError
from wukong.schema import InputSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Raised whenever the same source files would give other columns or another manifest.
FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")
_MANIFEST = "manifest.json"
_PREPARE_AGAIN = "delete this folder and prepare the data again"


@dataclass(frozen=True, kw_only=True)
class SplitColumns:
    """The columns of one split.

    Attributes:
        one_hot: int32 (rows, F1), ids in schema order; 0 stands for a value unseen in train.
        bag_values: for each multi-hot feature int32 (ids of all rows,), row by row.
        bag_offsets: for each multi-hot feature int64 (rows + 1,): row r owns the ids from
            `offsets[r]` up to but without `offsets[r + 1]`.
        dense: float32 (rows, D), standardised with the statistics of train; missing is 0.
        label: uint8 (rows,), 0 or 1.
    """

    one_hot: NDArray[np.int32]
    bag_values: tuple[NDArray[np.int32], ...]
    bag_offsets: tuple[NDArray[np.int64], ...]
    dense: NDArray[np.float32]
    label: NDArray[np.uint8]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays under the names of their files, without `.npy`."""
        named: dict[str, NDArray[Any]] = {
            "one_hot": self.one_hot,
            "dense": self.dense,
            "label": self.label,
        }
        for i, (values, offsets) in enumerate(zip(self.bag_values, self.bag_offsets, strict=True)):
            named |= {f"bag_{i}_values": values, f"bag_{i}_offsets": offsets}
        return named


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A prepared data set.

    Attributes:
        name: the source it was prepared from.
        row_counts: rows of each split.
        base_rate: share of positive labels in train.
        split_rule: how the rows were split, in words.
        source_md5: file name → md5 of the files it was made from.
        notes: what else a reader of results should know.
        facts: figures about the data, plain JSON values (see `wukong.data.baselines`).
        held: what a long-lived process keeps with the data (the loader's tensors).
    """

    folder: Path
    name: str
    schema: InputSchema
    row_counts: Mapping[str, int]
    base_rate: float
    split_rule: str
    source_md5: Mapping[str, str]
    notes: tuple[str, ...]
    facts: Mapping[str, Any]
    held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def rows(self, split: str) -> int:
        """Count the rows of `split`.

        Raises:
            ConfigError: where there is no such split.
        """
        if split not in self.row_counts:
            raise ConfigError(f"no split {split!r}; must be one of {', '.join(self.row_counts)}")
        return self.row_counts[split]

    def columns(self, split: str) -> SplitColumns:
        """Map the columns of `split` into memory; writing to them changes no file.

        Raises:
            ConfigError: where there is no such split.
            DataError: where a file is missing or broken.
        """
        rows = self.rows(split)
        bags = range(len(self.schema.multi_hot))
        columns = SplitColumns(
            one_hot=self._load(split, "one_hot"),
            bag_values=tuple(self._load(split, f"bag_{i}_values") for i in bags),
            bag_offsets=tuple(self._load(split, f"bag_{i}_offsets") for i in bags),
            dense=self._load(split, "dense"),
            label=self._load(split, "label"),
        )
        expected = {
            "one_hot": (rows, len(self.schema.one_hot)),
            "dense": (rows, len(self.schema.dense)),
            "label": (rows,),
        } | {f"bag_{i}_offsets": (rows + 1,) for i in bags}
        arrays = columns.arrays()
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise self._broken(
                    f"{split}/{name}.npy has shape {arrays[name].shape}, not {shape}"
                )
        return columns

    def _load(self, split: str, name: str) -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(self.folder / split / f"{name}.npy", mmap_mode="c")
        except (OSError, ValueError) as error:
            raise self._broken(f"{split}/{name}.npy does not load: {error}") from error
        return array

    def _broken(self, what: str) -> DataError:
        return DataError(what, where=str(self.folder), hint=_PREPARE_AGAIN)


def open_prepared(folder: str | Path) -> PreparedData:
    """Open a folder that `write_prepared` has made.

    Raises:
        DataError: where it is absent, broken or of another format version.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        version = manifest.pop("format_version")
        if version == FORMAT_VERSION:
            manifest["schema"] = InputSchema.from_json(manifest["schema"])
            manifest["notes"] = tuple(manifest["notes"])
            return PreparedData(folder=folder, **manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"not a prepared data set: {_MANIFEST} does not load ({error!r})",
            where=str(folder),
            hint=_PREPARE_AGAIN,
        ) from error
    raise DataError(
        f"prepared in format {version}; this version reads format {FORMAT_VERSION}",
        where=str(folder),
        hint=_PREPARE_AGAIN,
    )


def write_prepared(
    folder: Path,
    *,
    name: str,
    schema: InputSchema,
    columns: Mapping[str, SplitColumns],
    split_rule: str,
    source_md5: Mapping[str, str],
    notes: tuple[str, ...],
    facts: Mapping[str, Any],
) -> PreparedData:
    """Write a prepared data set so that `folder` is either complete or absent, and open it.

    Everything goes into a hidden sibling, renamed at the end. Where another process was first, its
    folder stays and is opened: both were made from the same source.

    Raises:
        DataError: where the file system refuses.
    """
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "schema": schema.to_json(),
        "row_counts": {split: len(columns[split].label) for split in SPLITS},
        "base_rate": float(columns["train"].label.mean()),
        "split_rule": split_rule,
        "source_md5": dict(source_md5),
        "notes": list(notes),
        "facts": dict(facts),
    }
    # Not below /tmp: a rename is atomic only within one file system.
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        unfinished.mkdir(parents=True)
        for split in SPLITS:
            (unfinished / split).mkdir()
            for file, array in columns[split].arrays().items():
                np.save(unfinished / split / f"{file}.npy", array, allow_pickle=False)
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _rename_unless_there(unfinished, folder)
    except OSError as error:
        raise DataError(
            f"prepared data cannot be written: {error}",
            where=str(folder),
            hint="free some space, or choose another cache folder",
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return open_prepared(folder)


def file_md5(path: Path) -> str:
    """Return the md5 of a file's content, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _rename_unless_there(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        # A folder that is there is never replaced: other processes may have it mapped.
        if not (folder / _MANIFEST).exists():
            raise
