"""Hashes against SplitMix64's published output and a loop over Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wukong.data.hashing import hash_integers, hash_texts, ids_of

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """Written from the paper's Java, on unbounded integers."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def text_hash(text: bytes) -> int:
    found = splitmix64(len(text))
    for start in range(0, len(text), 8):
        found = splitmix64(found ^ int.from_bytes(text[start : start + 8], "little"))
    return found


def hashed(texts: list[bytes]) -> list[int]:
    return hash_texts(b"".join(texts), np.array([len(t) for t in texts], dtype=np.uint32)).tolist()


def test_integers_hash_to_the_published_outputs_of_splitmix64() -> None:
    # The first outputs of a generator seeded with 1234567, as published with test vectors of
    # SplitMix64: the state grows by a fixed step from output to output.
    states = [(1234567 + i * 0x9E3779B97F4A7C15) & MASK for i in range(5)]
    assert hash_integers(np.array(states, dtype=np.uint64)).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
        4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_integers_hash_as_one_by_one(values: list[int]) -> None:
    expected = [splitmix64(value & MASK) for value in values]
    assert hash_integers(np.array(values, dtype=np.int64)).tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_an_integers_hash_does_not_depend_on_its_width(dtype: type) -> None:
    expected = [splitmix64(value & MASK) for value in (-128, -1, 0, 1, 127)]
    assert hash_integers(np.array([-128, -1, 0, 1, 127], dtype=dtype)).tolist() == expected


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_texts_hash_as_one_by_one(texts: list[bytes]) -> None:
    assert hashed(texts) == [text_hash(text) for text in texts]


def test_texts_that_differ_in_trailing_zeros_or_where_they_are_cut_hash_differently() -> None:
    texts = [b"", b"\0", b"\0" * 8, b"\0" * 9, b"a", b"a\0", b"ab", b"abcdefgh", b"abcdefghi"]
    assert len(set(hashed(texts))) == len(texts)


def test_one_long_text_among_short_ones_hashes_like_any_other() -> None:
    texts = [b"a", b"0123456789" * 2000, b"", b"b"]
    assert hashed(texts) == [text_hash(text) for text in texts]


def test_ids_leave_out_0_and_fill_all_other_rows_of_a_table_evenly() -> None:
    ids = ids_of(hash_integers(np.arange(100_000)), 11)
    counts = np.bincount(ids, minlength=11)
    assert ids.dtype == np.int32
    assert (len(counts), counts[0]) == (11, 0)
    # Ten buckets of 10,000 ± 95 (1 sd) each.
    assert abs(counts[1:] - 10_000).max() < 4 * 95
