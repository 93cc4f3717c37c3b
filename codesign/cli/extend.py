"""`codesign extend`: let a running study search longer."""

from __future__ import annotations

import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("extend", help="Let a running study search more designs.")
@options.study_folder
@click.option("--trials", type=int, required=True, help="Designs in all, as search.trials.")
@options.as_json
def command(study: Path, trials: int, as_json: bool) -> None:
    """Parse, ask, print."""
    owner = api.extend(study, trials=trials)
    if as_json:
        click.echo(json.dumps({"asked": str(owner), "trials": trials}))
    else:
        click.echo(f"asked {owner} to search {trials} designs in all")
