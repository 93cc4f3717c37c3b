"""Training runs of studies as measured steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codesign.contracts import MeasuredRun
from codesign.errors import ConfigError
from cost_models.calibrate.steps import MeasuredStep
from cost_models.hardware import Hardware, Precision
from cost_models.training import Training


def steps_of(
    runs: Sequence[MeasuredRun],
    hardware: Hardware,
    precision: Precision,
    *,
    accept_mismatch: bool = False,
) -> list[MeasuredStep]:
    """Turn runs on one device, in one precision, into steps; leave the others out.

    A step of a run is batch / examples_per_s: lookups, all updates, and waiting for data included,
    set-up and evaluations left out.

    Raises:
        ConfigError: a run is of another device, or its throughput cannot be.
    """
    found = []
    for run in runs:
        where = f"{run.study}, trial {run.trial}"
        if run.device != (hardware.reported_as or "cpu") and not accept_mismatch:
            raise ConfigError(
                f"ran on {run.device}; {hardware.name} is {hardware.reported_as or 'cpu'}",
                where=where,
                hint="name the device that it ran on, or accept it with --accept-mismatch",
            )
        if not (math.isfinite(run.examples_per_s) and run.examples_per_s > 0):
            raise ConfigError(
                f"examples_per_s is {run.examples_per_s}; must be finite and > 0", where=where
            )
        if run.processes != 1 or run.settings["precision"] != precision:
            continue
        batch = int(run.settings["batch_size"])
        found.append(
            MeasuredStep(
                design=f"{run.study} {sorted(run.design.items())}",
                columns=run.settings,
                schema=run.schema,
                batch=batch,
                training=Training.of(run.settings),
                seconds={"training": batch / run.examples_per_s},
            )
        )
    return found
