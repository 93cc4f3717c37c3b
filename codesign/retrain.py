"""Trains one design again, by one process or several."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.contracts import Job, LaunchRequest, Outcome, Progress
from codesign.errors import CodesignError, ConfigError
from codesign.provenance import provenance
from codesign.registry import plugin
from codesign.stopping import Stop
from codesign.study.folder import read_json_if_whole, write_json

if TYPE_CHECKING:
    from codesign.spec.model import DesignFile

LOOK_EVERY_S = 0.5


def train(
    design_path: str | Path,
    *,
    folder: str | Path,
    seed: int | None = None,
    data_path: str | None = None,
    processes: int = 1,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Stop = lambda: False,
) -> Outcome:
    """Train the design of a `best.yaml` again; curve and result land in `folder`.

    Killed and run again with the same folder, it continues from its last checkpoint.

    Args:
        seed: default: the file's own.
        processes: of this machine that train it together, ≥ 1.
        stop: asked every few seconds, of one process; where it says yes the run saves a checkpoint
            and ends as `preempted`.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.spec.loader import load_design
    from codesign.spec.problem import task_of_design

    design = load_design(design_path, data_path=data_path)
    task = task_of_design(design)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodesignError(
            f"the folder for curve and result cannot be made: {error.strerror}",
            where=str(folder),
            hint="choose another with --folder",
        ) from error
    chosen = design.seed if seed is None else seed
    if processes == 1:
        outcome = task.run(
            design.design, seed=chosen, folder=folder, earlier=(), report=report, stop=stop
        )
    else:
        outcome = _on_ranks(design, folder, seed=chosen, processes=processes, report=report)
    write_json(
        folder / "result.json",
        {"seed": chosen, **dataclasses.asdict(outcome), "provenance": provenance()},
    )
    return outcome


def _on_ranks(
    design: DesignFile,
    folder: Path,
    *,
    seed: int,
    processes: int,
    report: Callable[[Progress], None],
) -> Outcome:
    """Run the design as an attempt of a trial, and pass on what it says of its progress."""
    from codesign.spec.problem import task_section

    progress_file = folder / "progress.json"
    for left in (folder / "result.json", progress_file, *folder.glob("result-rank*.json")):
        left.unlink(missing_ok=True)
    attempt = {"task": task_section(design), "design": dict(design.design), "seed": seed}
    write_json(folder / "trial.json", {"token": "", **attempt})
    executor = plugin("executor", "local").make(LaunchRequest(workers=1, processes=processes))
    passed_on = None
    try:
        executor.submit(Job(trial=0, attempt=0, folder=folder.absolute(), processes=processes))
        while True:
            ended = [outcome for _, outcome in executor.poll(LOOK_EVERY_S)]
            said = read_json_if_whole(progress_file)
            if said and said != passed_on:
                passed_on = said
                report(Progress(done=said["done"], total=said["total"], metrics=said["metrics"]))
            if ended and "refusal" in ended[0].facts:
                raise ConfigError(**ended[0].facts["refusal"])
            if ended:
                return ended[0]
    finally:
        executor.close()


def too_many_processes(executor: str, workers: int, processes: int) -> Iterator[str]:
    """Say where processes on this machine have less than a core each."""
    cores = len(os.sched_getaffinity(0))
    if executor == "local" and processes > 1 and workers * processes > cores:
        fewer = "fewer of them, or fewer trials at a time" if workers > 1 else "fewer of them"
        yield (
            f"{workers} × {processes} processes on {cores} cores wait for each other: start {fewer}"
        )
