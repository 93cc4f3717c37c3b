"""`codesign profile`: measure this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from codesign import api
from codesign.cli import options

SECTIONS = ("op", "step", "table")


@click.command("profile", help="Measure what this machine takes for operations and training steps.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE.csv",
              help="Where rows go; a file of this device is continued.")  # fmt: skip
@click.option("--ops", "op", is_flag=True, help="Operations only; such flags add up.")
@click.option("--steps", "step", is_flag=True, help="Training steps only.")
@click.option("--tables", "table", is_flag=True, help="Lookups only.")
@click.option("--minutes", default=20.0, show_default=True, help="Most minutes.")
@click.option("--device", type=click.Choice(("auto", "cuda", "cpu")), default="auto")
@click.option("--shapes", type=click.Path(path_type=Path), metavar="SHAPES.csv",
              help="Own operations, measured first: columns op,B,M,N,K,dtype.")  # fmt: skip
@options.as_json
def command(
    out: Path,
    minutes: float,
    device: str,
    shapes: Path | None,
    as_json: bool,
    **chosen: bool,
) -> None:
    """Parse, measure, print."""
    summary = api.profile(
        out,
        minutes=minutes,
        sections=[name for name in SECTIONS if chosen[name]] or SECTIONS,
        device=device,
        shapes=shapes,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("rows", "measured", "left for a longer run", title=summary["device"])
    for column in table.columns[1:]:
        column.justify = "right"
    measured, left = summary["measured"], summary["left_for_a_longer_run"]
    for name in sorted({*measured, *left}):
        table.add_row(name, str(measured.get(name, 0)), str(left.get(name, 0)))
    console = Console()
    console.print(table)
    for name, value in summary["ceilings"].items():
        console.print(f"{name:<22} {value:.3g}", highlight=False)
    console.print(f"{summary['rows']} rows in {summary['file']}", highlight=False)
