"""The data sets that can be prepared, by name."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from codesign.errors import DataError
from wukong.data.prepare.description import description_path, load_description, shipped
from wukong.data.prepared import (
    FORMAT_VERSION,
    PreparedData,
    file_md5,
    open_prepared,
    write_prepared,
)
from wukong.data.schema_only import SchemaOnly
from wukong.data.unfinished import one_at_a_time
from wukong.data.writer import there_already

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wukong.data.dataset import DataSet
    from wukong.data.prepare.in_memory import RawData

# A folder that `codesign data prepare` has made.
PREPARED = "prepared"
# A file that says what features there are, for costs alone (see `wukong.data.schema_only`).
SCHEMA = "schema"
# name → the module that finds and reads its files (imported on use: it needs polars).
READERS = {
    "movielens-100k": "wukong.data.prepare.movielens",
    "csv": "wukong.data.prepare.delimited",
}
SOURCES = (*READERS, PREPARED, SCHEMA, *shipped())


class Source(Protocol):
    """What a module of `READERS` offers."""

    def find(self, path: Path | None) -> dict[str, Path]:
        """Find the files: name → path."""

    def read(self, files: Mapping[str, Path]) -> RawData:
        """Read what `find` has found."""


def open_data(source: str, path: Path | None) -> DataSet:
    """Open a study's data: prepare what has to be prepared, or call the user's function.

    Args:
        source: a name of `SOURCES`, or `package.module:function` (see `wukong.data.own`).
        path: where the files are, where the source needs one.

    Raises:
        DataError: the source is unknown, or its data cannot be had.
    """
    if ":" in source:
        from wukong.data.own import load_own

        return load_own(source, path)
    if source == SCHEMA and path is not None:
        return SchemaOnly(path)
    return prepare(source, path)


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
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1, cutoff=0.0)
        raise DataError(
            f"unknown data source {source!r}; must be one of {', '.join(SOURCES)}",
            hint=f"did you mean {near[0]!r}?",
        )
    where = None if path is None else Path(path)
    if source in READERS:
        return _prepare_read(source, where, cache, progress)
    if where is None:
        raise DataError(f"the source {source} needs a path", hint="give --data PATH")
    if source == PREPARED:
        return open_prepared(where)
    return _prepare_described(source, where, cache, progress)


def prepare_folder(
    description: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    skip_bad: int = 0,
    progress: Callable[[str], None] | None = None,
) -> PreparedData:
    """Prepare files into a folder of one's own, which the source `prepared` opens.

    Args:
        description: a YAML file, or the name of a shipped description.
        data: the folder that holds the files, or the only file.
        out: the folder to be made.
        skip_bad: malformed rows that may be left out; they are counted and listed in the facts.
        progress: called with lines for a person.

    Raises:
        DataError: where the description or the files are malformed, or `out` is there already.
    """
    from wukong.data.prepare.runner import find_files, write_described

    described, folder = load_description(description), Path(out)
    if os.path.lexists(folder):
        raise there_already(folder)
    files = find_files(described, Path(data))
    md5 = _md5(files | {"description": description_path(description)})
    write_described(
        described, files, folder, md5, skip_bad=skip_bad, first_wins=False, say=progress
    )
    return open_prepared(folder)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/codesign`, or `~/.cache/codesign`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codesign"


def cache_key(source: str, md5: Mapping[str, str]) -> str:
    """16 hexadecimal digits that change with the source, its files and the prepared format."""
    parts = [source, str(FORMAT_VERSION), *(f"{name} {md5[name]}" for name in sorted(md5))]
    return hashlib.md5("\n".join(parts).encode(), usedforsecurity=False).hexdigest()[:16]


def _prepare_described(
    source: str,
    path: Path,
    cache: str | Path | None,
    progress: Callable[[str], None] | None,
) -> PreparedData:
    # Loads polars, which reusing prepared data could do without; the check of the files is short.
    from wukong.data.prepare.runner import find_files, write_described

    described = load_description(source)
    files = find_files(described, path)
    md5 = _md5(files | {"description": description_path(source)})
    folder = Path(cache or default_cache()) / f"{source}-{cache_key(source, md5)}"

    def write() -> None:
        write_described(described, files, folder, md5, say=progress)

    return _prepared_once(folder, f"{source}: reading {', '.join(files)}", write, progress)


def _prepare_read(
    source: str,
    path: Path | None,
    cache: str | Path | None,
    progress: Callable[[str], None] | None,
) -> PreparedData:
    reader = cast("Source", importlib.import_module(READERS[source]))
    files = reader.find(path)
    md5 = _md5(files)
    folder = Path(cache or default_cache()) / f"{source}-{cache_key(source, md5)}"

    def write() -> None:
        # These load polars and SciPy, which reusing prepared data does without.
        from wukong.data.baselines import mean_baseline, refuse_one_sided
        from wukong.data.prepare.in_memory import encode

        raw = reader.read(files)
        schema, columns = encode(raw.frames)
        refuse_one_sided(source, columns)
        write_prepared(
            folder,
            name=source,
            schema=schema,
            columns=columns,
            split_rule=raw.split_rule,
            source_md5=md5,
            notes=raw.notes,
            facts={"baseline": mean_baseline(schema, columns, raw.baseline_feature)},
        )

    return _prepared_once(folder, f"{source}: reading {', '.join(files)}", write, progress)


def _prepared_once(
    folder: Path, what: str, write: Callable[[], object], progress: Callable[[str], None] | None
) -> PreparedData:
    """Open prepared data; where there are none, one process writes them and others wait."""
    if not folder.exists():
        with one_at_a_time(folder):
            if not folder.exists():
                if progress:
                    progress(f"{what} into {folder}")
                write()
    return open_prepared(folder)


def _md5(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: file_md5(path) for name, path in files.items()}


def run(
    description: str | Path,
    *,
    data_path: Path,
    out: Path,
    skip_bad: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Prepare as `prepare_folder` does and sum up what came of it, as plain values."""
    data = prepare_folder(description, data_path, out, skip_bad=skip_bad, progress=say)
    return {
        "name": data.name,
        "folder": str(data.folder),
        "rows": dict(data.row_counts),
        "tasks": [vars(task) for task in data.tasks],
        "split": data.split_rule,
        "one_hot_features": len(data.schema.one_hot),
        "multi_hot_features": len(data.schema.multi_hot),
        "dense_features": len(data.schema.dense),
        "table_rows": sum(feature.cardinality for feature in data.schema.categorical),
        "skipped_rows": data.facts.get("skipped_rows", {"count": 0, "first": []}),
    }
