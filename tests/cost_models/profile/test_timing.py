"""Timing on a CPU: which calls are made, how often, and what is made of their times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from cost_models.profile.device import Device
from cost_models.profile.timing import Timing, time_calls, time_launches, time_steps

CPU = Device("cpu")
MOST_SAMPLES = 40


def counted(sets: int) -> tuple[list[Callable[[], object]], list[int]]:
    """Calls on input sets, and the numbers of the sets in the order of the calls."""
    log: list[int] = []
    return [partial(log.append, i) for i in range(sets)], log


@pytest.mark.parametrize("sets", [1, 3, 16])
def test_every_input_set_is_warmed_up_and_then_timed_in_turn(sets: int) -> None:
    calls, log = counted(sets)
    timing = time_calls(calls, CPU, seconds=10.0)
    assert timing.samples == MOST_SAMPLES
    assert log[:sets] == list(range(sets))
    assert log[sets:] == [i % sets for i in range(MOST_SAMPLES)]


def test_what_takes_longer_than_the_time_is_still_timed_a_few_times() -> None:
    calls, log = counted(2)
    timing = time_calls(calls, CPU, seconds=0.0)
    assert 3 <= timing.samples <= 5
    assert len(log) == 2 + timing.samples


def test_times_are_summed_up_as_quantiles() -> None:
    times = np.random.default_rng(0).uniform(1, 2, 11)
    ordered = np.sort(times)
    timing = Timing.of(list(times))
    assert timing == Timing(median_ms=ordered[5], low_ms=ordered[1], high_ms=ordered[9], samples=11)


def test_time_is_that_of_the_calls() -> None:
    def work(size: int) -> Callable[[], object]:
        values = list(range(size))
        return lambda: sum(values)

    short, long = (time_calls([work(size)], CPU, seconds=0.05) for size in (10_000, 400_000))
    assert 0 < short.low_ms <= short.median_ms <= short.high_ms
    assert 5 * short.median_ms < long.median_ms


def test_launches_are_counted_in_whole_samples() -> None:
    calls, log = counted(1)
    timing = time_launches(calls[0], CPU, calls=7, samples=4)
    assert (timing.samples, len(log)) == (4, 28)


def test_the_parts_of_a_step_run_in_order_on_the_same_input_and_sum_to_the_step() -> None:
    log: list[tuple[str, int]] = []

    def part(name: str, i: int) -> None:
        log.append((name, i))

    parts = {name: partial(part, name) for name in ("lookup", "forward", "backward")}
    timing, medians = time_steps(parts, CPU, seconds=10.0, inputs=3)
    assert log == [(name, i % 3) for i in range(MOST_SAMPLES) for name in parts]
    assert Counter(name for name, _ in log) == dict.fromkeys(parts, timing.samples)
    assert list(medians) == list(parts)
    assert sum(medians.values()) <= timing.high_ms * len(parts)
    assert max(medians.values()) <= timing.median_ms
