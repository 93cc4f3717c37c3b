"""Where trials stand in a cluster's queue: written by the loop, read by everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from codesign.contracts import Queued
from codesign.study.folder import StudyFolder, read_json_if_whole, write_json


@dataclass(frozen=True, kw_only=True)
class QueueSeen:
    """What the loop saw when it last looked.

    Attributes:
        time: seconds since the epoch; None: nothing of the study was ever queued.
        outage: since when and why nothing can be known of the jobs; empty: all is well.
        jobs: of trials whose job had not ended.
    """

    time: float | None = None
    outage: str = ""
    jobs: Mapping[int, Queued] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        jobs = {str(trial): asdict(job) for trial, job in self.jobs.items()}
        return {"time": self.time, "outage": self.outage, "jobs": jobs}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> QueueSeen:
        """Rebuild it; empty where nothing is found."""
        jobs = {int(trial): Queued(**job) for trial, job in found.get("jobs", {}).items()}
        return cls(time=found.get("time"), outage=found.get("outage", ""), jobs=jobs)


def read_queue(folder: StudyFolder) -> QueueSeen:
    """Read where the trials of a study stood in the queue."""
    return QueueSeen.from_json(read_json_if_whole(folder.queue))


def write_queue(folder: StudyFolder, seen: QueueSeen) -> None:
    """Replace the file.

    Raises:
        StudyError: it cannot be written.
    """
    write_json(folder.queue, seen.to_json(), durable=False)
