"""`codesign status`: how a study stands, while it runs and after."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign import api
from codesign.cli import options

if TYPE_CHECKING:
    from codesign.study.status import StudyStatus


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
    words = {} if alive else {"running": "interrupted"}
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
            yield f"system   chosen for hardware.devices {devices}: {chosen or 'as the study says'}"
    for trial in found.running if alive else ():
        share = "has said nothing yet" if trial.share is None else f"{100 * trial.share:.0f}%"
        said = [f"{share}{_left(trial.left_s)}", *brief_figures(trial.metrics, found.objectives)]
        yield f"running  trial {trial.trial}: {', '.join(said)}"
    for failed in found.failures:
        yield f"failed   trial {failed.trial}: {failed.failure}: {failed.reason}"


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
