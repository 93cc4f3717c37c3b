"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

spec_file = click.argument("spec", type=click.Path(path_type=Path))
design_file = click.argument("design", type=click.Path(path_type=Path))
study_folder = click.argument("study", type=click.Path(path_type=Path))
data = click.option("--data", "data_path", metavar="PATH", help="Where the data set's files are.")
sets = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override: search.trials=40."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
