"""Page faults of blocks that are freed and taken again."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

from wukong.device.heap import kept_heap

PAGES = 10_000
ROUNDS = 5


def faults_of_blocks_in_turn() -> int:
    """Write to a block of `PAGES` pages and free it, `ROUNDS` times over."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        torch.ones(PAGES * resource.getpagesize(), dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_a_freed_block_is_taken_again_without_a_fault() -> None:
    with kept_heap():
        faults_of_blocks_in_turn()
        assert faults_of_blocks_in_turn() < PAGES / 10


def test_what_was_kept_goes_back_at_the_end() -> None:
    with kept_heap():
        faults_of_blocks_in_turn()
        kept = resident_pages()
    assert resident_pages() < kept - 0.8 * PAGES
