"""What a plan of a system is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What to train on, what may be chosen, and what must be kept.

    Budgets are held by the worse end of their intervals; None: there is none.

    Attributes:
        hardware: name of a shipped device, or the path of a file.
        devices: numbers of devices to choose from, each ≥ 1.
        examples: to train on, > 0.
        batch_sizes: examples of a step over all devices to choose from; empty: the design's own.
        choices: setting of `train` → values to choose from, of what only a plan that is asked to
            may choose (precision, …) or what it may not (a single value).
        minimize: of all examples.
        memory_per_device_gib: most; None: a share of the device's memory.
        step_ms, hours, gpu_hours: most; the last two of all examples.
        price_per_gpu_hour: in any currency, > 0.
        confidence: of each end of the intervals, in (0.5, 1).
    """

    hardware: str
    devices: Sequence[int]
    examples: float
    batch_sizes: Sequence[int] = ()
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    minimize: Literal["gpu_hours", "hours"] = "gpu_hours"
    memory_per_device_gib: float | None = None
    step_ms: float | None = None
    hours: float | None = None
    gpu_hours: float | None = None
    price_per_gpu_hour: float | None = None
    confidence: float = 0.9
