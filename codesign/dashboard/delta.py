"""What must be changed in a JSON value to make it another: small where little has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

# The path of keys and places to a part, then what stands there now. A place behind the end of a
# list appends to it; an empty path replaces the whole.
Change: TypeAlias = tuple[list[str | int], Any]


def changes(before: Any, now: Any) -> list[Change]:
    """Return what makes `now` of `before`, to be applied in this order."""
    return list(_changes(before, now, []))


def _changes(before: Any, now: Any, path: list[str | int]) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for key in now:
            yield from _changes(before[key], now[key], [*path, key])
    elif isinstance(before, list) and isinstance(now, list) and len(before) <= len(now):
        # A list of plain values of which most are new is sent whole.
        same = sum(a == b for a, b in zip(before, now, strict=False))
        if 2 * same < len(now) and not any(isinstance(each, dict | list) for each in now):
            yield path, now
            return
        for place, (a, b) in enumerate(zip(before, now, strict=False)):
            yield from _changes(a, b, [*path, place])
        yield from (([*path, place], now[place]) for place in range(len(before), len(now)))
    elif before != now or type(before) is not type(now):
        yield path, now
