"""Time left, and whether a case fits in it."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from typing import TYPE_CHECKING

from cost_models.profile.kernels import case_bytes, case_flop
from cost_models.profile.spaces import StepDesign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cost_models.profile.record import Case, Result

ROW_SHARE, ROW_S = 0.15, 120.0  # most of a run, and most seconds, that one row may take
_COMPILE_S = 25.0  # until one compilation has been measured
_EFFICIENCY = 0.3  # of the ceilings: what an estimate counts with


class OutOfTime(BaseException):
    """The row took longer than it may. Not an Exception: libraries must not catch it."""


class Budget:
    """The time of one run.

    Args:
        seconds: after which the run ends.
        memory_bytes: of the device: what exceeds it by far fails at once and costs no time.
        clock: monotonic seconds.
    """

    def __init__(
        self, seconds: float, memory_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._memory_bytes = memory_bytes
        self.row_s = min(ROW_S, max(ROW_SHARE * seconds, 2.0))
        self._flop_per_s: dict[str, float] = {}
        self._bytes_per_s = 1e9
        self._compile_s = _COMPILE_S

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return self._end - self._clock()

    def learn(self, case: Case, result: Result) -> None:
        """Take a measured ceiling, or the time of a compilation, into account."""
        if result.status != "ok":
            return
        if case.section == "ceiling" and case.kind == "gemm":
            self._flop_per_s[case.precision] = 1e3 * result.flop / result.median_ms
        elif case.section == "ceiling" and case.kind == "copy":
            self._bytes_per_s = 1e3 * result.bytes / result.median_ms
        elif case.mode == "compiled":
            self._compile_s = max(result.compile_s, 0.7 * self._compile_s)

    @property
    def is_generous(self) -> bool:
        """Whether a row may take as long as one ever may."""
        return self.row_s >= ROW_S and self.left_s > 0

    def allows(self, case: Case) -> bool:
        """Whether a case is expected to end in time."""
        if case.section == "ceiling" or self._is_oversized(case):
            return self.left_s > 0
        return self._expected_s(case) < min(self.left_s, self.row_s)

    def _is_oversized(self, case: Case) -> bool:
        return case.section == "op" and case_bytes(case) > 2 * self._memory_bytes

    def _expected_s(self, case: Case) -> float:
        rate = self._flop_per_s.get(case.precision, 1e10) * _EFFICIENCY
        bandwidth = self._bytes_per_s * _EFFICIENCY
        if case.section == "step":
            step_s = StepDesign.from_json(case.design).flop(case.batch) / rate
            return 0.5 + 14 * step_s + (self._compile_s if case.mode == "compiled" else 0)
        if case.section == "table":
            rows = json.loads(case.design)["rows"]
            drawn = 4 * case.m * case.n * (3 * rows + 10 * case.batch)
            return 0.5 + (drawn + 200 * case.batch * case.m * case.n * case.k) / bandwidth
        once_s = max(case_flop(case) / rate, case_bytes(case) / bandwidth)
        return 0.1 + 6 * once_s

    @contextlib.contextmanager
    def alarm(self, case: Case) -> Iterator[None]:
        """Raise OutOfTime in a case that runs into the end, or far beyond its share.

        Only the main thread can be interrupted so, and no single kernel.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        most_s = self.left_s if case.section == "ceiling" else min(self.left_s, 2 * self.row_s)
        before = signal.signal(signal.SIGALRM, _raise_out_of_time)
        signal.setitimer(signal.ITIMER_REAL, max(most_s, 0.1))
        try:
            yield
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _raise_out_of_time(number: int, frame: object) -> None:  # noqa: ARG001
    raise OutOfTime
