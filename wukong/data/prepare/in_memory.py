"""From typed polars frames to id columns: vocabularies and statistics of train only.

Imports polars; import this module late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from wukong.data.columns import deviation_or_one
from wukong.data.prepare.vocabulary import Vocabulary
from wukong.data.prepared import SplitColumns
from wukong.schema import CategoricalFeature, InputSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a source has read.

    Attributes:
        frames: a frame per split, all with the same columns. `label` holds 0 and 1; every other
            column is a feature, by its type: String is one-hot, List(String) multi-hot, Float64
            (null where missing) dense.
        split_rule: how the rows were split, in words.
        notes: what else a reader of results should know.
        baseline_feature: the one-hot feature of the baseline; None: the best on validation.
    """

    frames: Mapping[str, pl.DataFrame]
    split_rule: str
    notes: tuple[str, ...] = ()
    baseline_feature: str | None = None


def encode(frames: Mapping[str, pl.DataFrame]) -> tuple[InputSchema, dict[str, SplitColumns]]:
    """Turn the frames of `RawData` into columns of numbers.

    A vocabulary is the sorted values of train, numbered from 1; 0 is for all others. Dense columns
    are shifted and scaled to mean 0 and standard deviation 1 over train, then missing becomes 0.
    """
    train = frames["train"]
    # Each call of `schema` looks at every column.
    kinds = train.schema
    vocabularies = {
        name: Vocabulary(_all_values(train[name]).unique().sort())
        for name, dtype in kinds.items()
        if dtype in (pl.String, pl.List(pl.String))
    }
    schema = InputSchema(
        categorical=tuple(
            CategoricalFeature(
                name=name,
                cardinality=vocabulary.cardinality,
                multi_hot=kinds[name] == pl.List(pl.String),
            )
            for name, vocabulary in vocabularies.items()
        ),
        dense=tuple(name for name, dtype in kinds.items() if dtype == pl.Float64),
    )
    scales = {name: _scale(train[name]) for name in schema.dense}
    return schema, {
        split: _encode_split(frame, schema, vocabularies, scales) for split, frame in frames.items()
    }


def _encode_split(
    frame: pl.DataFrame,
    schema: InputSchema,
    vocabularies: Mapping[str, Vocabulary],
    scales: Mapping[str, tuple[float, float]],
) -> SplitColumns:
    rows = len(frame)
    one_hot = np.empty((rows, len(schema.one_hot)), dtype=np.int32)
    for i, feature in enumerate(schema.one_hot):
        one_hot[:, i] = vocabularies[feature.name].ids(frame[feature.name])
    dense = np.empty((rows, len(schema.dense)), dtype=np.float32)
    for i, name in enumerate(schema.dense):
        mean, deviation = scales[name]
        dense[:, i] = ((frame[name] - mean) / deviation).fill_null(0.0).to_numpy()
    bags = [frame[feature.name] for feature in schema.multi_hot]
    return SplitColumns(
        one_hot=one_hot,
        bag_values=tuple(vocabularies[bag.name].ids(_all_values(bag)) for bag in bags),
        bag_offsets=tuple(_offsets(bag) for bag in bags),
        dense=dense,
        labels=frame.select(pl.col("label").cast(pl.UInt8)).to_numpy(),
    )


def _all_values(values: pl.Series) -> pl.Series:
    """Return the values of all rows, one row after another."""
    if values.dtype != pl.List(pl.String):
        return values
    return values.filter(values.list.len() > 0).explode()


def _offsets(bags: pl.Series) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(bags.list.len().to_numpy(), dtype=np.int64)])


def _scale(values: pl.Series) -> tuple[float, float]:
    """Mean and standard deviation of what is there; (0, 1) and (mean, 1) where none or constant."""
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return 0.0, 1.0
    return float(known.mean()), float(deviation_or_one(known.mean(), known.std()))
