"""Hashes against SplitMix64's published output and a loop over Python integers."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hash_by_hand import MASK, text_hash
from wukong.data import hashing
from wukong.data.hashing import hash_texts, hashes_of, ids_of


def hashed(texts: list[bytes]) -> list[int]:
    return hash_texts(b"".join(texts), np.array([len(t) for t in texts], dtype=np.uint32)).tolist()


def test_the_mixer_gives_the_published_outputs_of_splitmix64() -> None:
    # The first outputs of a generator seeded with 1234567, as published with test vectors of
    # SplitMix64: the state grows by a fixed step from output to output.
    states = [(1234567 + i * 0x9E3779B97F4A7C15) & MASK for i in range(5)]
    assert hashing.splitmix64(np.array(states, dtype=np.uint64)).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
        4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_a_value_hashes_as_its_text_whatever_its_type(values: list[int]) -> None:
    expected = [text_hash(str(value).encode()) for value in values]
    assert hashes_of(pl.Series(values, dtype=pl.Int64)).tolist() == expected
    assert hashes_of(pl.Series([str(v) for v in values], dtype=pl.String)).tolist() == expected


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_texts_hash_as_one_by_one(texts: list[bytes]) -> None:
    assert hashed(texts) == [text_hash(text) for text in texts]


def test_texts_that_differ_in_trailing_zeros_or_where_they_are_cut_hash_differently() -> None:
    texts = [b"", b"\0", b"\0" * 8, b"\0" * 9, b"a", b"a\0", b"ab", b"abcdefgh", b"abcdefghi"]
    assert len(set(hashed(texts))) == len(texts)


def test_one_long_text_among_short_ones_hashes_like_any_other() -> None:
    texts = [b"a", b"0123456789" * 2000, b"", b"b"]
    assert hashed(texts) == [text_hash(text) for text in texts]


def test_what_is_missing_has_id_0_and_all_other_rows_of_a_table_fill_evenly() -> None:
    assert ids_of(pl.Series(["", None, "a"]), 2).tolist() == [0, 0, 1]
    assert ids_of(pl.Series([], dtype=pl.String), 5).tolist() == []
    ids = ids_of(pl.Series(np.arange(100_000)), 11)
    counts = np.bincount(ids, minlength=11)
    assert ids.dtype == np.int32
    assert (len(counts), counts[0]) == (11, 0)
    # Ten buckets of 10,000 ± 95 (1 sd) each.
    assert abs(counts[1:] - 10_000).max() < 4 * 95
