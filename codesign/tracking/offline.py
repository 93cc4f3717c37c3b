"""Reads an offline run's file as far as to say whether all of it is there.

The library says nothing where the disk was full. The file is a log as LevelDB's: a header, then
blocks of 32 KiB, in which each piece of a record has its CRC-32, length and kind before it.
"""

from __future__ import annotations

from pathlib import Path

HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
PIECE_HEADER_BYTES = 7
WHOLE, LAST = 1, 4


def last_record(path: Path) -> bytes:
    """Return the last whole record of a file; empty where it has none."""
    data = path.read_bytes()
    at, begun, found = HEADER_BYTES, b"", b""
    while at + PIECE_HEADER_BYTES <= len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < PIECE_HEADER_BYTES:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        at += PIECE_HEADER_BYTES
        begun += data[at : at + length]
        at += length
        if at > len(data):
            return b""
        if kind in (WHOLE, LAST):
            found, begun = begun, b""
    return found
