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
    owner = api.stop(study, now=now)
    if as_json:
        click.echo(json.dumps({"asked": None if owner is None else str(owner)}))
    elif owner is None:
        click.echo(f"{study}: nothing runs")
    else:
        click.echo(
            f"asked {owner} to stop; "
            + ("trials that run are ended" if now else "trials that run end first")
        )
