"""A plan on the terminal: every figure but counts is predicted, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from codesign.contracts import Prediction
from codesign.planned import system_yaml
from codesign.report.figures import figure, prediction_figure

_FIGURES = {
    "step_ms": "ms a step",
    "examples_per_s": "examples/s",
    "mfu": "MFU",
    "memory_per_device_gib": "GiB a device",
    "hours": "hours",
    "gpu_hours": "GPU-hours",
    "money": "money",
}
# figure → heading of the narrow table by devices
_OF_DEVICES = {
    "step_ms": "ms",
    "mfu": "MFU",
    "memory_per_device_gib": "GiB",
    "hours": "hours",
    "gpu_hours": "GPU-hours",
    "money": "money",
}
_BEYOND = {"memory_per_device_gib": "memory", "step_ms": "step", "gpu_hours": "GPU-hours"}


def print_plan(found: Mapping[str, Any], path: Path) -> None:
    """Print what `codesign.api.plan` returned."""
    console = Console()
    best = found["best"]
    console.print(
        f"{path} on {best['devices']:,} × {found['hardware']}, {best['batch_per_device']:,} "
        f"examples a device and step. {found['gflop_per_example']:.6g} GFLOP/example; "
        f"{found['examples']:,.6g} examples are {found['pf_days']:,.6g} PF-days (exact counts)",
        highlight=False,
    )
    predicted = best["predicted"]
    console.print(_parts(found["parts_ms"], "part of a step", "ms", predicted["step_ms"]))
    memory = predicted["memory_per_device_gib"]
    console.print(_parts(found["memory_parts_gib"], "memory of a device", "GiB", memory))
    table = Table("predicted", "value and interval")
    for name, spelled in _FIGURES.items():
        if name in predicted:
            table.add_row(spelled, prediction_figure(Prediction(**predicted[name])))
    console.print(table)
    console.print(_by_devices(found["by_devices"], best["devices"]))
    console.print(
        f"intervals: each end holds with confidence {found['confidence']:g}; memory, at most "
        f"{found['memory_limit_gib']:,.1f} GiB, and all limits are held by the worse end. "
        "*: no other takes fewer hours without more GPU-hours; ×: beyond a limit by that factor",
        highlight=False,
    )
    for name in ("step_ms", "memory_per_device_gib"):
        console.print(f"{_FIGURES[name]}: {predicted[name]['label']}", highlight=False)
    console.print("\nto train it so:\n", highlight=False)
    print(system_yaml(found), end="")


def _parts(parts: Mapping[str, float], what: str, unit: str, total: Mapping[str, Any]) -> Table:
    table = Table(f"{what} (predicted)", unit, "share")
    summed = sum(parts.values())
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in parts.items():
        if value:
            table.add_row(name, figure(value), f"{100 * value / summed:.1f}%")
    table.add_section()
    table.add_row("all, with interval", prediction_figure(Prediction(**total)), "")
    return table


def _by_devices(rows: list[Mapping[str, Any]], chosen: int) -> Table:
    """One row for each number of devices, `*` on the front of hours and GPU-hours."""
    names = [name for name in _OF_DEVICES if name in rows[0]["predicted"]]
    table = Table()
    for heading in ("devices", "batch", *(_OF_DEVICES[name] for name in names), ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        note = "*" if row["on_front"] else ""
        if not row["within_budgets"]:
            name = row["tightest"]["budget"]
            note = f"{_BEYOND.get(name, name)} × {row['tightest']['over']:.3g}"
        mark = "→ " if row["devices"] == chosen else ""
        batch_size = f"{row['train']['batch_size']:,}"
        values = [_brief(name, row["predicted"][name]["value"]) for name in names]
        table.add_row(f"{mark}{row['devices']:,}", batch_size, *values, note)
    return table


def _brief(name: str, value: float) -> str:
    return f"{100 * value:.1f}%" if name == "mfu" else figure(float(f"{value:.3g}"))
