"""`codesign plan`: choose the system to train a design on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from codesign import api
from codesign.cli import options
from codesign.contracts import PlanRequest

QUIET_S = 2.0


class _Counts(click.ParamType[tuple[int, ...]]):
    """Whole numbers ≥ 1: `8..1024` (doublings from the first on, and the last), or `8,12,64`."""

    name = "counts"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Read them."""
        low, dots, high = str(value).partition("..")
        try:
            found = doublings(int(low), int(high)) if dots else [int(n) for n in value.split(",")]
        except ValueError:
            found = []
        if not found or min(found) < 1:
            self.fail(f"is {value!r}; must be whole numbers ≥ 1: 128, 8,64 or 8..1024", param, ctx)
        return tuple(sorted(set(found)))


class _Choice(click.ParamType[tuple[str, tuple[Any, ...]]]):
    """A setting of `train` and its values, `precision=bf16,tf32`."""

    name = "FIELD=VALUE,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, tuple[Any, ...]]:
        """Read it."""
        name, equals, values = str(value).partition("=")
        try:
            found = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError:
            found = []
        if not equals or not found:
            self.fail(f"is {value!r}; must be a setting of train and its values, such as "
                      "precision=bf16,tf32", param, ctx)  # fmt: skip
        return name.strip(), tuple(found)


def doublings(low: int, high: int) -> list[int]:
    """Return low, 2 · low, 4 · low, … below high, and high; nothing where low is above high.

    Raises:
        ValueError: low is below 1.
    """
    if low < 1:
        raise ValueError("no doublings from below 1")
    found = []
    while low < high:
        found.append(low)
        low *= 2
    return [*found, high] if low == high or found else []


def _positive(name: str, text: str, **more: Any) -> Callable[[Any], Any]:
    return click.option(name, type=options.FiniteRange(min=0, min_open=True), help=text, **more)


@click.command("plan", help="Choose the system to train a design on: devices, batch, sharding, …")
@options.design_file
@options.data
@click.option("--hardware", metavar="NAME|FILE", required=True, help="The kind of device.")
@click.option("--devices", type=_Counts(), default="8..1024", show_default=True,
              help="Numbers of devices to choose from.")  # fmt: skip
@_positive("--examples", "To train on.", default=1e9, show_default=True)
@click.option("--batch", "batch_sizes", type=_Counts(), default=None,
              help="Global batches to choose from.  [default: the design's own]")  # fmt: skip
@click.option("--precision", metavar="fp32,tf32,bf16", help="The same as --choose precision=…")
@click.option("--choose", "choices", type=_Choice(), multiple=True,
              help="Values to choose from, or the only one, of a setting of train.")  # fmt: skip
@click.option("--minimize", type=click.Choice(["gpu_hours", "hours"]), default="gpu_hours",
              show_default=True, help="Of all examples.")  # fmt: skip
@_positive("--memory-gib", "Most memory of a device.  [default: nine tenths of what it has]")
@_positive("--step-ms", "Most time of a step.")
@_positive("--hours", "Most hours of all examples.")
@_positive("--gpu-hours", "Most device-hours of all examples.")
@_positive("--price", "Of a device-hour, in any currency.")
@options.confidence
@click.option("--out", type=click.Path(path_type=Path),
              help="Write a design file with the system.")  # fmt: skip
@options.as_json
def command(design: Path, data_path: str | None, as_json: bool, **given: Any) -> None:
    """Parse, plan, print."""
    choices = dict(given["choices"])
    if given["precision"]:
        choices["precision"] = tuple(name.strip() for name in given["precision"].split(","))
    request = PlanRequest(
        hardware=given["hardware"],
        devices=given["devices"],
        examples=given["examples"],
        batch_sizes=given["batch_sizes"] or (),
        choices=choices,
        minimize=given["minimize"],
        memory_per_device_gib=given["memory_gib"],
        step_ms=given["step_ms"],
        hours=given["hours"],
        gpu_hours=given["gpu_hours"],
        price_per_gpu_hour=given["price"],
        confidence=given["confidence"],
    )
    found = api.plan(design, request, data_path=data_path, out=given["out"], say=_when_slow())
    if as_json:
        click.echo(json.dumps(found))
        return
    from codesign.cli.planned import print_plan

    print_plan(found, design)


def _when_slow() -> Callable[[str], None]:
    began = time.monotonic()

    def say(line: str) -> None:
        if time.monotonic() - began > QUIET_S:
            click.echo(line, err=True)

    return say
