"""`codesign calibrate`: fit a device's cost model to what was measured on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign import api
from codesign.cli import options

if TYPE_CHECKING:
    from rich.console import Console

# heading → figure, of a table of scores; but for rows and tau, in percent
_SHOWN = {
    "rows": "rows",
    "mean": "mean_relative_error",
    "median": "median_relative_error",
    "in 90%": "coverage",
    "tau": "kendall_tau",
    "pairs": "pairwise_accuracy",
    "regret": "regret",
    "largest": "largest_tenth_mean_relative_error",
}
_LEGEND = (
    "after: predicted by fits that have not seen the design. In percent: mean and median relative "
    "error; rows within their interval of 90%; pairs 5 to 50% apart that are in the right order, "
    "as tau (Kendall's) by seconds for each example; regret, by how much the predicted-fastest of "
    "20 rows is slower than the fastest; mean error of the largest tenth, predicted from the rest."
)


@click.command("calibrate", help="Fit a device's cost model to profiles and to studies.")
@click.argument("device", metavar="DEVICE|HARDWARE.yaml")
@click.argument("sources", metavar="FILE_OR_STUDY...", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--precision", type=click.Choice(("fp32", "tf32", "bf16")), default="fp32",
              show_default=True, help="Of the measurements that are taken.")  # fmt: skip
@click.option("--kind", type=click.Choice(("auto", "learned", "roofline")), default="auto",
              show_default=True, help="What predicts single operations.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="For the artifact and a hardware file that names it; default that of "
              "HARDWARE.yaml, else the current folder.")  # fmt: skip
@options.data
@click.option("--accept-mismatch", is_flag=True,
              help="Take measurements of other devices, or of several versions of torch."
              )  # fmt: skip
@options.as_json
def command(
    device: str,
    sources: tuple[Path, ...],
    precision: str,
    kind: str,
    out: Path | None,
    data_path: str | None,
    accept_mismatch: bool,
    as_json: bool,
) -> None:
    """Parse, fit, print."""
    report = api.calibrate(
        device,
        sources,
        precision=precision,
        kind=kind,
        out=out,
        data_path=data_path,
        accept_mismatch=accept_mismatch,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("measured", "", *_SHOWN, box=None, padding=(0, 1), pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    if report["operations"]:
        table.add_row("operations", "after", *_cells(report["operations"]))
    for name, scored in report["totals"].items():
        title = name.replace("_", " ")
        table.add_row(title, "before", *_cells(scored["before"]))
        table.add_row(title, "after", *_cells(scored["after"] or {}))
    console.print(table)
    console.print(_LEGEND, highlight=False)
    if report["before_saw_the_data"]:
        console.print("before: fitted to some of these very measurements")
    else:
        _warn_of_worse(report["totals"], console)
    for name, noise in report["noise"].items():
        console.print(
            f"measured twice, {name} differ by {100 * noise['median']:.1f}% (median of "
            f"{noise['pairs']}), one in ten by {100 * noise['p90']:.1f}%",
            highlight=False,
        )
    kept = f"; the one before is {report['kept']}" if report["kept"] else ""
    console.print(f"{report['artifact']}{kept}", highlight=False, soft_wrap=True)
    console.print(f"hardware: {report['hardware']}", highlight=False, soft_wrap=True)


def _warn_of_worse(totals: Mapping[str, Any], console: Console) -> None:
    """Name the totals that were foretold better by the model before."""
    error = "mean_relative_error"
    for name, scored in totals.items():
        if scored["after"] and scored["after"][error] > scored["before"][error]:
            console.print(
                f"{name.replace('_', ' ')}: errs more than before; keep the old model, or measure "
                "more",
                style="yellow",
                highlight=False,
            )


def _cells(scored: dict[str, Any]) -> list[str]:
    return [_cell(name, scored.get(name)) for name in _SHOWN.values()]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name == "rows":
        return f"{value:,}"
    return f"{value:.2f}" if name == "kendall_tau" else f"{100 * value:.1f}"
