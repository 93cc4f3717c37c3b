"""`codesign data`: prepare data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from codesign import api
from codesign.cli import options


@click.group("data", help="Prepare data sets for studies.")
def command() -> None:
    """Hold the subcommands."""


@command.command("prepare")
@click.argument("description")
@click.option("--data", "data_path", type=click.Path(path_type=Path), required=True,
              metavar="PATH", help="The folder of the files, or the only file.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="The folder to be made.")  # fmt: skip
@click.option("--skip-bad", type=click.IntRange(min=0), default=0, metavar="N",
              help="Malformed rows that may be left out; they are counted and listed.")  # fmt: skip
@options.as_json
def prepare(description: str, data_path: Path, out: Path, skip_bad: int, as_json: bool) -> None:
    """Turn files into memory-mapped columns.

    DESCRIPTION is a YAML file, or the name of a description that comes with the package. In a
    study's spec, `data: {source: prepared, path: FOLDER}` opens what was made.
    """
    summary = api.prepare_data(
        description,
        data_path=data_path,
        out=out,
        skip_bad=skip_bad,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("split", "rows", title=summary["name"])
    table.columns[1].justify = "right"
    for split, rows in summary["rows"].items():
        table.add_row(split, f"{rows:,}")
    console.print(table)
    for task in summary["tasks"]:
        console.print(f"label {task['name']}: base rate {task['base_rate']:.4g}", highlight=False)
    console.print(f"split: {summary['split']}", highlight=False)
    console.print(
        f"{summary['one_hot_features']} one-hot, {summary['multi_hot_features']} multi-hot and "
        f"{summary['dense_features']} dense features; {summary['table_rows']:,} rows of tables",
        highlight=False,
    )
    skipped = summary["skipped_rows"]
    if skipped["count"]:
        console.print(f"{skipped['count']:,} malformed rows were left out", highlight=False)
        for line in skipped["first"]:
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"written to {summary['folder']}", highlight=False, soft_wrap=True)
