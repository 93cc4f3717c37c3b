"""`codesign status`: how a study stands, while it runs and after."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign import api
from codesign.cli import options

if TYPE_CHECKING:
    from codesign.contracts import Queued
    from codesign.study.status import RunningTrial, StudyStatus

# Of trials that run, and of those that failed.
LINES = 20


@click.command("status", help="Show how a study stands: its loop, its trials, what failed.")
@options.study_folder
@options.as_json
def command(study: Path, as_json: bool) -> None:
    """Parse, read, print."""
    found = api.status(study)
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: StudyStatus) -> Iterator[str]:
    from codesign.report.figures import brief_figures

    alive = found.loop in ("running", "silent")
    yield f"{found.study}: {_loop(found)}"
    queued = [trial for trial in found.running if trial.queued is not None]
    words = {} if alive else {"running": "left in the queue" if queued else "interrupted"}
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.failed.items())
    words |= {"failed": f"failed ({kinds})"}
    counts = ", ".join(f"{count} {words.get(s, s)}" for s, count in found.trials.items())
    by_status = f": {counts}" if counts else ""
    yield f"trials   {found.ended} of {found.planned} ended{by_status}{_left(found.left_s)}"
    for study, count in found.warm_start.items():
        yield f"warm     start with {count} trial{'s' * (count != 1)} of {study}"
    if found.gpu_hours_limit is not None:
        yield f"used     {found.gpu_hours:.3g} of {found.gpu_hours_limit:g} GPU-hours"
    if found.savings is not None:
        yield f"saved    {found.savings.told}"
    if found.best is not None:
        values = ", ".join(brief_figures(found.best.metrics, found.objectives))
        yield f"best     trial {found.best.trial}: {values}"
        if found.best.system:
            chosen = ", ".join(f"{k} {v}" for k, v in found.best.system["train"].items())
            devices = found.best.system["devices"]
            yield f"system   chosen for devices {devices}: {chosen or 'as the study says'}"
    if found.outage:
        yield f"outage   {found.outage}"
    if queued:
        yield f"queue    {queue_summary([t.queued for t in queued if t.queued is not None])}"
    under_way = [t for t in found.running if not t.waits] if alive else queued
    yield from _first(f"running  trial {t.trial}: {_said(t, found)}" for t in under_way)
    yield from _first(
        f"failed   trial {failed.trial}: {failed.failure}: {failed.reason}"
        for failed in found.failures
    )


def queue_summary(jobs: Sequence[Queued]) -> str:
    """Count jobs by where they stand and why: `3 RUNNING, 12 PENDING (Priority)`."""
    words = Counter(f"{job.state} ({job.reason})" if job.reason else job.state for job in jobs)
    return ", ".join(f"{count} {each}" for each, count in words.most_common())


def _said(trial: RunningTrial, found: StudyStatus) -> str:
    from codesign.report.figures import brief_figures

    share = "has said nothing yet" if trial.share is None else f"{100 * trial.share:.0f}%"
    said = [f"{share}{_left(trial.left_s)}", *brief_figures(trial.metrics, found.objectives)]
    if trial.queued is not None:
        said.append(f"job {trial.queued.job} {trial.queued.state} on {trial.queued.nodes or '-'}")
    return ", ".join(said)


def _first(lines: Iterable[str]) -> Iterator[str]:
    """Yield as many lines as a person reads, and how many there are more."""
    every = list(lines)
    yield from every[:LINES]
    if len(every) > LINES:
        yield f"         and {len(every) - LINES} more; --json has all"


def _loop(found: StudyStatus) -> str:
    if found.owner is None:
        return "nothing runs" if found.ended < found.planned else "has ended"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.owner.since))
    return {
        "running": f"run by {found.owner} since {since}",
        "silent": f"held by {found.owner} since {since}, whose heartbeat does not move",
        "dead": f"{found.owner} ended without a word; `codesign optimize` goes on with the study",
    }[found.loop]


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return (
        f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
    )
