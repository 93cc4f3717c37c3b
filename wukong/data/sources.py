"""The data sets that can be prepared, by name."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from codesign.errors import DataError
from wukong.data.prepared import (
    FORMAT_VERSION,
    PreparedData,
    file_md5,
    open_prepared,
    write_prepared,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wukong.data.encode import RawData

# name → the module that finds and reads its files (imported on use: it needs polars).
SOURCES = {
    "movielens-100k": "wukong.data.movielens",
    "csv": "wukong.data.delimited",
}


class Source(Protocol):
    """What a module of `SOURCES` offers."""

    def find(self, path: Path | None) -> dict[str, Path]:
        """Find the files: name → path."""

    def read(self, files: Mapping[str, Path]) -> RawData:
        """Read what `find` has found."""


def prepare(
    source: str,
    path: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> PreparedData:
    """Prepare a data set, or reuse what was prepared before from the same files.

    Args:
        source: a name of `SOURCES`.
        path: where its files are; may be left out for movielens-100k.
        cache: the folder to keep prepared data in; None: `default_cache()`.
        progress: called with a line for a person at each step of a new preparation.

    Raises:
        DataError: where the source is unknown, or its files are missing or malformed.
    """
    reader = _reader(source)
    files = reader.find(None if path is None else Path(path))
    md5 = {name: file_md5(file) for name, file in files.items()}
    folder = Path(cache or default_cache()) / f"{source}-{cache_key(source, md5)}"
    if folder.exists():
        return open_prepared(folder)
    if progress:
        progress(f"{source}: reading {', '.join(files)} into {folder}")
    return _prepare_new(source, reader.read(files), md5, folder)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/codesign`, or `~/.cache/codesign`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codesign"


def cache_key(source: str, md5: Mapping[str, str]) -> str:
    """16 hexadecimal digits that change with the source, its files and the prepared format."""
    parts = [source, str(FORMAT_VERSION), *(f"{name} {md5[name]}" for name in sorted(md5))]
    return hashlib.md5("\n".join(parts).encode(), usedforsecurity=False).hexdigest()[:16]


def _reader(source: str) -> Source:
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1, cutoff=0.0)
        raise DataError(
            f"unknown data source {source!r}; must be one of {', '.join(SOURCES)}",
            hint=f"did you mean {near[0]!r}?",
        )
    return cast("Source", importlib.import_module(SOURCES[source]))


def _prepare_new(source: str, raw: RawData, md5: Mapping[str, str], folder: Path) -> PreparedData:
    # These load polars and SciPy, which reusing prepared data does without.
    from wukong.data.baselines import mean_baseline
    from wukong.data.encode import encode

    schema, columns = encode(raw.frames)
    for split, part in columns.items():
        positives = int(part.label.sum())
        if min(positives, len(part.label) - positives) < 2:
            raise DataError(
                f"{source}: {positives} of the {len(part.label)} labels of {split} are 1",
                hint="every split needs at least two rows of each label",
            )
    return write_prepared(
        folder,
        name=source,
        schema=schema,
        columns=columns,
        split_rule=raw.split_rule,
        source_md5=md5,
        notes=raw.notes,
        facts={"baseline": mean_baseline(schema, columns, raw.baseline_feature)},
    )
