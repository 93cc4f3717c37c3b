"""`codesign optimize`: run a study, or continue it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign import api
from codesign.cli import INTERRUPTED, options

if TYPE_CHECKING:
    from codesign.study.state import Trial


@click.command("optimize", help="Search a space of shapes; run it again to continue.")
@options.spec_file
@click.option("--study", type=click.Path(path_type=Path), help="Folder; default studies/NAME.")
@click.option("--fork", type=click.Path(path_type=Path), metavar="STUDY",
              help="Begin a new study with the trials of another that fit this spec.")  # fmt: skip
@click.option("--warm-start", type=click.Path(path_type=Path), multiple=True, metavar="STUDY",
              help="Learn from the trials of an earlier study, too; may be repeated.")  # fmt: skip
@click.option("--steal", is_flag=True,
              help="Take the study from a process on another host without waiting.")  # fmt: skip
@click.option("--estimate", is_flag=True,
              help="Predict GPU-hours, hours and money; start nothing.")  # fmt: skip
@options.data
@options.sets
@options.as_json
@click.option("--json-lines", is_flag=True,
              help="Print a line of JSON for each trial that ends, then as --json.")  # fmt: skip
@click.pass_context
def command(
    context: click.Context,
    spec: Path,
    study: Path | None,
    fork: Path | None,
    warm_start: tuple[Path, ...],
    steal: bool,
    estimate: bool,
    data_path: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    json_lines: bool,
) -> None:
    """Parse, run, print."""
    if estimate:
        _print_estimate(spec, data_path, overrides, as_json)
        return
    from rich.console import Console

    from codesign.cli.live import Live
    from codesign.report.terminal import front_as_json, print_front

    errors = Console(stderr=True)
    with Live(errors, ended=_print_ended if json_lines else lambda _: None) as live:
        result = api.optimize(
            spec, study=study, overrides=overrides, data_path=data_path, fork=fork,
            warm_start=warm_start, steal=steal, watch=live.update, say=live.say,
        )  # fmt: skip
    if as_json or json_lines:
        click.echo(json.dumps({"folder": str(result.folder), **front_as_json(result.content)}))
    else:
        console = Console()
        print_front(result.content, console)
        console.print(f"\npage    {result.folder / 'report.html'}", highlight=False, soft_wrap=True)
        if result.content.best is not None:
            console.print(f"design  {result.folder / 'best.yaml'}", highlight=False, soft_wrap=True)
    if result.interrupted:
        errors.print("stopped; run the same command again to continue", style="yellow")
        context.exit(INTERRUPTED)


def _print_ended(trial: Trial) -> None:
    names = ("number", "kind", "status", "share", "failure", "reason", "design", "metrics", "costs",
             "seconds")  # fmt: skip
    click.echo(json.dumps({"trial": {name: getattr(trial, name) for name in names}}))


def _print_estimate(
    spec: Path, data_path: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    from codesign.cli.estimates import estimate_lines

    found = api.estimate(spec, overrides=overrides, data_path=data_path)
    lines = [json.dumps(found.to_json())] if as_json else estimate_lines(found)
    for line in lines:
        click.echo(line)
