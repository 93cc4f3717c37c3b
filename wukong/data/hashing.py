"""Hashes of values that never change: no seed, no library version, no byte order.

A value's hash is that of its text, so that 17 has one id whether a CSV or a Parquet file holds it.
It runs over the UTF-8 bytes in little-endian words of eight, the last filled up with zeros, through
SplitMix64 (Steele, Lea and Flood 2014):

    h = splitmix64(number of bytes);  for each word: h = splitmix64(h xor word)

N values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

_WORD_BYTES = 8
# Ids are int32.
MOST_BUCKETS = 2**31 - 1


def splitmix64(state_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output from each state, uint64 (N,)."""
    mixed_N = state_N + np.uint64(0x9E3779B97F4A7C15)
    mixed_N ^= mixed_N >> np.uint64(30)
    mixed_N *= np.uint64(0xBF58476D1CE4E5B9)
    mixed_N ^= mixed_N >> np.uint64(27)
    mixed_N *= np.uint64(0x94D049BB133111EB)
    mixed_N ^= mixed_N >> np.uint64(31)
    return mixed_N


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


def hashes_of(values: pl.Series) -> NDArray[np.uint64]:
    """Hash values of any type by their text, null as the empty one; returns uint64 (N,)."""
    import polars as pl

    texts = values.cast(pl.String).fill_null("")
    joined: str = texts.str.join("").item() if len(texts) else ""
    return hash_texts(joined.encode(), texts.str.len_bytes().to_numpy())


def ids_of(values: pl.Series, buckets: int) -> NDArray[np.int32]:
    """Number values by their hash.

    Args:
        values: of any type.
        buckets: rows of the table, ≥ 2.

    Returns:
        int32 (N,), from 1 to `buckets` - 1; 0 for what is missing: null, or the empty text.
    """
    import polars as pl

    ids = (hashes_of(values) % np.uint64(buckets - 1)).astype(np.int32) + np.int32(1)
    texts = values.cast(pl.String)
    ids[(texts.is_null() | (texts == "")).to_numpy()] = 0
    return ids
