"""Hashes of integers and texts that never change: no seed, no library version, no byte order.

An integer's hash is SplitMix64's output from that state (Steele, Lea and Flood 2014): equal values
of any width have equal hashes. A text's hash runs over its UTF-8 bytes in little-endian words of
eight, the last filled up with zeros:

    h = splitmix64(number of bytes);  for each word: h = splitmix64(h xor word)

N values. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD_BYTES = 8


def splitmix64(state_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output from each state, uint64 (N,)."""
    mixed_N = state_N + np.uint64(0x9E3779B97F4A7C15)
    mixed_N ^= mixed_N >> np.uint64(30)
    mixed_N *= np.uint64(0xBF58476D1CE4E5B9)
    mixed_N ^= mixed_N >> np.uint64(27)
    mixed_N *= np.uint64(0x94D049BB133111EB)
    mixed_N ^= mixed_N >> np.uint64(31)
    return mixed_N


def hash_integers(values_N: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """Hash integers of any width, as 64 bits in two's complement; returns uint64 (N,)."""
    return splitmix64(values_N.astype(np.uint64))


def hash_texts(text: bytes, length_N: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """Hash texts that stand one after another; returns uint64 (N,).

    Args:
        text: the UTF-8 bytes of all of them.
        length_N: bytes of each; they add up to `len(text)`.
    """
    left_N = length_N.astype(np.int64)
    hash_N = splitmix64(left_N.astype(np.uint64))
    # A word begins at every byte; the padding lets the last ones end outside the text.
    padded = text + bytes(_WORD_BYTES)
    word_at = np.ndarray(len(text) + 1, dtype="<u8", buffer=padded, strides=(1,))
    whole = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
    start_A, active_A = left_N.cumsum() - left_N, np.flatnonzero(left_N)
    start_A, left_A = start_A[active_A], left_N[active_A]
    while len(active_A):
        beyond_A = np.maximum(0, _WORD_BYTES - left_A).astype(np.uint64)
        word_A = word_at[start_A] & (whole >> (np.uint64(8) * beyond_A))
        hash_N[active_A] = splitmix64(hash_N[active_A] ^ word_A)
        more = left_A > _WORD_BYTES
        active_A, start_A = active_A[more], start_A[more] + _WORD_BYTES
        left_A = left_A[more] - _WORD_BYTES
    return hash_N


def ids_of(hash_N: NDArray[np.uint64], buckets: int) -> NDArray[np.int32]:
    """Return ids from 1 to `buckets` - 1, int32 (N,); 0 is kept for what is missing."""
    return (hash_N % np.uint64(buckets - 1)).astype(np.int32) + np.int32(1)
