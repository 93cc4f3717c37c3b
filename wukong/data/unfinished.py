"""The hidden folders that prepared data are written into, and those that a killed process left.

A folder is owned by whoever holds a lock on it, which ends with the process. Only folders of this
host are swept: where several share a file system, a lock may be seen on one of them alone. A file
system without locks keeps what is left until a person deletes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from making the same folder as long as the block runs.

    So the ranks of a node prepare their data once. Where there are no locks each makes it, and a
    rename decides whose it is. Nothing of the lock is left.
    """
    path, made = folder.with_name(f".{folder.name}.lock"), not folder.parent.exists()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:  # Whoever then writes there says what is wrong.
        yield
        return
    try:
        _locked(lock, wait=True)
        yield
    finally:
        # One who waits for it finds the folder made; where that failed, it may be made twice.
        path.unlink(missing_ok=True)
        os.close(lock)
        if made:
            with contextlib.suppress(OSError):  # There is something in it.
                folder.parent.rmdir()


class UnfinishedFolder:
    """A folder beside `folder`, hidden, new and owned by this process.

    Not below /tmp: a rename is atomic only within one file system.

    Attributes:
        path: where it is.

    Raises:
        OSError: where it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        prefix = f".{folder.name}-{socket.gethostname()}-"
        _sweep(folder.parent, prefix)
        while True:
            self.path = folder.with_name(f"{prefix}{uuid.uuid4().hex}")
            self.path.mkdir(parents=True)
            self._lock = os.open(self.path, os.O_RDONLY)
            _locked(self._lock, wait=True)
            # Another process may have swept it before it was locked.
            if self.path.exists():
                return
            os.close(self._lock)

    def remove(self) -> None:
        """Remove the folder, if it has not been renamed, and own it no longer."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove the folders of processes that have ended."""
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        if re.fullmatch(re.escape(prefix) + "[0-9a-f]{32}", path.name):
            try:
                lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                if _locked(lock, wait=False):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _locked(handle: int, *, wait: bool) -> bool:
    """Lock an open file or folder; False where another process holds it, or there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
