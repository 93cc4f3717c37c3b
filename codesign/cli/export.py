"""`codesign export`: the trials of a study as a table, or the design of one as YAML."""

from __future__ import annotations

from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("export", help="Print or write a study's trials as a table, or one design as YAML.")
@options.study_folder
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="A .csv, .json or .parquet file; default: CSV on standard output.")  # fmt: skip
@click.option("--design", type=click.IntRange(min=0), metavar="TRIAL",
              help="The design of this trial instead, as a file that `codesign train` reads."
              )  # fmt: skip
@options.as_json
def command(study: Path, out: Path | None, design: int | None, as_json: bool) -> None:
    """Parse, read, write."""
    if design is not None:
        if as_json:
            raise click.UsageError("--design is written as YAML; leave --json out")
        text = api.export_design(study, design, out=out)
        click.echo(f"wrote trial {design} to {out}" if out else text, err=bool(out), nl=bool(out))
        return
    table = api.export(study, out=out)
    if out is not None:
        click.echo(f"wrote {len(table)} trials to {out}", err=True)
    else:
        click.echo(table.write_json() if as_json else table.write_csv(), nl=as_json)
