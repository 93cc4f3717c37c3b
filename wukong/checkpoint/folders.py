"""Checkpoints on disk: folders `checkpoint-STEPS`, each of which is whole or absent.

A checkpoint is written as a hidden folder and renamed once everything is on disk, its manifest
last. The manifest holds plain values, and the size and checksum of every other file, so that a
damaged checkpoint is known, and which file of it, before anything is read from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MANIFEST = "manifest.json"
VERSION = 2
KEPT = 2
"""Complete checkpoints of a run that stay: where the last is damaged, the one before is used."""

_NAME = re.compile(r"checkpoint-(\d+)")
_OLD_FILE = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file must hold."""

    bytes: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the manifest of a checkpoint says.

    Attributes:
        steps: of the run, when it was taken.
        world: ranks that wrote it.
        values: plain values, the same on all ranks.
        files: name → contents of every file but the manifest.
    """

    folder: Path
    steps: int
    world: int
    values: Mapping[str, Any]
    files: Mapping[str, Contents]


def fingerprint(*parts: Any) -> str:
    """Hash what must be equal for one run to continue another: anything with a stable text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def temporary(place: Path, steps: int) -> Path:
    """Return where the checkpoint of `place` after `steps` is written before it is complete."""
    return place / f".checkpoint-{steps}"


def contents(path: Path) -> Contents:
    """Read what a file holds.

    Raises:
        OSError: it cannot be read.
    """
    size = crc32 = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
    return Contents(bytes=size, crc32=crc32)


def publish(place: Path, checkpoint: Checkpoint, *, run: str) -> Path:
    """Complete the checkpoint in its temporary folder and give it its name, which it returns.

    One of this name that is there already is replaced: it was of no use to the run.

    Raises:
        OSError: it cannot be written.
    """
    writing, path = temporary(place, checkpoint.steps), place / f"checkpoint-{checkpoint.steps}"
    for name, expected in checkpoint.files.items():
        if not (writing / name).exists() or (writing / name).stat().st_size != expected.bytes:
            raise FileNotFoundError(f"{writing / name} of another rank is not here; must be shared")
    fields = ("steps", "world", "values", "files")
    body = {"version": VERSION, "run": run} | {name: asdict(checkpoint)[name] for name in fields}
    text = json.dumps({"crc32": _crc32(body), "body": body})
    with (writing / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _sync(writing)
    _discard(path)
    writing.rename(path)
    _sync(place)
    return path


def complete(places: Iterable[Path]) -> list[Path]:
    """Return the checkpoints of these folders, the furthest first."""
    found = [
        (int(name[1]), path)
        for place in places
        for path in place.glob("checkpoint-*")
        if (name := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(found, key=lambda each: -each[0])]


def outdated(places: Iterable[Path]) -> Iterator[str]:
    """Yield a complaint for each checkpoint of an older program, which were files."""
    for path in (place / _OLD_FILE for place in places):
        if path.exists():
            yield f"{path} is a checkpoint of an older version; it is not used"


def read_manifest(folder: Path, *, run: str) -> Checkpoint:
    """Read what a checkpoint says of itself.

    Raises:
        DataError: naming the manifest, where it is damaged or of another version, and the folder
            around the checkpoint, where it is of another run.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        stored = json.loads(text)
        body = stored["body"]
        intact, version = _crc32(body) == stored["crc32"], body["version"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"of {len(text)} bytes is damaged: {error}", where=str(path)) from error
    if not intact:
        raise DataError("is not what was written: its checksum differs", where=str(path))
    if version != VERSION:
        what = f"is of version {version}; this program reads {VERSION}"
        raise DataError(what, where=str(path))
    if body["run"] != run:
        what = "has checkpoints of another run: its model, data, settings or seed differ"
        raise DataError(what, where=str(folder.parent))
    files = {name: Contents(**each) for name, each in body["files"].items()}
    values = {name: body[name] for name in ("steps", "world", "values")}
    return Checkpoint(folder=folder, files=files, **values)


def damage(checkpoint: Checkpoint, names: Iterable[str]) -> Iterator[str]:
    """Say of these files of a checkpoint which are not as they were written."""
    for name in names:
        path, expected = checkpoint.folder / name, checkpoint.files[name]
        try:
            found = contents(path)
        except OSError as error:
            yield f"{path} cannot be read: {error.strerror}"
            continue
        if found.bytes != expected.bytes:
            yield f"{path} has {found.bytes} bytes; must be {expected.bytes}"
        elif found.crc32 != expected.crc32:
            yield f"{path} of {found.bytes} bytes is not what was written: its checksum differs"


def retain(kept: Sequence[Path], places: Iterable[Path]) -> None:
    """Remove all checkpoints of these folders but those kept."""
    for path in complete(places):
        if path not in kept:
            with suppress(OSError):  # it is looked for again after the next checkpoint
                _discard(path)


def remove_unfinished(place: Path) -> None:
    """Remove what a killed writer left."""
    for path in place.glob(".checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)


def remove(places: Iterable[Path]) -> None:
    """Remove all checkpoints of a run that has ended, those of older programs among them.

    What cannot be removed is left: the run's result is worth more.
    """
    for place in places:
        retain((), [place])
        remove_unfinished(place)
        with suppress(OSError):
            (place / _OLD_FILE).unlink(missing_ok=True)


def _discard(path: Path) -> None:
    """Remove a checkpoint; first by name, so that what is left of it is taken for nothing."""
    if path.exists():
        hidden = path.with_name(f".{path.name}.removed")
        path.rename(hidden)
        shutil.rmtree(hidden)


def _crc32(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
