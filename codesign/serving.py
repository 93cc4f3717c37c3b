"""How a process takes attempts of trials from its parent, and says how they ended.

One folder a line comes in on standard input, and goes back once its attempt has ended. Where
several processes run an attempt together, rank 0 writes `result.json`, and every other one that
failed a `result-rankN.json`.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn, TextIO

from codesign.contracts import Outcome
from codesign.study.folder import read_json, write_json

READY = "ready"


def serve(requests: TextIO, answers: TextIO, run: Callable[[Path], object]) -> NoReturn:
    """Run the attempts named on `requests` until it ends, and this process with it."""
    print(READY, file=answers, flush=True)
    lines: queue.Queue[str] = queue.Queue()
    end_with(requests, lines.put)
    while True:
        line = lines.get()
        run(Path(line))
        print(line, file=answers, flush=True)


def end_with(stream: TextIO, take: Callable[[str], object] = lambda _: None) -> None:
    """End this process at once where a stream ends, in the middle of a trial too.

    Args:
        take: called with each line.
    """

    def pump() -> None:
        for line in stream:
            take(line.rstrip("\n"))
        os._exit(0)

    threading.Thread(target=pump, daemon=True).start()


def private_answers() -> TextIO:
    """Return what was standard output; from now on, all that is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def result_file(folder: Path, rank: int = 0) -> Path:
    """Where a process of an attempt says how it ended."""
    return folder / (f"result-rank{rank}.json" if rank else "result.json")


def log_file(folder: Path, rank: int = 0) -> Path:
    """Where a process of an attempt prints."""
    return folder / (f"log-rank{rank}.txt" if rank else "log.txt")


def write_result(folder: Path, outcome: Outcome, *, seconds: float, rank: int = 0) -> None:
    """Write how an attempt ended, with the token that makes it count."""
    token = read_json(folder / "trial.json")["token"]
    said = {"token": token, **asdict(outcome), "seconds": seconds}
    write_json(result_file(folder, rank), said)


def read_results(folder: Path, ranks: int) -> Iterator[tuple[int, Outcome]]:
    """Yield each rank's outcome, of those that left one."""
    for rank in range(ranks):
        path = result_file(folder, rank)
        if path.exists():
            yield rank, Outcome.from_json(read_json(path))
