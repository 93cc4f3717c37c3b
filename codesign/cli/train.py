"""`codesign train`: train a design again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from codesign import api
from codesign.cli import options
from codesign.contracts import Progress
from codesign.errors import CodesignError
from codesign.retrain import too_many_processes
from codesign.stopping import StopSignals

_WHAT_TO_DO = {
    "preempted": "the same command continues from the checkpoint in {folder}",
    "node": "the same command continues from the last checkpoint in {folder}",
    "bug": "the logs lie in {folder}/log*.txt",
}


@click.command("train", help="Train a design again, e.g. a study's best.yaml.")
@options.design_file
@click.option(
    "--folder", type=click.Path(path_type=Path), help="For curve and result; default runs/NAME."
)
@click.option("--seed", type=click.IntRange(min=0), help="Default: the design file's own.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    help="Processes of this machine that train it together; default 1.",
)
@options.data
@options.as_json
def command(
    design: Path,
    folder: Path | None,
    seed: int | None,
    processes: int,
    data_path: str | None,
    as_json: bool,
) -> None:
    """Parse, train, print."""
    from rich.console import Console

    from codesign.report.figures import figure

    errors = Console(stderr=True)

    def show(progress: Progress) -> None:
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in progress.metrics.items())
        share = progress.done / progress.total
        errors.print(f"{share:4.0%} of {progress.total:,.0f} examples  {metrics}", highlight=False)

    target = folder or Path("runs") / design.resolve().parent.name
    for line in too_many_processes("local", 1, processes):
        errors.print(f"warning: {line}", style="yellow", highlight=False)
    stop = StopSignals()
    with stop.heeded(signal.SIGTERM) if processes == 1 else contextlib.nullcontext():
        outcome = api.train(
            design, folder=target, seed=seed, data_path=data_path, processes=processes,
            report=show, stop=stop,
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(outcome)))
    else:
        console = Console()
        for name, value in outcome.metrics.items():
            console.print(f"{name:<28} {figure(value)}", highlight=False)
        for line in memory_lines(outcome.facts.get("memory", {})):
            console.print(f"{'peak memory of a process':<28} {line}", highlight=False)
        for warning in outcome.facts.get("warnings", ()):
            errors.print(f"warning: {warning}", style="yellow", highlight=False)
        console.print(f"{'curve and result':<28} {target}", highlight=False)
    if outcome.failure is not None:
        raise CodesignError(
            f"the run ended as {outcome.failure}: {outcome.reason}",
            hint=_WHAT_TO_DO.get(outcome.failure, "").format(folder=target),
        )


def memory_lines(memory: Mapping[str, Any]) -> Iterator[str]:
    """Say what a run held at its peak, and what was predicted; see `Outcome.facts`."""
    if not memory:
        return
    yield f"{memory['measured_gib']:.3g} GiB, measured"
    if "predicted_gib" in memory:
        yield f"{memory['predicted_gib']:.3g} GiB, predicted ({memory['label']})"
