"""`codesign cancel`: end trials of a running study."""

from __future__ import annotations

import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("cancel", help="Cancel trials of a running study, by number.")
@options.study_folder
@click.argument("trials", type=int, nargs=-1, required=True)
@options.as_json
def command(study: Path, trials: tuple[int, ...], as_json: bool) -> None:
    """Parse, ask, print."""
    owner = api.cancel(study, trials)
    if as_json:
        click.echo(json.dumps({"asked": str(owner), "trials": trials}))
    else:
        click.echo(f"asked {owner} to cancel {', '.join(map(str, trials))}")
