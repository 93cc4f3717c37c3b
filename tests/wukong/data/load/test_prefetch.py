"""Threads that work ahead: order, errors, and an end without anything left behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from functools import partial

import pytest

from wukong.data.load.prefetch import in_order


def loader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("loader")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_their_tasks_even_where_later_ones_end_first(
    workers: int,
) -> None:
    later_done = threading.Event()

    def first() -> int:
        assert workers < 2 or later_done.wait(timeout=60)
        return 0

    def later(i: int) -> int:
        later_done.set()
        return i

    tasks = [first, *(partial(later, i) for i in range(1, 20))]
    assert list(in_order(tasks, workers)) == list(range(20))
    assert not loader_threads()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_is_raised_in_its_place_and_ends_the_threads(workers: int) -> None:
    def fail() -> int:
        raise OSError("the disk is gone")

    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(in_order([lambda: 1, lambda: 2, fail, lambda: 3], workers))
    results = in_order([lambda: 1, lambda: 2, fail, lambda: 3], workers)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    assert not loader_threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_loop_that_is_left_early_leaves_no_thread_and_no_more_work_than_its_window(
    workers: int,
) -> None:
    begun = []
    for result in in_order((partial(begun.append, i) for i in range(1000)), workers):
        assert result is None
        break
    assert not loader_threads()
    assert len(begun) <= workers + 2


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise KeyboardInterrupt", "pass"])
def test_a_process_ends_while_a_loop_over_endless_work_is_still_open(ending: str) -> None:
    script = f"""
        import sys
        from itertools import repeat
        from wukong.data.load.prefetch import in_order

        kept = in_order(repeat(lambda: bytes(1000)), 2)
        next(kept)
        {ending}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == {"sys.exit(3)": 3, "pass": 0}.get(ending, -2)
