"""`codesign stop`: ask the loop of a study to end; it can be continued."""

from __future__ import annotations

import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("stop", help="Ask a running study to stop; `codesign optimize` continues it.")
@options.study_folder
@click.option("--now", is_flag=True, help="End the trials that run; they run again later.")
@options.as_json
def command(study: Path, now: bool, as_json: bool) -> None:
    """Parse, ask, print."""
    found = api.stop(study, now=now)
    if as_json:
        asked = None if found.asked is None else str(found.asked)
        click.echo(json.dumps({"asked": asked, "jobs": found.jobs}))
    elif found.asked is not None:
        then = "trials that run are ended" if now else "trials that run end first"
        click.echo(f"asked {found.asked} to stop; {then}")
    elif found.jobs:
        fate = "were ended" if now else "go on in the queue; --now ends them"
        click.echo(f"{study}: no loop runs; {found.jobs} jobs {fate}")
    else:
        click.echo(f"{study}: nothing runs")
