"""Time left: what is tried, and what is interrupted."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest

from cost_models.profile.budget import ROW_S, ROW_SHARE, Budget, OutOfTime
from cost_models.profile.record import Case, Result
from cost_models.profile.spaces import StepDesign

MEMORY_BYTES = 16 << 30
CEILING = Case(section="ceiling", kind="gemm", precision="fp32", layout="nn", m=8, n=8, k=8)
COPY = Case(section="ceiling", kind="copy", precision="fp32", m=8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def budget(seconds: float, *, flop_per_s: float = 1e11, bytes_per_s: float = 1e10) -> Budget:
    found = Budget(seconds, MEMORY_BYTES, Clock())
    found.learn(CEILING, Result(median_ms=1e3, flop=int(flop_per_s)))
    found.learn(COPY, Result(median_ms=1e3, bytes=int(bytes_per_s)))
    return found


def product(size: int) -> Case:
    return Case(section="op", kind="gemm", precision="fp32", layout="nn", m=size, n=size, k=size)


def step(mode: str) -> Case:
    config = {"layers": 1, "n_F": 2, "n_L": 2, "k": 2, "mlp_depth": 1, "mlp_width": 8, "d": 4,
              "head_depth": 1, "head_width": 8}  # fmt: skip
    design = StepDesign(features=3, config=config).to_json()
    return Case(section="step", kind="wukong", precision="fp32", mode=mode, batch=8, design=design)


def test_time_runs_out_with_the_clock_and_then_nothing_starts() -> None:
    clock = Clock()
    found = Budget(60, MEMORY_BYTES, clock)
    assert (found.left_s, found.allows(product(8)), found.allows(CEILING)) == (60, True, True)
    clock.now += 61
    assert (found.left_s, found.allows(product(8)), found.allows(CEILING)) == (-1, False, False)


def test_a_case_that_cannot_end_in_time_at_the_ceiling_is_not_tried() -> None:
    assert budget(60).allows(product(1000))
    assert not budget(60).allows(product(10_000))  # 20 s at the ceiling, more than a row's share
    assert budget(60, flop_per_s=1e15, bytes_per_s=1e12).allows(product(10_000))


def test_what_memory_bounds_is_judged_by_bandwidth() -> None:
    norm = Case(section="op", kind="layer_norm", phase="forward", precision="fp32", m=10**6, n=500)
    assert budget(60, bytes_per_s=1e11).allows(norm)
    assert not budget(60, bytes_per_s=1e8).allows(norm)


def test_what_exceeds_memory_by_far_is_tried_because_it_fails_at_once() -> None:
    huge = product(10**6)
    assert budget(60).allows(huge)
    assert not Budget(-1, MEMORY_BYTES, Clock()).allows(huge)


def test_tables_that_cannot_be_drawn_in_time_are_not_tried() -> None:
    rows, bytes_per_s = 1_000_000, 1e9
    drawn_s = 4 * 50 * 64 * rows / bytes_per_s
    tables = Case(section="table", kind="embedding_bag", phase="forward", precision="fp32",
                  batch=8, m=50, n=64, design=json.dumps({"rows": rows}))  # fmt: skip
    assert not budget(0.9 * drawn_s, bytes_per_s=bytes_per_s).allows(tables)
    assert budget(1000, bytes_per_s=1e12).allows(tables)


def test_compiling_is_counted_and_learned_from_what_it_took() -> None:
    found = budget(150)
    assert found.allows(step("eager"))
    assert not found.allows(step("compiled"))
    for _ in range(20):
        found.learn(step("compiled"), Result(compile_s=2.0))
    assert found.allows(step("compiled"))
    found.learn(step("compiled"), Result(compile_s=50.0))
    assert not found.allows(step("compiled"))


def test_a_row_that_failed_teaches_nothing() -> None:
    found = budget(60)
    found.learn(CEILING, Result(status="error"))
    found.learn(step("compiled"), Result(status="out_of_memory"))
    assert found.allows(product(1000))


@pytest.mark.parametrize("seconds", [5.0, 60.0, 1e4])
def test_no_row_may_take_more_than_its_share(seconds: float) -> None:
    row_s = budget(seconds).row_s
    assert row_s <= max(ROW_SHARE * seconds, 2.0)
    assert row_s <= ROW_S


def forever() -> None:
    while True:
        pass


def test_a_row_that_does_not_end_is_interrupted_even_where_it_catches_exceptions() -> None:
    found = Budget(0.2, MEMORY_BYTES)

    def stubborn() -> None:
        try:
            forever()
        except Exception:
            forever()

    with pytest.raises(OutOfTime), found.alarm(product(8)):
        stubborn()
    assert found.left_s <= 0


def test_an_alarm_is_taken_off_with_its_handler() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with Budget(60, MEMORY_BYTES, time.monotonic).alarm(product(8)):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_in_a_thread_there_is_no_alarm_and_no_error() -> None:
    done = []

    def measure() -> None:
        with Budget(60, MEMORY_BYTES).alarm(product(8)):
            done.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert done == [(0.0, 0.0)]
