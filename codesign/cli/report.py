"""`codesign report`: show a study, and write its page again."""

from __future__ import annotations

import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("report", help="Show a study's front; write its page and report.md again.")
@options.study_folder
@options.as_json
def command(study: Path, as_json: bool) -> None:
    """Parse, read, print."""
    from rich.console import Console

    from codesign.report.terminal import front_as_json, print_front

    result = api.report(study)
    if as_json:
        click.echo(json.dumps({"folder": str(result.folder), **front_as_json(result.content)}))
        return
    console = Console()
    print_front(result.content, console)
    console.print(f"\npage      {result.folder / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"markdown  {result.folder / 'report.md'}", highlight=False)
