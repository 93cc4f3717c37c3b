"""Steps at which ranks ask each other whether one of them was told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from wukong.parallel.ranks import Ranks

# Seconds between two looks, where a step is not longer.
LOOK_EVERY_S = 3.0


class Looks:
    """Chooses the steps by how long steps take, the same on every rank.

    Args:
        stop: says on each rank whether it was told to.
        clock: seconds; that of rank 0 counts.
    """

    def __init__(
        self,
        stop: Callable[[], bool],
        ranks: Ranks,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stop, self._ranks, self._clock = stop, ranks, clock
        self._between, self._left = 1, 1
        self._looked_s = clock()

    def at_step(self) -> bool:
        """Whether to stop after this step; every rank must call it after each step."""
        self._left -= 1
        return self._left <= 0 and self._look()

    def _look(self) -> bool:
        """Ask all ranks, and choose the next step to ask at."""
        now_s = self._clock()
        per_step_s = max(1e-9, (now_s - self._looked_s) / self._between)
        # Steps may become slower: never many more of them than were just timed.
        between = max(1, min(int(LOOK_EVERY_S / per_step_s), 2 * self._between))
        said = self._ranks.gather((self._stop(), between))
        self._between = self._left = said[0][1]
        self._looked_s = now_s
        return any(stop for stop, _ in said)
