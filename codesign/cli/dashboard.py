"""`codesign dashboard`: a page that follows a study while it runs."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from codesign import api
from codesign.cli import options


@click.command("dashboard", help="Serve a page that follows a study while it runs.")
@options.study_folder
@click.option("--port", type=click.IntRange(0, 65535),
              help="0: any free one. Default: 8765, or where that is in use, any free one."
              )  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; one that others reach asks for a token.")  # fmt: skip
@click.option("--token", is_flag=True, help="Ask for a token on 127.0.0.1, too.")
@click.option("--open/--no-open", "opened", default=False, help="Open it in a browser.")
def command(study: Path, port: int | None, host: str, token: bool, opened: bool) -> None:
    """Parse, serve."""

    def ready(address: str) -> None:
        click.echo(f"{address}\nCtrl-C ends it; the study goes on.")
        if opened:
            webbrowser.open(address)

    api.dashboard(study, host=host, port=port, token=token, ready=ready)
