"""`codesign launch`: run a study's loop as a job of the cluster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("launch", help="Run a study's loop as a job of the cluster, or show the scripts.")
@options.spec_file
@click.option("--dry-run", is_flag=True,
              help="Print what sbatch would be given; create and submit nothing.")  # fmt: skip
@click.option("--study", type=click.Path(path_type=Path), help="Folder; default studies/NAME.")
@click.option("--trials", type=click.IntRange(min=1),
              help="With --dry-run: so many; default: as many as run at a time.")  # fmt: skip
@options.data
@options.sets
@options.as_json
def command(
    spec: Path,
    dry_run: bool,
    study: Path | None,
    trials: int | None,
    data_path: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Parse, submit or write, print."""
    if dry_run:
        _print_scripts(spec, study, trials, data_path, overrides, as_json)
        return
    found = api.launch(spec, study=study, overrides=overrides, data_path=data_path)
    if as_json:
        said = {"job": found.job, "folder": str(found.folder), "log": str(found.log)}
        click.echo(json.dumps(said))
        return
    click.echo(f"job     {found.job} runs the loop, once SLURM starts it")
    click.echo(f"log     {found.log}")
    click.echo(f"follow  codesign status {found.folder}")
    click.echo(f"end     codesign stop {found.folder}")


def _print_scripts(
    spec: Path,
    study: Path | None,
    trials: int | None,
    data_path: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    def say(line: str) -> None:
        click.echo(line, err=True)

    scripts = api.preview_launch(
        spec, study=study, trials=trials, overrides=overrides, data_path=data_path, say=say
    )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(script) for script in scripts]))
        return
    for script in scripts:
        title = f"trials {', '.join(map(str, script.trials))}" if script.trials else "the loop"
        click.echo(f"# ---- {title}")
        for number, design in zip(script.trials, script.designs, strict=True):
            click.echo(f"# trial {number}: {json.dumps(design)}")
        click.echo(script.text)
