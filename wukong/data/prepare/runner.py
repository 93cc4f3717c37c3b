"""Prepares a described data set in two readings: learn from train, then encode. Imports polars.

Memory is bounded by a piece of a file, the vocabularies (12 bytes a value), the counts that are
held (see `wukong.data.prepare.vocabulary`) and, for a split by shares of time, a count per
distinct time. A description without vocabularies and statistics takes one reading.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import DataError
from wukong.data.baselines import mean_baseline, refuse_one_sided
from wukong.data.columns import SPLITS
from wukong.data.prepare.encoder import Encoder
from wukong.data.prepare.faults import Faults
from wukong.data.prepare.rows import Rows, checked_rows, needed_columns
from wukong.data.prepare.splitting import TRAIN, Splitter, rule_in_words, time_cuts
from wukong.data.prepare.tables import read_parts
from wukong.data.writer import PreparedWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from wukong.data.columns import SplitColumns
    from wukong.data.prepare.description import Description
    from wukong.schema import InputSchema

# Rows between two lines of progress.
SAY_EVERY = 1 << 20


def find_files(description: Description, path: Path) -> dict[str, Path]:
    """Find the files of a data set: name → path.

    Args:
        path: the folder that holds them, or the only one.

    Raises:
        DataError: where one is missing.
    """
    names = [name for part in description.files.values() for name in part]
    if path.is_file() and len(names) == 1:
        return {names[0]: path}
    names += [column.file for column in description.of_type("vector")]
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise DataError(
            f"no {', '.join(missing)}",
            where=str(path),
            hint=f"give the folder that holds {', '.join(names)}",
        )
    return {name: path / name for name in names}


def write_described(
    description: Description,
    files: Mapping[str, Path],
    folder: Path,
    source_md5: Mapping[str, str],
    *,
    skip_bad: int = 0,
    first_wins: bool = True,
    say: Callable[[str], None] | None = None,
) -> None:
    """Prepare `files` as described into `folder`, which is complete afterwards or was not made.

    Args:
        files: what `find_files` has found.
        source_md5: of the files and the description.
        skip_bad: malformed rows that may be left out.
        first_wins: a folder that was made meanwhile is as good; else it is refused.
        say: takes lines of progress.

    Raises:
        DataError: where files are malformed, or a split cannot be trained or judged on.
    """
    reading = _Reading(description, files, skip_bad, say)
    tasks = {column.name: column.loss_weight for column in description.of_type("label")}
    with PreparedWriter(folder, tasks, first_wins=first_wins) as writer:
        scratch = writer.path("scratch")
        encoder = Encoder(description, files, scratch)
        cuts = reading.time_cuts()
        if encoder.needs_train:
            for code, rows in reading.by_split("learning from train", cuts):
                if code == TRAIN:
                    encoder.observe(rows)
        vocabularies = encoder.fit(writer)
        shutil.rmtree(scratch, ignore_errors=True)
        for code, rows in reading.by_split("encoding", cuts):
            writer.append(SPLITS[code], encoder.encode(rows))
        writer.finish(
            name=description.name,
            schema=encoder.schema(),
            split_rule=rule_in_words(description.split, cuts),
            source_md5=source_md5,
            notes=description.notes,
            facts=_facts(description, encoder.schema(), writer.columns(), reading.faults),
            vocabularies=vocabularies,
        )


def _facts(
    description: Description,
    schema: InputSchema,
    columns: Mapping[str, SplitColumns],
    faults: Faults,
) -> dict[str, Any]:
    refuse_one_sided(description.name, columns)
    facts: dict[str, Any] = {
        "baseline": mean_baseline(schema, columns, description.baseline or None)
    }
    if faults.count:
        facts["skipped_rows"] = faults.facts()
    return facts


class _Reading:
    """Reads the files as often as asked, the same way each time."""

    def __init__(
        self,
        description: Description,
        files: Mapping[str, Path],
        skip_bad: int,
        say: Callable[[str], None] | None,
    ) -> None:
        self._description, self._files, self._say = description, files, say
        self._skip_bad = skip_bad
        # Of the latest reading.
        self.faults = Faults()

    def time_cuts(self) -> tuple[float, float] | None:
        """Find where time is cut, if the split wants it."""
        split = self._description.split
        if split.by != "time" or split.starts:
            return None
        keys = (rows.split_key for _, rows in self._rows("looking at the times"))
        return time_cuts(split, (key for key in keys if key is not None))

    def by_split(self, what: str, cuts: tuple[float, float] | None) -> Iterator[tuple[int, Rows]]:
        """Yield pieces of rows of one split each, as the place of the split and the rows."""
        splitter = Splitter(self._description.split, cuts)
        for part, rows in self._rows(what):
            codes = splitter.codes(rows, part)
            for code in np.unique(codes):
                yield int(code), rows.filter(codes == code)

    def _rows(self, what: str) -> Iterator[tuple[str, Rows]]:
        """Yield all rows with the entry of `files` that they come from."""
        description = self._description
        self.faults = Faults(allowed=self._skip_bad)
        needed = needed_columns(description)
        done = said = 0
        for part, names in description.files.items():
            for name in names:
                for piece in read_parts(description, self._files[name], needed, self.faults):
                    rows = checked_rows(description, piece, self.faults)
                    done += len(rows)
                    if self._say and done - said >= SAY_EVERY:
                        self._say(f"{description.name}: {what}, {done:,} rows, in {name}")
                        said = done
                    if len(rows):
                        yield part, rows
        if self._say:
            self._say(f"{description.name}: {what}, {done:,} rows, done")
