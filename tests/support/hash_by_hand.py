"""The hash of `wukong.data.hashing`, value by value, on Python's own whole numbers."""

from __future__ import annotations

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """Written from the paper's Java, on unbounded integers."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def text_hash(text: bytes) -> int:
    """Hash one text."""
    found = splitmix64(len(text))
    for start in range(0, len(text), 8):
        found = splitmix64(found ^ int.from_bytes(text[start : start + 8], "little"))
    return found


def id_by_hand(value: int | bool | str | None, buckets: int) -> int:
    """Number one value."""
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return 1 + text_hash(text.encode()) % (buckets - 1) if text else 0
