"""SLURM's commands: what is sent, what comes back, and what it means when nothing does."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from codesign.errors import LaunchError

ANSWER_WITHIN_S = 30.0
# A job that runs this process, or the user's shell, sets them: none may reach another job.
INHERITED = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_", "PMI_", "PMIX_")
KEPT = ("SLURM_CLUSTERS", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
NO_ANSWER = (
    "connect failure", "connection refused", "timed out", "not responding", "send/recv",
    "unable to contact slurm", "zero bytes were transmitted", "receive failure", "send failure",
    "standby mode", "resource temporarily unavailable", "temporarily unable", "unable to resolve",
    "failed to fetch config", "problem talking to the database",
)  # fmt: skip
SEPARATOR = "|"


class NoAnswerError(Exception):
    """The controller does not answer; the text is the line that says so."""


class RefusedError(Exception):
    """SLURM says no; the text is what it says."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A job as SLURM tells of it.

    Attributes:
        state: in capitals, one word.
        reason: why it is in that state; may be empty.
        nodes: that run it, or ran it last; may be empty.
        mark: its comment, or its name where accounting keeps no comments: both hold the key.
    """

    job: str
    state: str
    reason: str = ""
    nodes: str = ""
    mark: str = ""


class Client:
    """Calls SLURM's commands with an environment that no job has left its marks on.

    Raises:
        LaunchError: there is no sbatch on this machine.
    """

    def __init__(self) -> None:
        if shutil.which("sbatch") is None:
            raise LaunchError(
                "there is no sbatch on this machine",
                where="launch.executor",
                hint="run this on a login node, or take executor local; "
                "codesign launch --dry-run shows the scripts anywhere",
            )
        self._accounting = True

    def submit(self, script: Path) -> str:
        """Hand a file to sbatch; return the id of its job or array.

        Raises:
            NoAnswerError: perhaps it was taken; the key in the comment tells.
            RefusedError: it was not.
        """
        return call("sbatch", "--parsable", str(script)).strip().split(";")[0]

    def queue(self) -> dict[str, Seen]:
        """Return the user's jobs that the controller knows, those that ended lately among them.

        Raises:
            NoAnswerError: it does not answer.
        """
        text = call(
            "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
            f"--format={SEPARATOR.join(('%i', '%T', '%N', '%r', '%k'))}",
        )  # fmt: skip
        return read_queue(text)

    def ended(self, jobs: Iterable[str]) -> dict[str, Seen]:
        """Return what accounting knows of jobs; nothing where there is none.

        Raises:
            NoAnswerError: accounting does not answer.
        """
        return self._account(f"--jobs={','.join(sorted({job.split('_')[0] for job in jobs}))}")

    def find(self, key: str, *, since: float) -> dict[str, Seen]:
        """Return the jobs of a submission, by its key.

        Args:
            since: seconds since the epoch before which it cannot have been made.

        Raises:
            NoAnswerError: one that must be asked does not answer.
        """
        known = {job: seen for job, seen in self.queue().items() if seen.mark.endswith(key)}
        begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
        told = self._account(f"--starttime={begin}", f"--uid={os.getuid()}")
        return {job: seen for job, seen in told.items() if seen.mark.endswith(key)} | known

    def cancel(self, jobs: Iterable[str]) -> None:
        """End jobs; those that have ended are no mistake.

        Raises:
            NoAnswerError: the controller does not answer.
        """
        call("scancel", "--quiet", *jobs)

    def _account(self, *which: str) -> dict[str, Seen]:
        if not self._accounting or shutil.which("sacct") is None:
            return {}
        try:
            text = call(
                "sacct", "--noheader", "--parsable2", "--allocations",
                "--format=JobID,State,NodeList,JobName", *which,
            )  # fmt: skip
        except RefusedError:
            self._accounting = False  # This site keeps none.
            return {}
        return read_accounts(text)


def call(*command: str) -> str:
    """Run one of SLURM's commands; return what it prints.

    Raises:
        NoAnswerError: nobody answers it.
        RefusedError: it ends with another mistake.
        OSError: there is no such command.
    """
    try:
        done = subprocess.run(
            command, env=environment(os.environ), capture_output=True, text=True,
            check=False, timeout=ANSWER_WITHIN_S, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"{command[0]}: no answer in {ANSWER_WITHIN_S:g} s") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip() or f"{command[0]} ended with exit code {done.returncode}"
    if any(words in said.lower() for words in NO_ANSWER):
        raise NoAnswerError(said.splitlines()[-1])
    raise RefusedError(said)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for SLURM's commands, and so for the jobs that they submit."""
    return {
        name: value
        for name, value in inherited.items()
        if name in KEPT or not (name.startswith(INHERITED) or name in RANKS)
    }


def read_queue(text: str) -> dict[str, Seen]:
    """Read what squeue prints: id, state, nodes, reason and comment of each job."""
    found = {}
    for fields in _fields(text, 5):
        job, state, nodes, reason, comment = fields
        reason = "" if reason == "None" else reason
        found[job] = Seen(job=job, state=state, nodes=nodes, reason=reason, mark=comment)
    return found


def read_accounts(text: str) -> dict[str, Seen]:
    """Read what sacct prints: id, state, nodes and name of each job, steps left out."""
    found = {}
    for fields in _fields(text, 4):
        job, state, nodes, name = fields
        word, _, more = state.partition(" ")  # CANCELLED by 1000
        nodes = "" if nodes == "None assigned" else nodes
        found[job] = Seen(job=job, state=word, nodes=nodes, reason=more, mark=name)
    return found


def _fields(text: str, count: int) -> Iterator[list[str]]:
    """Yield the fields of each line; what is left of a comment of several lines is no job."""
    for line in text.splitlines():
        fields = line.split(SEPARATOR, count - 1)
        if len(fields) == count and fields[0][:1].isdigit():
            yield fields
