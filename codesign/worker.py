"""Runs one attempt of a trial: `trial.json` in, `result.json` out.

Every executor runs this, and a person can run it again: `python -m codesign.worker FOLDER`. With
`--serve` it stays alive and takes one folder after another (see `codesign.serving`). Both `--serve`
and `--tied` end with their standard input, so that no worker outlives its loop. Several processes
run one attempt together where the environment says so, as torchrun's does: `RANK`, `WORLD_SIZE`, ….

A SIGTERM lets the attempt save what another one can go on from, and then ends the process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codesign import serving
from codesign.contracts import Outcome, Progress, Task
from codesign.errors import CodesignError, LaunchError
from codesign.registry import task_family
from codesign.stopping import Stop, StopSignals
from codesign.study.folder import earlier_attempts, read_json, write_json

PROGRESS_EVERY_S = 0.5
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Runner:
    """Runs attempts one after the other and keeps the task (its data, its imports) between them.

    Args:
        stop: see `Task.run`.
    """

    def __init__(
        self, *, stop: Stop = lambda: False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stop = stop
        self._clock = clock
        self._key = ""
        self._task: Task | None = None

    def run_trial(self, folder: Path) -> Outcome:
        """Run the attempt described by `folder/trial.json` and write `folder/result.json`.

        A failure of the attempt is an outcome, never an exception. Of several processes, others
        than rank 0 write only how they failed. One that was told to stop has not ended: nothing is
        written of it.
        """
        began = self._clock()
        rank = int(os.environ.get("RANK", "0"))
        payload = read_json(folder / "trial.json")
        outcome = self._attempt(payload, folder, rank)
        if outcome.failure != "preempted" and (rank == 0 or outcome.failure is not None):
            serving.write_result(folder, outcome, seconds=self._clock() - began, rank=rank)
        return outcome

    def _attempt(self, payload: Mapping[str, Any], folder: Path, rank: int = 0) -> Outcome:
        try:
            task = self._task_for(payload["task"])
            until = payload.get("until", 1.0)
            return task.run(
                payload["design"],
                seed=payload["seed"],
                folder=folder,
                earlier=earlier_attempts(folder),
                report=_unsaid if rank else _ProgressFile(folder / "progress.json", self._clock),
                stop=self._stop,
                **({} if until == 1 else {"until": until}),
            )
        except MemoryError:
            return Outcome(failure="out_of_memory", reason="the Python allocator ran out of memory")
        except LaunchError as error:
            return Outcome(failure="node", reason=error.what)
        except Exception as error:  # The boundary: whatever a trial does, the study goes on.
            trace = traceback.format_exc()
            if _is_allocation_failure(error):
                return Outcome(failure="out_of_memory", reason=_first_line(error))
            if _is_lack_of_space(error):
                return Outcome(failure="node", reason=f"no space to write: {_first_line(error)}")
            if isinstance(error, CodesignError):
                return _refused(error)
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
            task = task_family(section["name"]).make(**arguments)
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


def _refused(error: CodesignError) -> Outcome:
    """What a person can mend needs no traceback."""
    print(error, file=sys.stderr)
    said = {"what": error.what, "where": error.where, "hint": error.hint}
    reason = f"{error.where}: {error.what}" if error.where else error.what
    return Outcome(failure="bug", reason=reason, facts={"refusal": said})


def _unsaid(_: Progress) -> None:
    """What a rank that is not the first has to say of its progress."""


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
    stop = StopSignals()
    runner = Runner(stop=stop)

    def run(folder: Path) -> Outcome:
        with stop.heeded(signal.SIGTERM):
            outcome = runner.run_trial(folder)
        stop.obey()
        return outcome

    def run_logged(folder: Path) -> None:
        with _output_into(serving.log_file(folder)):
            run(folder)

    if arguments == ["--serve"]:
        serving.serve(sys.stdin, serving.private_answers(), run_logged)
    tied = arguments[:1] == ["--tied"]
    folders = arguments[tied:]
    if len(folders) != 1 or folders[0].startswith("-"):
        print("usage: python -m codesign.worker [--tied] FOLDER | --serve", file=sys.stderr)
        return 2
    if tied:
        serving.end_with(sys.stdin)
    outcome = run(Path(folders[0]))
    print(json.dumps(asdict(outcome), indent=2))
    return 0 if outcome.failure is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
