"""`codesign cost`: explain what a design costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from codesign import api
from codesign.cli import options
from codesign.contracts import HardwareSpec


@click.command("cost", help="Explain what a design costs, part by part.")
@options.design_file
@options.data
@click.option("--hardware", metavar="NAME|FILE", help="Predict memory and times on this device.")
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=None,
    help="That train one model together.  [default: 1]",
)
@options.confidence
@options.as_json
def command(
    design: Path,
    data_path: str | None,
    hardware: str | None,
    devices: int | None,
    confidence: float,
    as_json: bool,
) -> None:
    """Parse, count, print."""
    if hardware is None and devices is not None:
        raise click.UsageError("--devices needs --hardware: counts are the same on any device.")
    device = None if hardware is None else HardwareSpec(name=hardware, devices=devices or 1)
    found = api.cost(design, data_path=data_path, hardware=device, confidence=confidence)
    if as_json:
        click.echo(json.dumps(found))
        return
    _print(design, found)


def _print(path: Path, found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from codesign.cli.predictions import parts_table, print_predictions
    from codesign.report.figures import figure

    console = Console()
    knobs = ", ".join(f"{name} {value}" for name, value in found["design"].items())
    console.print(f"{path}: {knobs}", highlight=False)
    table = Table("part (exact counts)", "layer", "kFLOP/example", "share", "parameters")
    for column in table.columns[2:]:
        column.justify = "right"
    total = sum(part["flop_per_example"] for part in found["parts"]) or 1.0
    for part in found["parts"]:
        if part["flop_per_example"] or part["parameters"]:
            flop = part["flop_per_example"]
            table.add_row(
                part["name"],
                _layers(part["layer"], part["layers_alike"]),
                f"{flop / 1e3:,.1f}",
                f"{100 * flop / total:.1f}%",
                f"{part['parameters']:,.0f}",
            )
    costs = found["costs"]
    table.add_section()
    table.add_row("all", "", f"{total / 1e3:,.1f}", "100%", f"{costs['parameters']:,.0f}")
    console.print(table)
    console.print(
        f"{costs['gflop_per_example']:.6g} GFLOP/example (forward + backward of the dense part, "
        f"2 per multiply-add), tables {costs['table_bytes'] / 2**20:,.1f} MiB in FP32",
        highlight=False,
    )
    if parts_ms := found["step_parts_ms"]:
        step = parts_table(parts_ms, "part of a training step", "ms")
        step.add_row("all", figure(sum(parts_ms.values())), "100%")
        console.print(step)
    predicted = {name: {"": one} for name, one in found["predicted"].items()}
    print_predictions(predicted, found["confidence"], console)


def _layers(first: int, alike: int) -> str:
    if not first:
        return ""
    return str(first) if alike == 1 else f"{first}–{first + alike - 1}"
