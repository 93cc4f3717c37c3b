"""Where things lie in a study folder, and files that are replaced whole or not at all."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.errors import StudyError

ATTEMPT = "attempt-"
LOCK_NAME = "lock"
# What jobs of a cluster read and print; it may be there before the study is.
CLUSTER_NAME = "slurm"
TEMPORARY = ".tmp"


@dataclass(frozen=True)
class StudyFolder:
    """The paths of one study."""

    path: Path

    @property
    def store(self) -> Path:
        """The event store (SQLite), which the loop alone opens."""
        return self.path / "study.sqlite"

    @property
    def snapshot(self) -> Path:
        """All events as of a moment, for everybody else."""
        return self.path / "snapshot.jsonl"

    @property
    def queue(self) -> Path:
        """Where the trials stood in a cluster's queue when the loop last looked (JSON)."""
        return self.path / "queue.json"

    @property
    def requests(self) -> Path:
        """What other processes ask of the loop, one file each."""
        return self.path / "requests"

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
        return self.path / "trials" / f"{trial:04d}" / f"{ATTEMPT}{attempt}"

    def new_attempt(self, trial: int, latest: int) -> int:
        """Make the folder of the next attempt, one that no other loop ever used, and number it.

        Raises:
            StudyError: the folder cannot be made.
        """
        attempt = latest + 1
        while True:
            path = self.attempt(trial, attempt)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                attempt += 1
            except OSError as error:
                raise _unwritable(path, error) from error
            else:
                return attempt

    def remove_leftovers(self) -> None:
        """Remove half-written files of a loop that was killed."""
        for leftover in self.path.glob(f".*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file atomically; with `durable` it survives a power cut.

    Raises:
        StudyError: the disk is full, or the folder cannot be written, or was removed meanwhile.
    """
    try:
        _replace(path, text, durable=durable)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StudyError:
    return StudyError(
        f"cannot be written: {error.strerror}",
        where=str(path),
        hint="free disk space or mend the permissions, then run the same command again",
    )


def earlier_attempts(attempt: Path) -> list[Path]:
    """Return the folders of the attempts before this one at the same trial, the latest first."""
    number = _attempt_number(attempt)
    found = [path for path in attempt.parent.glob(f"{ATTEMPT}*") if _attempt_number(path) < number]
    return sorted(found, key=_attempt_number, reverse=True)


def _attempt_number(attempt: Path) -> int:
    digits = attempt.name.removeprefix(ATTEMPT)
    return int(digits) if digits.isdecimal() else 0


def _replace(path: Path, text: str, *, durable: bool) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        if durable:
            _sync_names(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sync_names(folder: Path) -> None:
    """Bring what the files of a folder are called to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claim_name(written: Path, name: Path) -> bool:
    """Give a written file a further name; False where another file has it. Atomic, on NFS, too."""
    try:
        os.link(written, name)
    except FileExistsError:
        # A network file system may have made the link and lost the answer.
        return written.stat().st_nlink == 2
    return True


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
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"cannot be read: {error}", where=str(path)) from error


def read_resolved_spec(folder: StudyFolder) -> Mapping[str, Any]:
    """Read the spec that a study belongs to: its `identity`, `spec`, `hash`, and the `study`'s id.

    Raises:
        StudyError: the file is missing or damaged.
    """
    found = read_json(folder.resolved_spec)
    if not isinstance(found, dict) or not {"identity", "spec"} <= found.keys():
        raise StudyError(
            "is damaged: it holds no resolved spec",
            where=str(folder.resolved_spec),
            hint="put a copy of it there; the record beside it is not touched",
        )
    return found


def read_json_if_whole(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; empty where the file is missing or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_json_lines(path: Path) -> list[Mapping[str, Any]]:
    """Read the whole lines of a file that grows by JSON objects; none where it is missing."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
