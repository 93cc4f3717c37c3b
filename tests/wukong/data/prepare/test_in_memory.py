from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wukong.data.prepare.in_memory import encode
from wukong.schema import CategoricalFeature, InputSchema

words = st.text(alphabet="aé ,", max_size=2)


def frames_of(parts: dict[str, list[tuple[str, list[str], float | None]]]):
    types = {"colour": pl.String, "tags": pl.List(pl.String), "price": pl.Float64}
    return {
        split: pl.DataFrame(rows, schema=types, orient="row").with_columns(
            pl.lit(1, dtype=pl.UInt8).alias("label")
        )
        for split, rows in parts.items()
    }


rows = st.lists(
    st.tuples(words, st.lists(words, max_size=3), st.none() | st.floats(-1e3, 1e3)),
    min_size=1,
    max_size=12,
)


@given(rows, rows)
@settings(max_examples=40, deadline=None)
def test_ids_are_places_in_the_sorted_values_of_train_and_zero_elsewhere(train, test) -> None:
    schema, columns = encode(frames_of({"train": train, "test": test}))
    colours = sorted({colour for colour, _, _ in train})
    tags = sorted({tag for _, bag, _ in train for tag in bag})
    assert schema == InputSchema(
        categorical=(
            CategoricalFeature(name="colour", cardinality=len(colours) + 1),
            CategoricalFeature(name="tags", cardinality=len(tags) + 1, multi_hot=True),
        ),
        dense=("price",),
    )

    def number(vocabulary: list[str], value: str) -> int:
        return vocabulary.index(value) + 1 if value in vocabulary else 0

    for part, split in ((train, columns["train"]), (test, columns["test"])):
        assert split.one_hot[:, 0].tolist() == [number(colours, c) for c, _, _ in part]
        offsets = split.bag_offsets[0]
        bags = [split.bag_values[0][offsets[i] : offsets[i + 1]].tolist() for i in range(len(part))]
        assert bags == [[number(tags, tag) for tag in bag] for _, bag, _ in part]
        assert offsets[-1] == len(split.bag_values[0])


def test_dense_columns_take_mean_and_deviation_from_train_only() -> None:
    parts = {
        "train": [("a", [], 2.0), ("a", [], None), ("a", [], 6.0)],
        "test": [("a", [], 8.0), ("a", [], None)],
    }
    _, columns = encode(frames_of(parts))
    assert columns["train"].dense[:, 0].tolist() == [-1.0, 0.0, 1.0]
    assert columns["test"].dense[:, 0].tolist() == [2.0, 0.0]
    assert columns["test"].dense.dtype == np.float32


@pytest.mark.parametrize("value, in_test", [(5.0, 2.0), (None, 7.0)])
def test_a_constant_or_absent_dense_column_stays_finite(
    value: float | None, in_test: float
) -> None:
    parts = {"train": [("a", [], value)] * 3, "test": [("a", [], 7.0)]}
    _, columns = encode(frames_of(parts))
    assert columns["train"].dense[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert columns["test"].dense[:, 0].tolist() == [in_test]


def test_a_column_that_is_constant_but_for_rounding_is_not_scaled_up() -> None:
    parts = {"train": [("a", [], 0.1)] * 2000, "test": [("a", [], 0.2)]}
    _, columns = encode(frames_of(parts))
    assert columns["test"].dense[0, 0] == pytest.approx(0.1)
