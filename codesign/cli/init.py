"""`codesign init`: write a commented spec to start from."""

from __future__ import annotations

from pathlib import Path

import click

from codesign import api


@click.command("init", help="Write a commented spec to start from.")
@click.argument("spec", type=click.Path(path_type=Path), default=Path("study.yaml"))
def command(spec: Path) -> None:
    """Write, say what to do next."""
    api.init(spec)
    click.echo(f"wrote {spec}; edit it, then: codesign validate {spec}")
