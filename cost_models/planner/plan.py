"""A plan: the system to train a given model on, and what it takes there, all of it predicted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign.contracts import PlanRequest, Prediction
from codesign.errors import ConfigError, InfeasibleError
from cost_models.hardware import Hardware, load_hardware
from cost_models.memory.peak import peak_parts
from cost_models.planner.evaluate import GIB, Evaluator, Workload
from cost_models.planner.search import MOST_EVALUATIONS, Candidate, best_by_devices, on_front
from cost_models.times.step import step_time

_UNITS = {
    "memory_per_device_gib": "GiB a device",
    "step_ms": "ms a step",
    "hours": "hours",
    "gpu_hours": "GPU-hours",
}
_S_PER_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The best system, and the best for each number of devices.

    Attributes:
        parts_ms: part of a step → its median; they add up to the median of the step.
        memory_parts_gib: part of what a device holds at its peak → its median; they add up to the
            median of its memory.
        front: of `by_devices`, those than which no other takes fewer hours without more GPU-hours.
    """

    request: PlanRequest
    workload: Workload
    hardware: Hardware
    memory_limit_gib: float
    best: Candidate
    by_devices: Sequence[Candidate]
    front: Sequence[bool]
    parts_ms: Mapping[str, float]
    memory_parts_gib: Mapping[str, float]

    def mfu(self, candidate: Candidate) -> Prediction:
        """Return the share of the peak that the model's FLOP take, recomputation left out."""
        rate, devices = candidate.figures["examples_per_s"], candidate.system.devices
        precision: Any = candidate.system.precision
        peak = devices * self.hardware.peak_flop_per_s(precision)
        of_peak = 1e9 * self.workload.gflop_per_example / peak
        ends = {end: of_peak * getattr(rate, end) for end in ("value", "low", "high")}
        return Prediction(**ends, label=rate.label)

    @property
    def pf_days(self) -> float:
        """PFLOP/s-days of the dense part for all examples, an exact count."""
        return self.workload.gflop_per_example * self.request.examples / 1e6 / _S_PER_DAY

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "hardware": self.hardware.name,
            "examples": self.request.examples,
            "minimize": self.request.minimize,
            "confidence": self.request.confidence,
            "memory_limit_gib": self.memory_limit_gib,
            "gflop_per_example": self.workload.gflop_per_example,
            "pf_days": self.pf_days,
            "best": self._row(self.best),
            "parts_ms": dict(self.parts_ms),
            "memory_parts_gib": dict(self.memory_parts_gib),
            "by_devices": [
                {**self._row(each), "on_front": on_front}
                for each, on_front in zip(self.by_devices, self.front, strict=True)
            ],
        }

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        system = candidate.system
        predicted = {**candidate.figures, "mfu": self.mfu(candidate)}
        price = self.request.price_per_gpu_hour
        if price is not None:
            gpu_hours = candidate.figures["gpu_hours"]
            ends = {end: price * getattr(gpu_hours, end) for end in ("value", "low", "high")}
            predicted["money"] = Prediction(**ends, label=gpu_hours.label)
        return {
            "devices": system.devices,
            "batch_per_device": system.batch_per_device,
            "train": system.train_settings(),
            "predicted": {name: dataclasses.asdict(each) for name, each in predicted.items()},
            "within_budgets": candidate.within_budgets,
            "tightest": {"budget": candidate.tightest, "over": max(candidate.over.values())},
        }


