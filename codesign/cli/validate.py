"""`codesign validate`: check a spec without running it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("validate", help="Check a spec; show the size of its space and the feasible share.")
@options.spec_file
@options.data
@options.sets
@options.as_json
def command(spec: Path, data_path: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Parse, check, print."""

    def say(line: str) -> None:
        click.echo(line, err=True)

    found = api.validate(spec, overrides=overrides, data_path=data_path, say=say)
    if as_json:
        click.echo(json.dumps(found))
        return
    from rich.console import Console
    from rich.table import Table

    from codesign.cli.predictions import print_predictions

    feasible = found["feasible"]
    count = f"{feasible:,.0f}" if found["feasible_is_exact"] else f"about {feasible:.3g}"
    console = Console()
    console.print(
        f"{found['study']} is valid: {found['designs']:,} designs, {count} "
        f"within the budgets ({100 * found['feasible_share']:.3g}%)",
        highlight=False,
    )
    least = "least" if found["least_is_proven"] else "least of those drawn"
    table = Table("exact cost", least, "median (feasible)", "most (sample of 2,000)")
    for name, entry in found["costs"].items():
        table.add_row(name, *(f"{entry[key]:,.6g}" for key in entry))
    console.print(table)
    print_predictions(found["predicted"], found["confidence"], console)
