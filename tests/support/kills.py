"""Disturb a study of quick trials at random moments, and check what becomes of it.

    python -m tests.support.kills --kills 100 --seed 0 --out benchmarks/results/kills.json

Each kind of disturbance hits the same study until it has hit often enough; a study that ends before
is begun anew. After every one the store is sound and holds all events that it held before, and a
study that has ended equals one that nothing disturbed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from codesign.study.folder import StudyFolder
from codesign.study.restore import open_store
from codesign.study.snapshot import recorded_events
from codesign.study.state import fold
from tests.support.loops import children
from tests.support.studies import essence, state_of
from tests.support.toy_spec import write_spec

SECTIONS: dict[str, Any] = {
    "search": {"trials": 60, "proposer": "random", "confirm": {"top": 2, "seeds": 3}},
    "launch": {"workers": 2, "attempts": 100},
}


@dataclass(kw_only=True)
class Result:
    """What the disturbances of one kind did.

    Attributes:
        hits: that found the process alive; studies: that they were spread over.
        recorded_at_hit: events in the record when the loop was killed or the disk full.
        lost_events: recorded before a hit and not after it.
        unsound_stores: SQLite's integrity check found something.
        ended_otherwise: trials that ended not once, or otherwise than in the undisturbed study.
    """

    hits: int = 0
    studies: int = 1
    lost_events: int = 0
    unsound_stores: int = 0
    ended_otherwise: int = 0
    recorded_at_hit: list[int] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """What should be 0."""
        return self.lost_events + self.unsound_stores + self.ended_otherwise


class Disturbed:
    """A study that is begun, disturbed and continued.

    Args:
        folder: for the spec, and all studies made of it.
        rng: draws the moments.
        sections: of the toy spec, that are replaced.
    """

    def __init__(
        self, folder: Path, rng: np.random.Generator, sections: dict[str, Any] | None = None
    ) -> None:
        self._folder = folder
        self._rng = rng
        self._spec = write_spec(folder, **(SECTIONS if sections is None else sections))
        began = time.time()
        _complete(self._run(folder / "undisturbed"))
        events = recorded_events(StudyFolder(folder / "undisturbed"))
        self._recorded = len(events)
        self._length_s = events[-1].time - began  # The page comes after it.
        self._expected = essence(state_of(folder / "undisturbed"))

    def kill_loops(self, kills: int) -> Result:
        """End the loop with SIGKILL at moments drawn over the undisturbed record's length."""

        def kill(process: subprocess.Popen[bytes]) -> bool:
            process.kill()
            process.wait()
            return True

        return self._disturb(kills, kill, every_s=self._length_s)

    def kill_workers(self, kills: int) -> Result:
        """End one of the loop's workers with SIGKILL, about four in each run."""

        def kill_one(process: subprocess.Popen[bytes]) -> bool:
            workers = children(process.pid)
            with contextlib.suppress(ProcessLookupError):
                if workers:
                    os.kill(int(self._rng.choice(workers)), signal.SIGKILL)
            return bool(workers)

        return self._disturb(kills, kill_one, every_s=self._length_s / 2)

    def fill_disk(self, limits_bytes: list[int]) -> Result:
        """Let no file grow beyond a limit, as on a disk that is full, then go on without."""
        result = Result(studies=len(limits_bytes))
        for limit in limits_bytes:
            study = self._folder / f"full-{limit}"
            output = self._run(study, limit).communicate()[0].decode()
            if "Traceback" in output or "error:" not in output:
                raise AssertionError(output)
            result.hits += 1
            result.recorded_at_hit.append(self._check(study, result, 0))
            _complete(self._run(study))
            self._finish(study, result)
        return result

    def _disturb(
        self, times: int, hit: Callable[[subprocess.Popen[bytes]], bool], *, every_s: float
    ) -> Result:
        result, study, known = Result(), self._folder / "study-1", 0
        while result.hits < times:
            process = self._run(study)
            # Writing the page takes longer than all quick trials: it is hit once a study.
            left_alone = known >= self._recorded
            while not left_alone and process.poll() is None and result.hits < times:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._rng.uniform(0, every_s))
                result.hits += process.poll() is None and hit(process)
            output, _ = process.communicate()
            known = self._check(study, result, known)
            if process.returncode == 0:
                self._finish(study, result)
                result.studies += 1
                study, known = self._folder / f"study-{result.studies}", 0
            elif process.returncode == -signal.SIGKILL:
                result.recorded_at_hit.append(known)
            else:
                raise AssertionError(output.decode())
        _complete(self._run(study))
        self._finish(study, result)
        return result

    def _check(self, study: Path, result: Result, known: int) -> int:
        """Look at a copy of the store, as the next loop would find it; return its events."""
        store = study / "study.sqlite"
        if not store.exists():
            return known
        copy = self._folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in study.glob("study.sqlite*"):
            shutil.copy(path, copy)
        with contextlib.closing(sqlite3.connect(copy / store.name)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            try:
                count = connection.execute("SELECT count(*) FROM event").fetchone()[0]
            except sqlite3.OperationalError:  # Killed before its tables were made.
                count = 0
        result.unsound_stores += found != "ok"
        result.lost_events += max(0, known - count)
        return int(count)

    def _finish(self, study: Path, result: Result) -> None:
        """Compare a study that has ended with the undisturbed one."""
        events = recorded_events(StudyFolder(study))
        ends = Counter(e.trial for e in events if e.kind in ("completed", "failed"))
        found = essence(fold(events))
        differing = [a for a, b in zip(found, self._expected, strict=False) if a != b]
        result.ended_otherwise += len(differing) + abs(len(found) - len(self._expected))
        result.ended_otherwise += sum(count != 1 for count in ends.values())
        said: list[str] = []
        with open_store(StudyFolder(study), say=said.append):
            result.unsound_stores += len(said)
        shutil.rmtree(study)

    def _run(self, study: Path, limit_bytes: int | None = None) -> subprocess.Popen[bytes]:
        def limit() -> None:
            if limit_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

        return subprocess.Popen(
            [sys.executable, "-m", "codesign", "optimize", str(self._spec), "--study", str(study)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=limit,
        )


def _complete(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise AssertionError(output.decode())


def main() -> int:
    """Disturb, print and write what came of it; the exit code tells whether all was well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        disturbed = Disturbed(Path(folder), np.random.default_rng(options.seed))
        limits = [int(x) for x in np.linspace(1000, 60_000, max(1, options.kills // 5))]
        found = {
            "loop killed": disturbed.kill_loops(options.kills),
            "worker killed": disturbed.kill_workers(options.kills),
            "disk full": disturbed.fill_disk(limits),
        }
    result = {
        "what": "studies of quick trials, disturbed at random moments and continued",
        "study": SECTIONS,
        "seed": options.seed,
        "found": {name: {"faults": each.faults, **asdict(each)} for name, each in found.items()},
        "machine": platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "date": datetime.now(UTC).date().isoformat(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 1 if any(each.faults for each in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
