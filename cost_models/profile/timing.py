"""How long one execution takes: warm-up, input sets in rotation, medians and spread.

On a GPU the executions of an operation are captured in one graph, so that a kernel's time is
measured and not the host's time to launch it; what launching costs is a ceiling of its own.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cost_models.profile.device import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cost_models.profile.device import Device

_GRAPH_MS = 1.0  # aimed-at length of one captured graph
_GRAPH_CALLS = 256
_MIN_SAMPLES, _MAX_SAMPLES = 5, 40


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of one execution: median, 10th and 90th percentile of the samples.

    `note` says what was unusual.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    samples: int
    note: str = ""

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Timing:
        """Sum up samples, at least one."""
        low, median, high = np.quantile(times_ms, [0.1, 0.5, 0.9])
        return cls(
            median_ms=float(median),
            low_ms=float(low),
            high_ms=float(high),
            samples=len(times_ms),
        )


def time_calls(calls: Sequence[Callable[[], object]], device: Device, *, seconds: float) -> Timing:
    """Time one execution of an operation.

    Args:
        calls: the same operation on different inputs, executed in turn.
        device: where it runs.
        seconds: aimed-at measuring time; at least a few samples are taken all the same.
    """
    for call in calls:
        call()
    device.synchronize()
    return _time_cuda(calls, seconds) if device.is_cuda else _time_cpu(calls, seconds)


def time_launches(
    call: Callable[[], object], device: Device, *, calls: int, samples: int
) -> Timing:
    """Time what it takes the host to launch one small operation, many being queued."""
    times_ms = []
    for _ in range(samples):
        device.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        launched = time.perf_counter()
        times_ms.append(1e3 * (launched - start) / calls)
    device.synchronize()
    return Timing.of(times_ms)


def _time_cpu(calls: Sequence[Callable[[], object]], seconds: float) -> Timing:
    times_ms: list[float] = []
    begun = time.perf_counter()
    while _wants_more(len(times_ms), time.perf_counter() - begun, seconds):
        call = calls[len(times_ms) % len(calls)]
        start = time.perf_counter()
        call()
        times_ms.append(1e3 * (time.perf_counter() - start))
    return Timing.of(times_ms)


def _wants_more(samples: int, spent_s: float, seconds: float) -> bool:
    if samples < _MIN_SAMPLES:
        # What takes seconds is timed three times: its spread is small.
        return samples < 3 or spent_s < 3 * seconds
    return samples < _MAX_SAMPLES and spent_s < seconds


def _time_cuda(calls: Sequence[Callable[[], object]], seconds: float) -> Timing:
    once_ms = _elapsed_ms(lambda: [call() for call in calls]) / len(calls)
    rounds = max(1, round(min(_GRAPH_MS / max(once_ms, 1e-3), _GRAPH_CALLS) / len(calls)))
    executions = rounds * len(calls)
    queue = [call for _ in range(rounds) for call in calls]
    note = ""
    try:
        replay = _captured(queue)
    except RuntimeError as error:
        interrupted = error.__context__
        if interrupted is not None and not isinstance(interrupted, Exception):
            raise interrupted from None  # the alarm; ending the capture only failed after it
        if is_out_of_memory(error):
            raise
        note = "launched one by one: cannot be captured in a graph"

        def replay() -> object:
            return [call() for call in queue]

    replay()
    torch.cuda.synchronize()
    replay_ms = max(_elapsed_ms(replay), 1e-3)
    samples = int(np.clip(1e3 * seconds / replay_ms, _MIN_SAMPLES, _MAX_SAMPLES))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(samples + 1)]
    marks[0].record()
    for mark in marks[1:]:
        replay()
        mark.record()
    torch.cuda.synchronize()
    spans = [a.elapsed_time(b) for a, b in pairwise(marks)]
    timing = Timing.of([span / executions for span in spans])
    return dataclasses.replace(timing, note=note)


def _captured(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """Return what replays the calls as one graph."""
    side = _side_stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        calls[0]()  # workspaces of this stream are allocated outside of the capture
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        for call in calls:
            call()
    return graph.replay


@cache
def _side_stream() -> torch.cuda.Stream:
    """One for all captures: each stream keeps a cuBLAS workspace of its own."""
    return torch.cuda.Stream()


def _elapsed_ms(call: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def time_steps(
    parts: Mapping[str, Callable[[int], object]], device: Device, *, seconds: float, inputs: int
) -> tuple[Timing, dict[str, float]]:
    """Time steps made of parts that follow each other, as in training: nothing waits in between.

    Args:
        parts: name → the part, called with the number of the input set.
        device: where it runs; warm-up is the caller's.
        seconds: aimed-at measuring time; at least a few steps are taken all the same.
        inputs: input sets in rotation.

    Returns:
        The whole step, and the median of each part in ms. On a GPU a part ends when the device has
        done what the part launched.
    """
    marks: list[list[Any]] = []
    begun = time.perf_counter()
    while _wants_more(len(marks), time.perf_counter() - begun, seconds):
        row = [_mark(device)]
        for part in parts.values():
            part(len(marks) % inputs)
            row.append(_mark(device))
        marks.append(row)
        if len(marks) % 4 == 0:
            device.synchronize()  # so that the queue, and the time it stands for, stays bounded
    device.synchronize()
    spans = np.array([[_span_ms(a, b) for a, b in pairwise(row)] for row in marks])
    medians = np.median(spans, axis=0)
    return Timing.of(spans.sum(axis=1)), dict(zip(parts, map(float, medians), strict=True))


def _mark(device: Device) -> Any:
    if not device.is_cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _span_ms(start: Any, end: Any) -> float:
    if isinstance(start, float):
        return 1e3 * (end - start)
    return float(start.elapsed_time(end))
