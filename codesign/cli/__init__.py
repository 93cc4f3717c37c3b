"""The command line: one thin module per command, imported when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from codesign import __version__
from codesign.errors import CodesignError

COMMANDS = {
    "init": "Write a commented spec to start from.",
    "data": "Prepare data sets for studies.",
    "optimize": "Search a space of shapes; run it again to continue.",
    "launch": "Run a study's loop as a job of the cluster, or show the scripts.",
    "validate": "Check a spec; show the size of its space and the feasible share.",
    "cost": "Explain what a design costs, part by part.",
    "plan": "Choose devices, sharding and precision to train a design on.",
    "evaluate-cost": "Predict what a device takes for a table of operations.",
    "train": "Train a design again, e.g. a study's best.yaml.",
    "report": "Show a study's front, and write its page again.",
    "status": "Show how a study stands: its loop, its trials, what failed.",
    "logs": "Show what a trial has printed, and why it ended.",
    "dashboard": "Serve a page that follows a study while it runs.",
    "stop": "Ask a running study to stop.",
    "cancel": "Cancel trials of a running study.",
    "extend": "Let a running study search more designs.",
    "export": "Print or write a study's trials as a table.",
    "wandb": "Log, upload and show a study at Weights & Biases.",
    "profile": "Measure what this machine takes for operations and training steps.",
    "calibrate": "Fit a device's cost model to profiles and to studies.",
}
INTERRUPTED = 130


class _Commands(click.Group):
    """Subcommands whose modules (and what these import) load only when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"codesign.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; an unknown one names the nearest."""
        from codesign.registry import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"{args[0]!r} is no command; {nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="codesign")
def cli() -> None:
    """Co-design of Wukong models: one YAML file in, a Pareto front of quality and cost out."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the exit code tells the kind of error (see codesign.errors)."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except CodesignError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
