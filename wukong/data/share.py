"""Which part of a batch one of several readers takes. Standard library only."""

from __future__ import annotations

from collections.abc import Callable

# Of a batch of so many examples, the ones that are wanted: the first, and one past.
Share = Callable[[int], tuple[int, int]]


def whole(examples: int) -> tuple[int, int]:
    """Want all examples of a batch."""
    return 0, examples


def part(examples: int, index: int, parts: int) -> tuple[int, int]:
    """Return one of `parts` parts of a batch, equal but for one example: first, and one past."""
    return index * examples // parts, (index + 1) * examples // parts
