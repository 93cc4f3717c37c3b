"""What a study will take, on the terminal: figures with intervals, and what they leave out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from codesign.report.figures import figure, prediction_figure

if TYPE_CHECKING:
    from codesign.estimate import Estimate


def estimate_lines(found: Estimate) -> Iterator[str]:
    """Yield the lines to print."""
    yield f"{found.study}: predicted, nothing has run"
    confirming = f", {found.confirming} of them confirming runs" if found.confirming else ""
    examples = figure(found.examples_per_trial)
    yield f"trials     {found.trials:,}{confirming}; at most {examples} examples each"
    yield (
        f"a trial    {prediction_figure(found.seconds_per_trial)} s on {_devices(found.devices)}; "
        f"eight designs of ten take {figure(found.fast_s)} to {figure(found.slow_s)} s"
    )
    yield f"GPU-hours  {prediction_figure(found.gpu_hours)}"
    width = f"{found.workers} at a time, {_devices(found.workers * found.devices)}"
    yield f"hours      {prediction_figure(found.hours)}, {width}"
    unknown = "unknown: hardware.price_per_hour is not given"
    yield f"money      {unknown if found.money is None else prediction_figure(found.money)}"
    if found.affordable is not None and found.affordable < found.trials:
        yield f"budget     budgets.study_gpu_hours is enough for about {found.affordable} trials"
    yield f"intervals: each end holds with confidence {found.confidence:g}, all trials alike"
    yield f"label: {found.gpu_hours.label}"
    yield f"counted: {found.left_out}"


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"
