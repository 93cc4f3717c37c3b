"""One question for all jobs, now and then, in the background; and what to say when none answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from launch.slurm.client import Client, NoAnswerError, RefusedError, Seen

EVERY_S, AT_MOST_EVERY_S = 1.0, 30.0
# A look may take this share of the time between looks.
SHARE = 0.05


class Outage:
    """Whether SLURM answers; said once, and once when it is back.

    Attributes:
        line: since when and why it does not; empty: it does.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.line = ""
        self._say = say

    def began(self, why: str) -> None:
        """Take in that something got no answer."""
        if not self.line:
            self.line = f"since {time.strftime('%H:%M:%S')}: {why}"
            self._say(f"SLURM does not answer, waiting {self.line}")

    def ended(self) -> None:
        """Take in that SLURM answers."""
        if self.line:
            self._say("SLURM answers again")
        self.line = ""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What SLURM told of all jobs.

    Attributes:
        began: when it was asked; took_s: how long the answer took.
        outage: why it told nothing.
    """

    began: float
    took_s: float
    jobs: Mapping[str, Seen] = field(default_factory=dict)
    outage: str = ""


class Looks:
    """Asks SLURM how jobs stand, no oftener than it can afford.

    Args:
        clock: seconds that are never set back; sleep: waits.
    """

    def __init__(
        self, client: Client, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._asked: Future[Look] | None = None
        self._ask_after = -float("inf")

    def next(self, jobs: Sequence[str], wait_s: float) -> Look | None:
        """Ask, where it is time to; wait up to `wait_s`, and return the answer if it has come.

        Args:
            jobs: ids of those that accounting is to be asked about, where the controller does not
                know them any more.
        """
        if self._asked is None:
            if self._clock() < self._ask_after:
                self._sleep(wait_s)
                return None
            self._asked = self._in_background(jobs)
        try:
            look = self._asked.result(timeout=wait_s)
        except TimeoutError:
            return None
        self._asked = None
        every_s = min(AT_MOST_EVERY_S, max(EVERY_S, look.took_s / SHARE))
        self._ask_after = self._clock() + every_s
        return look

    def _look(self, jobs: Sequence[str]) -> Look:
        began, outage = self._clock(), ""
        found: dict[str, Seen] = {}
        try:
            found = self._client.queue()
            if gone := [job for job in jobs if job not in found]:
                found |= self._client.ended(gone)
        except (NoAnswerError, RefusedError) as error:
            outage = str(error)
        return Look(began=began, took_s=self._clock() - began, jobs=found, outage=outage)

    def _in_background(self, jobs: Sequence[str]) -> Future[Look]:
        """Look in a thread that does not hold up the end of the process."""
        future: Future[Look] = Future()

        def run() -> None:
            try:
                future.set_result(self._look(jobs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future
