"""Loops of studies as processes, which a test ends one way or another."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def loop(spec: Path, study: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `codesign optimize` until the block ends; its output is one text."""
    process = subprocess.Popen(
        [sys.executable, "-m", "codesign", "optimize", str(spec), "--study", str(study)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait for something that must come to pass.

    Raises:
        TimeoutError: it has not.
    """
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found
