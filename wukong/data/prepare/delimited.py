"""CSV files with a `label` column of 0 and 1; every other column is a categorical feature.

Either a folder of `train.csv`, `valid.csv` and `test.csv`, or one file that is split at random.
An empty field is a value like any other. One quoted as "1" and one written as 1 are the same.
Imports polars; import this module late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from codesign.errors import DataError
from wukong.data.prepare.in_memory import RawData
from wukong.data.prepare.text import TextTable
from wukong.data.prepared import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LABEL = "label"
SPLIT_FILES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
SPLIT_SEED = 0
_HINT = (
    "give a folder of train.csv, valid.csv and test.csv, or one CSV file, each with a header, "
    "a column `label` of 0 and 1, and one column per categorical feature"
)


def find(path: Path | None) -> dict[str, Path]:
    """Find the files: name → path.

    Raises:
        DataError: where there is no path, or not the files it should hold.
    """
    if path is None:
        raise DataError("the source csv needs a path", hint=_HINT)
    if not path.is_dir():
        if not path.is_file():
            raise DataError("no such file or folder", where=str(path), hint=_HINT)
        return {path.name: path}
    missing = [name for name in SPLIT_FILES.values() if not (path / name).is_file()]
    if missing:
        raise DataError(f"no {', '.join(missing)}", where=str(path), hint=_HINT)
    return {name: path / name for name in SPLIT_FILES.values()}


def read(files: Mapping[str, Path]) -> RawData:
    """Read what `find` has found.

    Raises:
        DataError: naming the first malformed row as file:line:column.
    """
    if len(files) == 1:
        frame = _read_file(*files.values())
        order = np.random.default_rng(SPLIT_SEED).permutation(len(frame))
        ends = (0, len(frame) * 7 // 10, len(frame) * 9 // 10, len(frame))
        return RawData(
            frames={split: frame[order[ends[i] : ends[i + 1]]] for i, split in enumerate(SPLITS)},
            split_rule=f"random, 7:2:1 (seed {SPLIT_SEED})",
        )
    frames = {split: _read_file(files[name]) for split, name in SPLIT_FILES.items()}
    columns = frames["train"].columns
    for split, name in SPLIT_FILES.items():
        if set(frames[split].columns) != set(columns):
            raise DataError(
                f"columns {', '.join(frames[split].columns)}; must be those of "
                f"{SPLIT_FILES['train']}: {', '.join(columns)}",
                where=f"{files[name]}:1",
            )
    return RawData(
        frames={split: frame.select(columns) for split, frame in frames.items()},
        split_rule="as given: train.csv, valid.csv, test.csv",
    )


def _read_file(path: Path) -> pl.DataFrame:
    table = TextTable(path=path)
    frame = table.read()
    if LABEL not in frame.columns or len(frame.columns) < 2:
        raise DataError(
            f"columns {', '.join(frame.columns)}; must be `{LABEL}` and at least one feature",
            where=f"{path}:1",
            hint=_HINT,
        )
    label = table.numbers(frame, LABEL, allowed=(0, 1)).cast(pl.UInt8)
    return frame.with_columns(label)
