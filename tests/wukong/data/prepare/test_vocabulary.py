from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wukong.data.prepare import vocabulary
from wukong.data.prepare.vocabulary import ValueCounts, Vocabulary

texts = st.lists(st.text(alphabet="abé☃,\n", max_size=5), max_size=40)


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


def test_counts_come_back_from_a_folder_whose_name_looks_like_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "HELD_VALUES", 2)
    monkeypatch.setattr(vocabulary, "_PENDING_VALUES", 0)
    counts = ValueCounts(tmp_path / "a[b]*")
    for start in range(0, 60, 6):
        counts.add(pl.Series([str(i % 12) for i in range(start, start + 6)]))
    assert counts.vocabulary(1).rows() == sorted((str(i), 5) for i in range(12))
