"""Running searches, each once: finished ones are kept in a file, a line each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.search.methods import Method
from benchmarks.search.task import Task, fingerprint

# Raise it when what a finished search holds, or how searches are run, changes its meaning.
PROTOCOL = 1


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A search that ended.

    Attributes:
        key: hash of all that its choices follow from.
        values: the objectives' values, trial by trial; None: the run failed.
        seconds: what its proposals took in all, on whatever machine.
    """

    key: str
    task: str
    method: str
    seed: int
    values: list[list[float | None]]
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A search to run, or to find in the file."""

    task: Task
    method: Method
    seed: int

    @property
    def trials(self) -> int:
        """How many designs it trains: no more than there are."""
        most = self.method.trials(self.task.family, self.task.trials)
        return min(most, len(self.task.values_RO))

    @property
    def key(self) -> str:
        """Hash all that its choices follow from."""
        objectives = [(objective.metric, objective.goal) for objective in self.task.objectives]
        task = (self.task.fingerprint, self.trials, objectives)
        return fingerprint(PROTOCOL, task, self.method.name, self.method.version(), self.seed)


def plan(tasks: Sequence[Task], methods: Sequence[Method], seeds: int) -> list[Planned]:
    """List all searches, seed by seed, so that any beginning of the list compares all methods."""
    return [
        Planned(task, method, seed)
        for seed in range(seeds)
        for task in tasks
        for method in methods
        if seed < method.seeds(task.family, seeds)
    ]


def replay(
    planned: Sequence[Planned],
    cache: Path,
    *,
    part: tuple[int, int] = (0, 1),
    say: Callable = print,
) -> None:
    """Run what the file lacks, and append it.

    Args:
        part: (k, n): of these every n-th, from the k-th on, so that processes share the work.
        say: takes lines of progress.
    """
    known = read(cache)
    due = [search for search in planned if search.key not in known][part[0] :: part[1]]
    for done, search in enumerate(due, start=1):
        found = run(search)
        append(cache, found)
        say(
            f"[{done}/{len(due)}] {found.task} {found.method} seed {found.seed}: "
            f"{len(found.values)} trials, {found.seconds:.1f} s"
        )


def run(search: Planned) -> Finished:
    """Search once."""
    task, values, seconds = search.task, [], 0.0
    began = time.perf_counter()
    chooser = search.method.start(task, search.seed)
    for _ in range(search.trials):
        began = time.perf_counter()
        design = chooser.ask()
        seconds += time.perf_counter() - began
        observation = task.answer(design)
        chooser.tell(observation)
        values.append(task.values(observation))
    return Finished(
        key=search.key,
        task=task.name,
        method=search.method.name,
        seed=search.seed,
        values=values,
        seconds=round(seconds, 3),
    )


def read(cache: Path) -> dict[str, Finished]:
    """Read finished searches by their keys. A line that was cut does not count."""
    return {found.key: found for found in _lines(cache)} if cache.exists() else {}


def _lines(cache: Path) -> Iterator[Finished]:
    for line in cache.read_text(encoding="utf-8").splitlines():
        try:
            yield Finished(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue


def append(cache: Path, found: Finished) -> None:
    """Add one line by a single write; first end a line that was cut."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(found), separators=(",", ":")) + "\n"
    descriptor = os.open(cache, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, ("\n" * is_cut + line).encode())
    finally:
        os.close(descriptor)
