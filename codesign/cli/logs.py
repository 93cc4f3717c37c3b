"""`codesign logs`: what a trial has printed, the reason of its end first."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign import api
from codesign.cli import options

if TYPE_CHECKING:
    from codesign.study.logs import TrialLogs

LINES = 40
FOLLOW_EVERY_S = 0.5


@click.command("logs", help="Show what a trial has printed, and why it ended.")
@options.study_folder
@click.argument("trial", type=click.IntRange(min=0))
@click.option("--attempt", type=click.IntRange(min=1), help="Default: the latest.")
@click.option("--rank", type=click.IntRange(min=0), help="Of its processes; default: all.")
@click.option("--tail", "lines", type=click.IntRange(min=0), default=LINES, show_default=True,
              help="Last lines of each file.")  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on until the trial ends.")
@options.as_json
def command(
    study: Path,
    trial: int,
    attempt: int | None,
    rank: int | None,
    lines: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Parse, read, print."""
    if follow and as_json:
        raise click.UsageError("--follow and --json cannot be together")
    found = api.logs(study, trial, attempt=attempt, rank=rank)
    if as_json:
        click.echo(json.dumps(found.to_json(lines)))
        return
    click.echo(_heading(found))
    shown = _Shown(lines)
    shown.print(found)
    while follow and found.is_open:
        time.sleep(FOLLOW_EVERY_S)
        found = api.logs(study, trial, attempt=attempt, rank=rank)
        shown.print(found)
    if follow:
        click.echo(_heading(found))


class _Shown:
    """Prints of each file what is new; at first sight of it the last lines."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._ends: dict[Path, int] = {}
        self._latest: Path | None = None

    def print(self, found: TrialLogs) -> None:
        """Print what was written since."""
        from codesign.study.logs import last_lines

        for path in found.files:
            size = path.stat().st_size
            if path not in self._ends:
                text = "".join(f"{line}\n" for line in last_lines(path, self._lines))
            else:
                with path.open("rb") as file:
                    file.seek(self._ends[path])
                    text = file.read(size - self._ends[path]).decode(errors="replace")
            new, self._ends[path] = path not in self._ends, size
            if (text or new) and path != self._latest:
                click.echo(f"== {path}")
                self._latest = path
            click.echo(text, nl=False)


def _heading(found: TrialLogs) -> str:
    said = f"trial {found.trial}, attempt {found.attempt} of {found.attempts}: {found.status}"
    if found.failure is not None:
        said += f": {found.failure}: {found.reason}"
    if found.queued is not None:
        job = found.queued
        why = f" ({job.reason})" if job.reason else ""
        said += f", job {job.job} {job.state}{why}{f' on {job.nodes}' if job.nodes else ''}"
    return said
