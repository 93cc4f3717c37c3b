"""What lies on disk of a submission: enough to find its jobs again, and to train no trial twice.

Before sbatch is called, `STUDY/slurm/KEY.json` lists the attempts of one submission, and each
attempt's folder gets a `job.json` with the key; the job's id follows once sbatch has told it. A job
that begins claims its folder: one file, made atomically, that holds its id. Whoever comes second,
be it a job or a loop that gave the submission up, finds it claimed.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.contracts import Job
from codesign.study.folder import (
    CLUSTER_NAME,
    claim_name,
    read_json,
    read_json_if_whole,
    write_json,
)

NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One attempt as its job needs to know it.

    Attributes:
        folder: absolute.
        timeout_s: seconds of all starts together; None: no limit.
        starts: how often its job may begin, ≥ 1.
    """

    folder: str
    timeout_s: float | None
    starts: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The attempts of one submission, by their index in the array.

    Attributes:
        key: unique; stands in the comment of the job and at the end of its name.
    """

    key: str
    jobs: tuple[Job, ...]

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Batch:
        """Make one with a key of its own."""
        return cls(key=uuid.uuid4().hex[:12], jobs=tuple(jobs))

    def write(self, study: Path) -> None:
        """Write all that must be there before sbatch is called.

        Raises:
            StudyError: a file cannot be written.
        """
        path = batch_file(study, self.key)
        path.parent.mkdir(exist_ok=True)
        entries = [
            Entry(folder=str(job.folder), timeout_s=job.timeout_s, starts=job.starts)
            for job in self.jobs
        ]
        write_json(path, [dataclasses.asdict(entry) for entry in entries])
        for ticket, job in self.tickets():
            ticket.write(job.folder)

    def note(self, number: str) -> None:
        """Write the id that sbatch told; where that is lost, the key finds it again."""
        for ticket, job in self.tickets():
            known = dataclasses.replace(ticket, job=ticket.id_in(number))
            known.write(job.folder, durable=False)

    def tickets(self) -> Iterator[tuple[Ticket, Job]]:
        """Yield how each job is found, as long as sbatch has not told its id."""
        for index, job in enumerate(self.jobs):
            yield Ticket(key=self.key, index=index if len(self.jobs) > 1 else None), job


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """How the job of an attempt is found.

    Attributes:
        index: in its array; None: it is no array.
        job: its id, `123` or `123_4`; None: sbatch has not told it, as far as is known.
        cancelled: whether the study ended it, and expects nothing of it any more.
    """

    key: str
    index: int | None
    job: str | None = None
    cancelled: bool = False

    @classmethod
    def read(cls, folder: Path) -> Ticket | None:
        """Read an attempt's; None: it was never handed to sbatch."""
        found = read_json_if_whole(folder / "job.json")
        return cls(**found) if found.keys() >= {"key", "index"} else None

    def id_in(self, number: str) -> str:
        """Return the job's id, where the submission has this one."""
        return number if self.index is None else f"{number}_{self.index}"

    def write(self, folder: Path, *, durable: bool = True) -> None:
        """Write it into the attempt's folder."""
        write_json(folder / "job.json", dataclasses.asdict(self), durable=durable)


def batch_file(study: Path, key: str) -> Path:
    """Where a submission's attempts are listed."""
    return study / CLUSTER_NAME / f"{key}.json"


def read_entry(path: Path, index: int) -> Entry:
    """Read one attempt of a submission."""
    return Entry(**read_json(path)[index])


def claim(folder: Path, job: str = NOBODY) -> str:
    """Claim an attempt's folder for a job, or for nobody; return the id of whose it is."""
    written = folder / f".claim-{job}-{os.uname().nodename}-{os.getpid()}"
    write_json(written, {"job": job})
    try:
        if claim_name(written, folder / "claim.json"):
            return job
    finally:
        written.unlink(missing_ok=True)
    return claimed_by(folder)


def claimed_by(folder: Path) -> str:
    """Return the id of the job that claimed a folder; empty: none has."""
    return str(read_json_if_whole(folder / "claim.json").get("job", ""))


@dataclass(frozen=True, kw_only=True)
class Starts:
    """How often the job of an attempt began, and for how long it ran.

    Attributes:
        seconds: of all starts together.
        stopped: whether the latest was told to stop and saved what the next goes on from.
    """

    starts: int = 0
    seconds: float = 0.0
    stopped: bool = False

    @classmethod
    def read(cls, folder: Path) -> Starts:
        """Read an attempt's; all zero before its job began."""
        return cls(**read_json_if_whole(folder / "starts.json"))

    def write(self, folder: Path) -> None:
        """Write them into the attempt's folder."""
        write_json(folder / "starts.json", dataclasses.asdict(self), durable=False)
