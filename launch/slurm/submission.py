"""Hands jobs to sbatch in arrays, each once, however often it takes to reach the controller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from codesign.contracts import Job, LaunchRequest
from codesign.study.folder import write_text
from launch.slurm.batch import Batch, batch_file
from launch.slurm.client import Client, NoAnswerError, RefusedError
from launch.slurm.options import Options
from launch.slurm.refusals import is_temporary, refused
from launch.slurm.script import ARRAY, jobs_of_size, trial_script

FULL_QUEUE_S = 30.0
# What a request that got no answer may take to arrive after all.
ARRIVES_WITHIN_S = 5.0


class Submitter:
    """Writes batches of jobs, and submits them.

    Args:
        study: its folder.
        clock: seconds that are never set back.
    """

    def __init__(
        self,
        request: LaunchRequest,
        options: Options,
        client: Client,
        *,
        study: Path,
        clock: Callable[[], float],
    ) -> None:
        self._study = study
        self._name = request.name
        self._say = request.say
        self._options = options
        self._client = client
        self._clock = clock
        self._batches: deque[Batch] = deque()
        self._uncertain: set[str] = set()  # Keys of batches that sbatch may have taken.
        self._after = -float("inf")
        self._refusal = ""

    def take(self, jobs: Sequence[Job]) -> None:
        """Make batches of jobs, and write all that sbatch and they will read.

        Raises:
            StudyError: a file cannot be written.
        """
        for group in jobs_of_size(jobs, ARRAY):
            batch = Batch.of(group)
            batch.write(self._study)
            text = trial_script(self._options, batch, study=self._study, name=self._name)
            write_text(self._script(batch), text)
            self._batches.append(batch)

    def send(self) -> Iterator[tuple[Job, str]]:
        """Hand the batches to sbatch; yield each job that it took, and its id.

        Raises:
            NoAnswerError: perhaps it took some; the next call finds that out first.
            LaunchError: it refuses some for good.
        """
        while self._batches and self._clock() >= self._after:
            batch = self._batches[0]
            try:
                number = self.find(batch.key) if batch.key in self._uncertain else None
                number = number or self._client.submit(self._script(batch))
            except NoAnswerError:
                self._uncertain.add(batch.key)
                self._after = self._clock() + ARRIVES_WITHIN_S
                raise
            except RefusedError as error:
                self._wait_or_raise(str(error))
                return
            self._refusal = ""
            self._batches.popleft()
            batch.note(number)
            yield from ((job, ticket.id_in(number)) for ticket, job in batch.tickets())

    def find(self, key: str) -> str | None:
        """Return the id of a submission that sbatch took, if it did.

        Raises:
            NoAnswerError: that cannot be known now.
        """
        made = batch_file(self._study, key).stat().st_mtime
        found = self._client.find(key, since=made)
        return min((job.split("_")[0] for job in found), key=int, default=None)

    def _script(self, batch: Batch) -> Path:
        return batch_file(self._study, batch.key).with_suffix(".sh")

    def _wait_or_raise(self, refusal: str) -> None:
        if not is_temporary(refusal):
            raise refused(refusal)
        if refusal != self._refusal:
            self._say(f"sbatch takes no more jobs for now: {refusal.splitlines()[0]}")
        self._refusal = refusal
        self._after = self._clock() + FULL_QUEUE_S
