"""`codesign export`: the trials of a study as a table."""

from __future__ import annotations

from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("export", help="Print or write a study's trials as a table, one row each.")
@options.study_folder
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="A .csv, .json or .parquet file; default: CSV on standard output.")  # fmt: skip
@options.as_json
def command(study: Path, out: Path | None, as_json: bool) -> None:
    """Parse, read, write."""
    table = api.export(study, out=out)
    if out is not None:
        click.echo(f"wrote {len(table)} trials to {out}", err=True)
    else:
        click.echo(table.write_json() if as_json else table.write_csv(), nl=as_json)
