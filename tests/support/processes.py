"""Finds the worker processes of an attempt, as the machine sees them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def processes_of(folder: Path) -> dict[int, int]:
    """Return rank → process id of the workers of an attempt that run."""
    found = {}
    for place in Path("/proc").iterdir():
        try:
            command = (place / "cmdline").read_bytes().split(b"\0")
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # no process, or one that has ended
            continue
        ranks = [int(v.removeprefix(b"RANK=")) for v in variables if v.startswith(b"RANK=")]
        if os.fsencode(folder) in command and ranks:
            found[ranks[0]] = int(place.name)
    return found


def when(true: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait until something is so."""
    ends_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends_s, f"it did not happen within {within_s} s"
        time.sleep(0.02)
