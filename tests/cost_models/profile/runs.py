"""Real runs of the profiler in a process of its own, and what their files must be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cost_models.profile.record import Row, read

ROOT = Path(__file__).parents[3]


def start(out: Path, *arguments: object, minutes: float = 1.0) -> subprocess.Popen[str]:
    """Start `python -m cost_models.profile` on one thread of the CPU."""
    command = [sys.executable, "-m", "cost_models.profile", "--out", str(out), "--device", "cpu"]
    return subprocess.Popen(
        [*command, "--minutes", str(minutes), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=one_thread(),
    )


def one_thread(**changed: str) -> Mapping[str, str]:
    """Return this process's environment for a child on one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **changed}


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait; exit code, stdout, stderr."""
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def assert_whole(path: Path, *, runs: int) -> list[Row]:
    """Check that a file is readable, has one `run` row for each run, and no case twice."""
    rows = read(path)
    assert path.read_bytes().endswith(b"\n")
    frames = [result.run for case, result in rows if case.section == "run"]
    assert frames == list(range(1, runs + 1))
    often = {case: n for case, n in Counter(case for case, _ in rows).items() if n > 1}
    assert not often
    return rows
