"""One case in, its result out."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from cost_models.profile import kernels, steps
from cost_models.profile.device import precision
from cost_models.profile.lookups import StackedTables
from cost_models.profile.record import Result
from cost_models.profile.timing import time_calls, time_launches
from wukong.device.heap import kept_heap

if TYPE_CHECKING:
    from cost_models.profile.device import Device
    from cost_models.profile.record import Case

_MOST_INPUTS = 16
_LOOKUP_INPUTS = 4
_LAUNCHES, _LAUNCH_SAMPLES = 500, 20


def measure(case: Case, device: Device) -> Result:
    """Measure one case, memory kept from call to call as in training.

    Raises:
        ConfigError: an operation that is not known.
        RuntimeError: out of memory, or whatever torch could not do.
    """
    with kept_heap():
        return _MEASURES[case.section](case, device)


def _operation(case: Case, device: Device) -> Result:
    """Measure one operation; its input sets together exceed the cache, where so few can."""
    size = kernels.case_bytes(case)
    wanted = math.ceil(2 * device.cache_bytes / size)
    inputs = max(1, min(max(wanted, 2), _MOST_INPUTS, device.memory_bytes // (4 * size)))
    with precision(case.precision):
        calls = [kernels.build(case, device.torch) for _ in range(inputs)]
        timing = time_calls(calls, device, seconds=0.06 if device.is_cuda else 0.25)
    return Result(
        **dataclasses.asdict(timing), inputs=inputs, flop=kernels.case_flop(case), bytes=size
    )


def _ceiling(case: Case, device: Device) -> Result:
    if case.kind == "gemm":
        return _operation(case, device)
    if case.kind == "copy":
        source = torch.randn(case.m, device=device.torch)
        target = torch.empty_like(source)
        timing = time_calls([lambda: target.copy_(source)], device, seconds=0.3)
        return Result(**dataclasses.asdict(timing), inputs=1, bytes=8 * case.m)
    x = torch.randn(case.m, device=device.torch)
    if case.mode == "graph":
        timing = time_calls([x.relu], device, seconds=0.3)
    else:
        timing = time_launches(x.relu, device, calls=_LAUNCHES, samples=_LAUNCH_SAMPLES)
    return Result(**dataclasses.asdict(timing), inputs=1)


def _lookup(case: Case, device: Device) -> Result:
    rows = json.loads(case.design)["rows"]
    tables = StackedTables(case.m, rows, case.n, device=device.torch)
    ids = [tables.draw_ids(case.batch, case.k) for _ in range(_LOOKUP_INPUTS)]
    bags = case.batch * case.m
    if case.phase == "forward":
        calls: list[Callable[[], object]] = [partial(tables.look_up, one) for one in ids]
        moved = 4 * bags * case.n * (case.k + 1) + 8 * bags * case.k
    else:
        grad = torch.randn(bags, case.n, device=device.torch)
        calls = [partial(tables.update, one, grad) for one in ids]
        moved = 4 * bags * case.n * (1 + 2 * case.k) + 16 * bags * case.k
    timing = time_calls(calls, device, seconds=0.1 if device.is_cuda else 0.3)
    return Result(**dataclasses.asdict(timing), inputs=_LOOKUP_INPUTS, bytes=moved)


def _step(case: Case, device: Device) -> Result:
    return steps.measure(case, device, seconds=0.5 if device.is_cuda else 1.0)


_MEASURES = {"ceiling": _ceiling, "op": _operation, "step": _step, "table": _lookup}
