"""`codesign evaluate-cost`: predict what a device takes for operations of a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign import api
from codesign.cli import options

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20
BASIS = {
    "learned": "learned from measured operations of this kind",
    "roofline": "roofline fitted to measured operations of this kind",
    "assumed": "assumed, nothing of this kind was measured",
}


@click.command(
    "evaluate-cost", help="Predict what a device takes for the operations of a table, and compare."
)
@click.argument("table", type=click.Path(path_type=Path), metavar="FILE.csv")
@click.option("--hardware", required=True, metavar="NAME|FILE", help="The device.")
@options.confidence
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Write the predictions of all rows.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg",
              help="Draw predicted against measured times.")  # fmt: skip
@options.as_json
def command(
    table: Path,
    hardware: str,
    confidence: float,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Parse, predict, print."""
    found = api.evaluate_cost(table, hardware=hardware, confidence=confidence, out=out, plot=plot)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    if found["ignored_columns"]:
        console.print(f"columns ignored: {', '.join(found['ignored_columns'])}", highlight=False)
    _print_operations(found, console)
    _print_compared(found["compared"], console)
    for precision in found["fitted_to_this_file"]:
        console.print(
            f"{precision}: its model was fitted to this very file, so errors are not held out",
            style="yellow",
            highlight=False,
        )
    for precision, label in found["labels"].items():
        console.print(f"{precision}: {label}", highlight=False)
    for basis in sorted({row["basis"] for row in found["operations"]}):
        console.print(f"{basis}: {BASIS[basis]}", highlight=False)
    console.print(
        f"intervals: each end holds with confidence {found['confidence']:g}; in the sum half of "
        "each variance is taken as shared by all operations",
        highlight=False,
    )


def _print_operations(found: dict[str, Any], console: Console) -> None:
    """The rows that take longest, and the sum of all."""
    from rich.table import Table

    rows = sorted(found["operations"], key=lambda row: -row["count"] * row["predicted_ms"])
    table = Table("line", "operation, B×M×N×K, precision", "ms of one, predicted", "rests on")
    is_measured = bool(found["compared"])
    for column in ("measured", "error") if is_measured else ():
        table.add_column(column, justify="right")
    for row in rows[:SHOWN]:
        dims = "×".join(str(row[name]) for name in "BMNK")
        name = f"{row['count']} × {row['op']} {dims} {row['precision']}"
        cells = [str(row["line"]), name, _interval(row), row["basis"]]
        if is_measured:
            cells += [_ms(row["measured_ms"]), _percent(row["error"])]
        table.add_row(*cells)
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"{len(rows) - SHOWN} rows that take less are not shown; --out has all")
    total = found["sum"]
    console.print(
        f"sum of {total['executions']:,} executions: {_interval(total)} ms, predicted",
        highlight=False,
    )


def _print_compared(compared: dict[str, dict[str, Any]], console: Console) -> None:
    from rich.table import Table

    if not compared:
        return
    table = Table("measured rows", *compared)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, label in (
        ("mean_relative_error", "mean error of a row"),
        ("median_relative_error", "median error of a row"),
        ("p90_relative_error", "one row in ten beyond"),
        ("error_of_sum", "error of the sum"),
        ("share_within_interval", "rows within their interval"),
        ("expected_within_interval", "of these expected"),
        ("pairwise_accuracy", "pairs 5 to 50% apart in right order"),
    ):
        table.add_row(label, *(_percent(one[name]) for one in compared.values()))
    table.add_row("Kendall's tau", *(_figure(one["kendall_tau"]) for one in compared.values()))
    table.add_row("rows", *(str(one["rows"]) for one in compared.values()))
    console.print(table)


def _interval(entry: dict[str, Any]) -> str:
    low, high = _ms(entry["low_ms"]), _ms(entry["high_ms"])
    return f"{_ms(entry['predicted_ms'])} ({low} to {high})"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
