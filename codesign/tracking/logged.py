"""What was logged of a study, in a file that is only appended to, and by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from codesign.errors import StudyError
from codesign.tracking.records import Kept

FOLDER = "wandb"


class Logged:
    """The runs that were written to their end, each with its latest step.

    A run that is not in the file, or has another state there, is not wholly kept: it is written
    again from the step that is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, Kept] = {}
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):  # The last line, torn where its writer died.
                fields = json.loads(line)
                run, folders = fields.pop("run"), tuple(fields.pop("folders"))
                self._kept[run] = Kept(**fields, folders=folders)

    def kept(self, run: str) -> Kept:
        """Return what is kept of a run."""
        return self._kept.get(run, Kept())

    @property
    def all(self) -> Mapping[str, Kept]:
        """Everything that is kept, by run."""
        return self._kept

    def keep(self, run: str, kept: Kept) -> None:
        """Record that a run is kept up to a step.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        line = json.dumps({"run": run, **asdict(kept)})
        with self._path.open("a", encoding="utf-8") as file:
            # The newline comes first: a line that was torn before this one stays alone.
            file.write(f"\n{line}")
            file.flush()
            os.fsync(file.fileno())
        self._kept[run] = kept


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold the right to log a study.

    Args:
        folder: of the tracker in the study's folder; it is made.
        wait: for another process that has it.

    Raises:
        StudyError: another process has it and `wait` is False, or the folder cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise StudyError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise StudyError(
                "is being brought up to date by another process",
                where=str(folder),
                hint="wait for it: it ends soon after the study's loop",
            ) from error
        yield
