"""Prepared data: a folder of memory-mapped columns with a manifest, complete or absent.

T tasks, F1 one-hot features, D dense features. A folder holds `manifest.json`, one file of values
per vocabulary, and one folder per split with `one_hot.npy`, `dense.npy`, `labels.npy`, where the
data has them `weight.npy` and `group.npy`, and for the i-th multi-hot feature `bag_i_values.npy`
and `bag_i_offsets.npy`. `wukong.data.writer` makes it. Imports neither torch nor polars.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import ConfigError, DataError
from wukong.data.columns import (
    FORMAT_VERSION,
    MANIFEST,
    SPLITS,
    UNOBSERVED,
    LabelTask,
    SplitColumns,
    broken,
    file_md5,
    map_columns,
)
from wukong.data.share import Share, whole
from wukong.data.writer import ONE_TASK, PreparedWriter
from wukong.schema import InputSchema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wukong.data.batch import Batch

__all__ = [
    "FORMAT_VERSION",
    "SPLITS",
    "UNOBSERVED",
    "LabelTask",
    "PreparedData",
    "SplitColumns",
    "file_md5",
    "open_prepared",
    "write_prepared",
]


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A prepared data set.

    Attributes:
        name: the source it was prepared from.
        row_counts: rows of each split.
        tasks: what `labels` holds, in order; the schema has their names from here.
        split_rule: how the rows were split, in words.
        source_md5: file name → md5 of the files it was made from.
        vocabularies: categorical feature → the file of its values (id i is row i, from 1), or
            `hashed:BUCKETS`; features prepared by other means are not listed.
        checksums: file of this folder → its md5.
        notes: what else a reader of results should know.
        facts: figures about the data, plain JSON values (see `wukong.data.baselines`).
        held: what a long-lived process keeps with the data (the loader's tensors).
    """

    folder: Path
    name: str
    schema: InputSchema
    row_counts: Mapping[str, int]
    tasks: tuple[LabelTask, ...]
    split_rule: str
    source_md5: Mapping[str, str]
    vocabularies: Mapping[str, str]
    checksums: Mapping[str, str]
    notes: tuple[str, ...]
    facts: Mapping[str, Any]
    held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_groups(self) -> bool:
        """Whether every example belongs to a group."""
        return "train/group.npy" in self.checksums

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
        rows, bags = self.rows(split), range(len(self.schema.multi_hot))
        extra = [n for n in ("weight", "group") if f"{split}/{n}.npy" in self.checksums]
        columns = map_columns(self.folder, split, bags=len(bags), extra=extra)
        expected: dict[str, tuple[int, ...]] = {
            "one_hot": (rows, len(self.schema.one_hot)),
            "dense": (rows, len(self.schema.dense)),
            "labels": (rows, len(self.tasks)),
        }
        expected |= dict.fromkeys(extra, (rows,))
        expected |= {f"bag_{i}_offsets": (rows + 1,) for i in bags}
        arrays = columns.arrays()
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise broken(
                    self.folder, f"{split}/{name}.npy has shape {arrays[name].shape}, not {shape}"
                )
        return columns

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        pass_index: int = 0,
        first_batch: int = 0,
        share: Share = whole,
    ) -> Iterator[Batch]:
        """Yield the rows of `split` once: see `wukong.data.load.loader`, which needs torch."""
        from wukong.data.load import loader

        return loader.batches(
            self,
            split,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            pass_index=pass_index,
            first_batch=first_batch,
            share=share,
        )

    def check(self) -> None:
        """Compare every file with its checksum; takes as long as reading all of them.

        Raises:
            DataError: where a file is missing or has changed.
        """
        for name, expected in self.checksums.items():
            path = self.folder / name
            found = file_md5(path) if path.is_file() else "of no such file"
            if found != expected:
                raise broken(self.folder, f"{name} has md5 {found}, not {expected}")


def open_prepared(folder: str | Path) -> PreparedData:
    """Open a folder that `wukong.data.writer` has made.

    Raises:
        DataError: where it is absent, broken or of another format version.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest.pop("format_version")
        if version == FORMAT_VERSION:
            tasks = tuple(LabelTask(**task) for task in manifest["tasks"])
            names = [task.name for task in tasks]
            manifest["tasks"] = tasks
            manifest["schema"] = InputSchema.from_json({**manifest["schema"], "tasks": names})
            manifest["notes"] = tuple(manifest["notes"])
            manifest.pop("base_rate", None)  # of the first task, in older manifests
            return PreparedData(folder=folder, **manifest)
    except FileNotFoundError as error:
        raise DataError(
            f"not a prepared data set: there is no {MANIFEST}",
            where=str(folder),
            hint="give the folder that `codesign data prepare DESCRIPTION --out FOLDER` wrote",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise broken(
            folder, f"not a prepared data set: {MANIFEST} does not load ({error!r})"
        ) from error
    raise broken(
        folder, f"prepared in format {version}; this version reads format {FORMAT_VERSION}"
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
    tasks: Mapping[str, float] = ONE_TASK,
) -> PreparedData:
    """Write columns that are in memory as a prepared data set, and open it.

    Raises:
        DataError: where the file system refuses, or a split has no rows.
    """
    with PreparedWriter(folder, tasks) as writer:
        for split in SPLITS:
            writer.append(split, columns[split])
        writer.finish(
            name=name,
            schema=schema,
            split_rule=split_rule,
            source_md5=source_md5,
            notes=notes,
            facts=facts,
            vocabularies={},
        )
    return open_prepared(folder)
