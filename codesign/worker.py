"""Runs one attempt of a trial: `trial.json` in, `result.json` out.

Every executor runs this, and a person can run it again: `python -m codesign.worker FOLDER`. With
`--serve` it stays alive, reads one folder a line from standard input and answers each with a line
when the attempt has ended; it ends with its standard input, so no worker outlives its loop.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from codesign.contracts import Outcome, Progress, Task
from codesign.registry import plugin
from codesign.study.folder import earlier_attempts, read_json, write_json

PROGRESS_EVERY_S = 0.5
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READY = "ready"


class Runner:
    """Runs attempts one after the other and keeps the task (its data, its imports) between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = ""
        self._task: Task | None = None

    def run_trial(self, folder: Path) -> Outcome:
        """Run the attempt described by `folder/trial.json` and write `folder/result.json`.

        A failure of the attempt is an outcome, never an exception.
        """
        began = self._clock()
        payload = read_json(folder / "trial.json")
        outcome = self._attempt(payload, folder)
        write_json(
            folder / "result.json",
            {
                "token": payload["token"],
                "seconds": self._clock() - began,
                **asdict(outcome),
            },
        )
        return outcome

    def _attempt(self, payload: Mapping[str, Any], folder: Path) -> Outcome:
        try:
            task = self._task_for(payload["task"])
            return task.run(
                payload["design"],
                seed=payload["seed"],
                folder=folder,
                earlier=earlier_attempts(folder),
                report=_ProgressFile(folder / "progress.json", self._clock),
            )
        except MemoryError:
            return Outcome(failure="out_of_memory", reason="the Python allocator ran out of memory")
        except Exception as error:  # The boundary: whatever a trial does, the study goes on.
            trace = traceback.format_exc()
            if _is_allocation_failure(error):
                return Outcome(failure="out_of_memory", reason=_first_line(error))
            if _is_lack_of_space(error):
                return Outcome(failure="node", reason=f"no space to write: {_first_line(error)}")
            print(trace, file=sys.stderr)
            return Outcome(
                failure="bug",
                reason=f"{type(error).__name__}: {_first_line(error)}",
                facts={"traceback": trace},
            )

    def _task_for(self, section: Mapping[str, Any]) -> Task:
        key = json.dumps(section, sort_keys=True)
        if self._task is None or key != self._key:
            arguments = {name: value for name, value in section.items() if name != "name"}
            task: Task = plugin("task", section["name"]).make(**arguments)
            self._task, self._key = task, key
        return self._task


class _ProgressFile:
    """Writes the latest progress into a file, at most twice a second."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._began = clock()
        self._next = -float("inf")

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if now >= self._next or progress.done >= progress.total:
            said = {**asdict(progress), "seconds": now - self._began}
            write_json(self._path, said, durable=False)
            self._next = now + PROGRESS_EVERY_S


def _is_allocation_failure(error: BaseException) -> bool:
    """Whether torch's allocator refused: a named error on GPUs, only a sentence on CPUs."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _is_lack_of_space(error: BaseException | None) -> bool:
    """Whether a full disk is behind the error: no fault of the design, nor of the code."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def serve(requests: TextIO, answers: TextIO, runner: Runner) -> None:
    """Run the attempts named on `requests`, one folder a line, until it ends."""
    print(READY, file=answers, flush=True)
    for line in _lines_or_exit(requests):
        folder = Path(line)
        with _output_into(folder / "log.txt"):
            runner.run_trial(folder)
        print(folder, file=answers, flush=True)


def _lines_or_exit(requests: TextIO) -> Iterator[str]:
    """Yield lines; when the stream ends, end this process at once, in the middle of a trial too."""
    import queue

    lines: queue.Queue[str] = queue.Queue()

    def pump() -> None:
        for line in requests:
            lines.put(line.rstrip("\n"))
        os._exit(0)

    threading.Thread(target=pump, daemon=True).start()
    while True:
        yield lines.get()


@contextlib.contextmanager
def _output_into(path: Path) -> Iterator[None]:
    """Send standard output and error of this process, C libraries included, into a file."""
    with path.open("ab") as log:
        kept = [os.dup(1), os.dup(2)]
        try:
            for fd in (1, 2):
                os.dup2(log.fileno(), fd)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, fd)
                os.close(copy)


def main(arguments: list[str]) -> int:
    """Serve, or run one attempt."""
    if arguments == ["--serve"]:
        # Answers go to a private copy of standard output, so that nothing else mixes with them.
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        serve(sys.stdin, answers, Runner())
        return 0
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m codesign.worker FOLDER | --serve", file=sys.stderr)
        return 2
    outcome = Runner().run_trial(Path(arguments[0]))
    print(json.dumps(asdict(outcome), indent=2))
    return 0 if outcome.failure is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
