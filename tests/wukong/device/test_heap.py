"""Page faults of blocks that are freed and taken again, and what is left of them.

In processes of their own: where something else has moved the end of the heap, as anything in a long
test run may, glibc cannot give back what lies there.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

from wukong.device.heap import kept_heap

PAGES = 10_000
ROUNDS = 5
# The heap grows for some rounds before blocks find room in it.
WARM_UP = 4

Answer = TypeVar("Answer")


def in_a_fresh_process(function: Callable[[], Answer]) -> Answer:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(function).result()


def faults_of_blocks_in_turn() -> int:
    """Write to a block of `PAGES` pages and free it, `ROUNDS` times over."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        torch.ones(PAGES * resource.getpagesize(), dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def faults_inside_and_outside() -> tuple[int, int]:
    outside = faults_of_blocks_in_turn()
    with kept_heap():
        return [faults_of_blocks_in_turn() for _ in range(WARM_UP)][-1], outside


def resident_pages_before_and_after_the_end() -> tuple[int, int]:
    with kept_heap():
        faults_of_blocks_in_turn()
        kept = resident_pages()
    return kept, resident_pages()


def test_a_freed_block_is_taken_again_without_a_fault() -> None:
    inside, outside = in_a_fresh_process(faults_inside_and_outside)
    assert outside > (ROUNDS - 1) * PAGES
    assert inside < PAGES / 10


def test_what_was_kept_goes_back_at_the_end() -> None:
    kept, left = in_a_fresh_process(resident_pages_before_and_after_the_end)
    assert left < kept - 0.8 * PAGES
