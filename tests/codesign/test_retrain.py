from __future__ import annotations

import os

from codesign.retrain import too_many_processes


def test_more_processes_than_cores_are_said_and_not_refused() -> None:
    cores = len(os.sched_getaffinity(0))
    (line,) = too_many_processes("local", 2, cores + 1)
    assert line.startswith(f"2 × {cores + 1} processes on {cores} cores")
    assert line.endswith("start fewer of them, or fewer trials at a time")
    (line,) = too_many_processes("local", 1, cores + 1)
    assert line.endswith("start fewer of them")
    assert not list(too_many_processes("local", 1, cores))
    assert not list(too_many_processes("elsewhere", 2, cores + 1))
    assert not list(too_many_processes("local", 2 * cores, 1))
