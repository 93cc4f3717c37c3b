"""Where a training run stands, in one file that is whole or absent.

A checkpoint is a dictionary of tensors and plain values, so that it is read without running code.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from codesign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE = "checkpoint.pt"
VERSION = 1


def fingerprint(*parts: Any) -> str:
    """Hash what must be equal for one run to continue another: anything with a stable text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def save(folder: Path, state: Mapping[str, Any], *, run: str) -> None:
    """Replace the checkpoint of `folder`; the one before stays until the new one is on disk.

    Args:
        state: dictionaries and lists of tensors and plain values.
        run: the fingerprint of the run.

    Raises:
        OSError: the file cannot be written; the one before is untouched.
    """
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{FILE}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"version": VERSION, "run": run, "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / FILE)
    except RuntimeError as error:  # what torch makes of a write that failed
        temporary.unlink(missing_ok=True)
        raise OSError(str(error).splitlines()[0]) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(folder: Path, *, run: str) -> dict[str, Any] | None:
    """Read the checkpoint of `folder`; None where there is none.

    Raises:
        DataError: it is damaged, of another version or of another run.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        version, of_run, state = found["version"], found["run"], found["state"]
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"is no whole checkpoint: {line}", where=str(path)) from error
    if version != VERSION:
        raise DataError(
            f"is a checkpoint of version {version}; this program reads {VERSION}", where=str(path)
        )
    if of_run != run:
        raise DataError(
            "is of another run: its model, data, settings or seed differ", where=str(path)
        )
    return dict(state)


def latest(folders: Iterable[Path], *, run: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Read the furthest checkpoint of these folders, by its `steps`.

    Returns:
        The state, or None where there is none, and why others could not be used.
    """
    best: dict[str, Any] | None = None
    complaints = []
    for folder in folders:
        try:
            found = load(folder, run=run)
        except DataError as error:
            complaints.append(f"{error.where} {error.what}")
            continue
        if found is not None and (best is None or found["steps"] > best["steps"]):
            best = found
    return best, complaints


def remove(folder: Path) -> None:
    """Remove the checkpoint of a run that has ended, and what a killed writer left."""
    for path in (folder / FILE, *folder.glob(f".{FILE}.*")):
        path.unlink(missing_ok=True)
