from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wukong.data.prepare import vocabulary
from wukong.data.prepare.vocabulary import Buckets, ValueCounts, Vocabulary, stable_hash

# Published test vectors of 64-bit FNV-1a (Fowler, Noll, Vo).
FNV_1A = {"": 0xCBF29CE484222325, "a": 0xAF63DC4C8601EC8C, "foobar": 0x85944171F73967E8}

texts = st.lists(st.text(alphabet="abé☃,\n", max_size=5), max_size=40)


def unmixed(found: int) -> int:
    """Undo the finalizer of MurmurHash3."""
    for factor in (0xC4CEB9FE1A85EC53, 0xFF51AFD7ED558CCD):
        found ^= found >> 33
        found = found * pow(factor, -1, 2**64) % 2**64
    return found ^ found >> 33


def test_the_stable_hash_is_fnv_1a_below_its_finalizer() -> None:
    found = stable_hash(pl.Series(list(FNV_1A))).tolist()
    assert [unmixed(one) for one in found] == list(FNV_1A.values())


@given(texts)
@settings(max_examples=50, deadline=None)
def test_a_hash_depends_on_the_value_alone(values: list[str]) -> None:
    together = stable_hash(pl.Series(values, dtype=pl.String)).tolist()
    assert together == [int(stable_hash(pl.Series([value]))[0]) for value in values]


def test_buckets_are_filled_evenly() -> None:
    ids = Buckets(10).ids(pl.Series([f"{i:08x}" for i in range(20_000)]))
    counts = np.bincount(ids, minlength=10)
    assert len(counts) == 10
    # Chi-squared of 9 degrees of freedom: 27.9 is exceeded once in a thousand.
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


@pytest.mark.parametrize("held", [10, 1_000_000], ids=["spilled", "held"])
@given(pieces=st.lists(texts, max_size=6), minimum=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_counts_agree_with_counting_all_values_at_once(
    tmp_path_factory: pytest.TempPathFactory, held: int, pieces: list[list[str]], minimum: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "HELD_VALUES", held)
        patch.setattr(vocabulary, "_PENDING_VALUES", 0)
        counts = ValueCounts(tmp_path_factory.mktemp("scratch") / "counts")
        for piece in pieces:
            counts.add(pl.Series(piece, dtype=pl.String))
        found = counts.vocabulary(minimum)
    expected = Counter(value for piece in pieces for value in piece)
    assert found.rows() == sorted(entry for entry in expected.items() if entry[1] >= minimum)


def test_more_values_than_are_held_go_to_disk_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "HELD_VALUES", 100)
    monkeypatch.setattr(vocabulary, "_PENDING_VALUES", 50)
    counts = ValueCounts(tmp_path / "counts")
    for start in range(0, 3000, 60):
        counts.add(pl.Series([str(i % 1000) for i in range(start, start + 60)]))
    assert len(list((tmp_path / "counts").iterdir())) > 3
    assert counts.vocabulary(1).rows() == sorted((str(i), 3) for i in range(1000))


@given(texts, texts)
@settings(max_examples=50, deadline=None)
def test_ids_are_places_in_the_vocabulary_and_zero_elsewhere(
    known: list[str], values: list[str]
) -> None:
    words = sorted(set(known))
    numbering = Vocabulary(pl.Series(words, dtype=pl.String))
    assert numbering.cardinality == len(words) + 1
    assert numbering.ids(pl.Series(values, dtype=pl.String)).tolist() == [
        words.index(value) + 1 if value in words else 0 for value in values
    ]


def test_values_that_collide_are_told_apart_by_another_hash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real_hash = pl.Series.hash

    def colliding(series: pl.Series, seed: int) -> pl.Series:
        return real_hash(series, seed) * (0 if seed == 0 else 1)

    monkeypatch.setattr(pl.Series, "hash", colliding)
    ids = Vocabulary(pl.Series(["a", "b", "c"])).ids(pl.Series(["c", "x", "a", "b"]))
    assert ids.tolist() == [3, 0, 1, 2]
