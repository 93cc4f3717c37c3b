"""The process that follows a study for its trackers, as the loop sees it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from codesign.tracking.logged import FOLDER

WAIT_S = 20.0
"""For runs that are not yet logged when the loop ends; they go on without it."""


def say_once() -> Callable[[str], None]:
    """Return what prints the first line it is called with, and keeps all others back."""
    said: list[str] = []

    def say(line: str) -> None:
        if not said:
            # The loop may have ended: nobody listens any more.
            with contextlib.suppress(OSError):
                print(" ".join(line.split()), flush=True)
        said.append(line)

    return say


@contextlib.contextmanager
def followed(study: Path, trackers: Iterable[str], say: Callable[[str], None]) -> Iterator[None]:
    """Have a study followed for as long as the block lasts, by a process for each tracker.

    Whatever becomes of these processes is said once, and of no further consequence.
    """
    with contextlib.ExitStack() as started:
        for name in trackers:
            started.enter_context(_followed(study, name, say))
        yield


@contextlib.contextmanager
def _followed(study: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    log = study / FOLDER / "follower.log"
    told = f"log: {log}; later, `codesign {name} log {study}` brings it up to date"
    try:
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as errors:
            follower = subprocess.Popen(
                [sys.executable, "-m", "codesign.tracking", str(study.absolute()), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the loop.
            )
    except OSError as error:
        say(f"warning: {name}: cannot be started: {error.strerror}; the study goes on; {told}")
        yield
        return

    def listen() -> None:
        said = False
        for line in follower.stdout or ():
            say(f"warning: {name}: {line.strip()}; the study goes on; {told}")
            said = True
        if follower.wait() and not said:
            ended = f"ended with code {follower.returncode}"
            say(f"warning: {name}: its process {ended}; the study goes on; {told}")

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        if follower.stdin is not None:
            with contextlib.suppress(OSError):
                follower.stdin.close()
        listener.join(WAIT_S)
        if listener.is_alive():
            say(f"{name}: not all runs are there yet; process {follower.pid} goes on; log: {log}")
