"""`codesign wandb`: a study at Weights & Biases."""

from __future__ import annotations

import json
from pathlib import Path

import click

from codesign import api
from codesign.cli import options

project = click.option("--project", metavar="NAME", help="Default: the spec's, else `codesign`.")
entity = click.option("--entity", metavar="NAME", help="Team or user; default: the spec's.")


@click.group("wandb", help="Log, upload and show a study at Weights & Biases.")
def command() -> None:
    """Hold the subcommands."""


@command.command("log")
@options.study_folder
@project
@entity
@click.option("--mode", type=click.Choice(["auto", "online", "offline"]), default=None,
              help="Default: the spec's, else `auto`: online where a key is at hand.")  # fmt: skip
def log(study: Path, project: str | None, entity: str | None, mode: str | None) -> None:
    """Log what is not logged yet, also of a study whose spec names no tracker."""
    count = api.wandb_log(study, project=project, entity=entity, mode=mode)
    click.echo(f"{count} runs are logged in {study / 'wandb'}")


@command.command("sync")
@options.study_folder
def sync(study: Path) -> None:
    """Upload what was logged offline."""
    click.echo(f"{api.wandb_sync(study)} runs uploaded")


@command.command("report")
@options.study_folder
@project
@entity
@options.as_json
def report(study: Path, project: str | None, entity: str | None, as_json: bool) -> None:
    """Save a workspace and a report with the front; with --json print them, nothing is sent."""
    views = api.wandb_report(study, project=project, entity=entity)
    if as_json:
        click.echo(json.dumps(views.to_json()))
        return
    for name, address in views.save().items():
        click.echo(f"{name:9}  {address}")
