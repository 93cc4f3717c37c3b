"""Loops of studies that end with SIGKILL right after an event of choice is on disk.

A server imports what all proposers need, once, and runs each loop in a fork of itself:

    python -m tests.support.killed_loops < requests

A request is a JSON object a line: `spec`, `study`, `warm_start`, and `events`, the number of events
after which the loop is killed (null: it runs to its end). The answer to each is its exit code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codesign import api
from codesign.contracts import Objective
from codesign.registry import PROPOSERS, plugin
from codesign.study.store import Event, Store

OBJECTIVES = (Objective(metric="log_loss", goal="minimize"),)


class KilledLoops:
    """Asks the server; `run` returns when the loop has ended."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(
        self, spec: Path, study: Path, *, events: int | None, warm_start: Sequence[Path] = ()
    ) -> int:
        """Run or continue a study; return the exit code of its loop, negative for a signal."""
        request = {"spec": str(spec), "study": str(study), "events": events,
                   "warm_start": list(map(str, warm_start))}  # fmt: skip
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())


@contextmanager
def killed_loops() -> Iterator[KilledLoops]:
    """Start the server; it ends with the block."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.killed_loops"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield KilledLoops(server)
    finally:
        server.communicate()


def _run(request: dict[str, Any]) -> None:
    append, seen = Store.append, 0

    def append_and_die(store: Store, *given: Any, **named: Any) -> Event:
        nonlocal seen
        event = append(store, *given, **named)
        seen += 1
        if seen == request["events"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return event

    Store.append = append_and_die  # type: ignore[method-assign]
    api.optimize(request["spec"], study=request["study"], warm_start=request["warm_start"])


def _serve() -> None:
    for name in PROPOSERS:
        module = plugin("proposer", name)
        module.make(OBJECTIVES, module.Options())
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            _run(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
