"""Predicted costs on the terminal: every figure with its interval, every metric with its label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codesign.contracts import Prediction
from codesign.report.figures import figure, prediction_figure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_predictions(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]], confidence: float, console: Console
) -> None:
    """Print a table; nothing where nothing is predicted.

    Args:
        found: metric → column → fields of `Prediction`.
        confidence: of each end of the intervals.
    """
    from rich.table import Table

    if not found:
        return
    columns = list(next(iter(found.values())))
    table = Table()
    # A name is looked up elsewhere, so it is never cut; the figures may take two lines.
    table.add_column("predicted cost", no_wrap=True)
    for column in columns:
        table.add_column(column)
    for name, entries in found.items():
        figures = [prediction_figure(Prediction(**entries[column])) for column in columns]
        table.add_row(name, *figures)
    console.print(table)
    console.print(f"intervals: each end holds with confidence {confidence:g}", highlight=False)
    labels = {name: next(iter(entries.values()))["label"] for name, entries in found.items()}
    for name, label in labels.items():
        console.print(f"{name}: {label}", highlight=False)


def parts_table(parts: Mapping[str, float], what: str, unit: str) -> Table:
    """Return a table of predicted parts of a sum, each with its share; zeros are left out."""
    from rich.table import Table

    table = Table(f"{what} (predicted)", unit, "share")
    summed = sum(parts.values())
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in parts.items():
        if value:
            table.add_row(name, figure(value), f"{100 * value / summed:.1f}%")
    table.add_section()
    return table
