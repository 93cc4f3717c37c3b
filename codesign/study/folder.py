"""Where things lie in a study folder, and files that are replaced whole or not at all."""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.errors import StudyError

LOCK_NAME = "study.lock"


@dataclass(frozen=True)
class StudyFolder:
    """The paths of one study."""

    path: Path

    @property
    def store(self) -> Path:
        """The event store (SQLite)."""
        return self.path / "study.sqlite"

    @property
    def spec(self) -> Path:
        """The YAML text the study was started from."""
        return self.path / "spec.yaml"

    @property
    def resolved_spec(self) -> Path:
        """The resolved spec with its hash (JSON)."""
        return self.path / "spec.json"

    @property
    def page(self) -> Path:
        """The report, one HTML file."""
        return self.path / "report.html"

    @property
    def markdown(self) -> Path:
        """The report as Markdown."""
        return self.path / "report.md"

    @property
    def best(self) -> Path:
        """The best design, with all it takes to train it again."""
        return self.path / "best.yaml"

    def attempt(self, trial: int, attempt: int) -> Path:
        """The folder of one attempt, the only place where its worker writes."""
        return self.path / "trials" / f"{trial:04d}" / f"attempt-{attempt}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study; one loop at a time.

        Raises:
            StudyError: another process holds it; the message names it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            opened = (self.path / LOCK_NAME).open("a+")
        except OSError as error:
            raise StudyError(
                f"cannot be used as a study folder: {error.strerror}",
                where=str(self.path),
                hint="name another folder with --study",
            ) from error
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                owner = lock.read().strip() or "another process"
                raise StudyError(
                    f"is being run by {owner}",
                    where=str(self.path),
                    hint="wait for it, stop it, or choose another folder with --study",
                ) from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            yield


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file atomically; with `durable` it survives a power cut.

    Raises:
        StudyError: the disk is full, or the folder cannot be written.
    """
    try:
        _replace(path, text, durable=durable)
    except OSError as error:
        raise StudyError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            hint="free disk space or mend the permissions, then run the same command again",
        ) from error


def _replace(path: Path, text: str, *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replace a JSON file atomically; NaN and infinities become null."""
    write_text(path, json.dumps(_finite(value), indent=2) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StudyError: it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"cannot be read: {error}", where=str(path)) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
