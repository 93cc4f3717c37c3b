"""Signals that tell a process to stop, which may first save what it is at."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

# Asked now and then by what runs: whether it is to save what it can go on from, and end.
Stop = Callable[[], bool]


class StopSignals:
    """A `Stop` that says yes once this process has received one of some signals.

    Attributes:
        received: the first of them; None: none has come.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether this process is to stop."""
        return self.received is not None

    @contextlib.contextmanager
    def heeded(self, *signals: signal.Signals) -> Iterator[None]:
        """Take these signals as long as the block runs, in the main thread."""
        before = {number: signal.signal(number, self._take) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def obey(self) -> None:
        """End this process by the signal that it received, if any, as if it had not waited."""
        if self.received is not None:
            signal.signal(self.received, signal.SIG_DFL)
            signal.raise_signal(self.received)

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received is None:
            self.received = signal.Signals(number)
