"""What the processes of a trial have printed, and what a cluster has of its job."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.contracts import FailureKind, Queued, TrialStatus
from codesign.errors import StudyError
from codesign.registry import plugin
from codesign.serving import log_file
from codesign.study.queue import read_queue
from codesign.study.recorded import RecordedStudy
from codesign.study.state import Trial

# Lines are looked for in so much of the end of a file.
TAIL_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class TrialLogs:
    """How an attempt of a trial stands or ended, and the files that it printed into.

    Attributes:
        attempts: of the trial, so far.
        reason: one line, where the trial failed or was cancelled.
        queued: where its job stood when the loop last looked; None: it is in no queue.
        files: of its processes by rank, then the cluster's own.
    """

    trial: int
    attempt: int
    attempts: int
    status: TrialStatus
    failure: FailureKind | None
    reason: str
    queued: Queued | None
    files: tuple[Path, ...]

    @property
    def is_open(self) -> bool:
        """Whether more may be printed."""
        return self.status in ("pending", "running")

    def to_json(self, lines: int) -> dict[str, Any]:
        """Return plain JSON values, with the last lines of each file."""
        files = [{"path": str(path), "lines": last_lines(path, lines)} for path in self.files]
        return {**dataclasses.asdict(self), "files": files}


def logs_of(
    study: RecordedStudy, number: int, *, attempt: int | None = None, rank: int | None = None
) -> TrialLogs:
    """Find the logs of a trial.

    Args:
        attempt: ≥ 1; None: the latest.
        rank: of the processes that trained it, ≥ 0; None: all, and the cluster's own logs.

    Raises:
        StudyError: there is no such trial or attempt, or the rank printed nothing.
    """
    trial = study.state.trials.get(number)
    if trial is None:
        known = f"0 to {len(study.state.trials) - 1}" if study.state.trials else "none yet"
        raise StudyError(f"has no trial {number}", where=str(study.folder.path),
                         hint=f"trials: {known}")  # fmt: skip
    chosen = trial.attempt if attempt is None else attempt
    folder = study.folder.attempt(number, chosen)
    if not folder.is_dir():
        raise StudyError(
            f"has no attempt {chosen} at trial {number}",
            where=str(study.folder.path),
            hint=f"attempts: 1 to {trial.attempt}" if trial.attempt else "it has not begun",
        )
    latest = chosen == trial.attempt
    return TrialLogs(
        trial=number,
        attempt=chosen,
        attempts=trial.attempt,
        status=trial.status,
        failure=trial.failure,
        reason=trial.reason,
        queued=read_queue(study.folder).jobs.get(number) if latest and trial.open else None,
        files=_files(study, trial, folder, rank),
    )


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:] if count else []


def _files(study: RecordedStudy, trial: Trial, folder: Path, rank: int | None) -> tuple[Path, ...]:
    if rank is None:
        return (*sorted(folder.glob("log*.txt"), key=_rank), *_of_cluster(study, folder))
    path = log_file(folder, rank)
    if not path.exists():
        raise StudyError(
            f"has no log of rank {rank}",
            where=str(folder),
            hint=f"ranks: 0 to {max(1, trial.processes) - 1}",
        )
    return (path,)


def _of_cluster(study: RecordedStudy, folder: Path) -> Sequence[Path]:
    executor = plugin("executor", study.spec.launch.executor)
    found: Sequence[Path] = executor.logs(folder) if hasattr(executor, "logs") else ()
    return found


def _rank(log: Path) -> int:
    digits = re.search(r"\d+", log.name)
    return int(digits.group()) if digits else 0