def make_plan(
    workload: Workload,
    request: PlanRequest,
    *,
    most_evaluations: int = MOST_EVALUATIONS,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Choose the system that trains a model with the fewest GPU-hours, or in the fewest hours.

    Args:
        most_evaluations, seed: of the search (see `best_by_devices`).
        say: called with a line for a person now and then.

    Raises:
        ConfigError: the device is unknown, its files are malformed, a number of the request cannot
            be, or nothing can be chosen.
        InfeasibleError: no system is within the budgets; names the tightest, and the nearest.
    """
    hardware = load_hardware(request.hardware)
    _check(request, hardware)
    base = dataclasses.replace(workload.base, on_cpu=hardware.is_cpu)
    workload = dataclasses.replace(workload, base=base)
    evaluator = Evaluator.of(workload, request, hardware)
    found = best_by_devices(evaluator, most_evaluations=most_evaluations, seed=seed, say=say)
    if not found:
        raise ConfigError(_nothing_to_choose(evaluator), where="plan")
    every = list(found.values())
    best = min(every, key=lambda each: each.loss)
    if not best.within_budgets:
        raise _nothing_fits(evaluator, best)
    return Plan(
        request=request,
        workload=workload,
        hardware=hardware,
        memory_limit_gib=evaluator.memory_limit_gib,
        best=best,
        by_devices=every,
        front=on_front(every),
        parts_ms=_parts_ms(evaluator, best),
        memory_parts_gib=_memory_parts_gib(evaluator, best),
    )


def _check(request: PlanRequest, hardware: Hardware) -> None:
    """Hold a request's numbers to what they may be.

    Raises:
        ConfigError: names each that cannot be.
    """
    limits = ("memory_per_device_gib", "step_ms", "hours", "gpu_hours", "price_per_gpu_hour")
    given = {name: getattr(request, name) for name in ("examples", *limits)}
    bad = [
        f"{name} is {value}; must be finite and > 0"
        for name, value in given.items()
        if value is not None and not (math.isfinite(value) and value > 0)
    ]
    if not 0.5 < request.confidence < 1:
        bad.append(f"confidence is {request.confidence}; must be above 0.5 and below 1")
    most = hardware.memory_bytes.value / GIB
    if not bad and (request.memory_per_device_gib or 0) > most:
        asked = f"{request.memory_per_device_gib:,.6g}"
        bad.append(f"memory_per_device_gib is {asked}; {hardware.name} has {most:,.4g}")
    if bad:
        raise ConfigError("; ".join(bad), where="plan")


def _parts_ms(evaluator: Evaluator, best: Candidate) -> dict[str, float]:
    workload, system = evaluator.workload, best.system
    found = step_time(
        evaluator.predictors[system.precision].model,
        workload.columns,
        workload.schema,
        batch=np.array([float(system.batch_size)]),
        training=system.training(workload.base),
    )
    return {part: 1e3 * float(seconds.item()) for part, seconds in found.parts_s.items()}


def _memory_parts_gib(evaluator: Evaluator, best: Candidate) -> dict[str, float]:
    """The closed form, and what an allocator adds to it."""
    workload = evaluator.workload
    batch = np.array([float(best.system.batch_size)])
    training = best.system.training(workload.base)
    found = peak_parts(workload.columns, workload.schema, batch=batch, training=training)
    parts = {part: float(size.item()) / GIB for part, size in found.items()}
    memory = best.figures["memory_per_device_gib"].value
    return {**parts, "allocator's slack": memory - sum(parts.values())}


def _nothing_to_choose(evaluator: Evaluator) -> str:
    counts = ", ".join(map(str, evaluator.request.devices))
    sizes = ", ".join(map(str, evaluator.batch_sizes))
    return (
        f"there is no system of {counts} devices for batches of {sizes} examples: every device "
        "needs an example of each step, and those that share dense weights must divide all devices"
    )


def _nothing_fits(evaluator: Evaluator, nearest: Candidate) -> InfeasibleError:
    name = nearest.tightest
    needed = nearest.figures[name].high
    system = nearest.system
    settings = ", ".join(f"{key} {value}" for key, value in system.train_settings().items())
    return InfeasibleError(
        f"no system is within the budgets; the tightest is {name}: the nearest system needs up to "
        f"{needed:,.4g} {_UNITS[name]}, {needed / nearest.over[name]:,.4g} are allowed. "
        f"It has {system.devices} devices, {settings}",
        where=evaluator.request.hardware,
        hint="allow more devices or other batches, open more choices, or raise the budget",
    )
