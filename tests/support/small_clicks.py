"""A small click data set with a known truth, and a model that learns it in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from wukong.data.prepared import PreparedData, SplitColumns, write_prepared
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig
from wukong.train_config import TrainConfig

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=40),
        CategoricalFeature(name="genres", cardinality=6, multi_hot=True, pooling="mean"),
        CategoricalFeature(name="item", cardinality=30),
    ),
    dense=("age",),
)
MODEL = WukongConfig(
    layers=1, n_F=4, n_L=4, k=3, mlp_depth=1, mlp_width=16, d=8,
    bottom_width=8, head_depth=1, head_width=16, dropout=0.1,
)  # fmt: skip
CONFIG = TrainConfig(
    batch_size=128, passes=3, dense_lr=3e-3, table_lr=1e-2, table_l2=1e-4, threads=1
)
ROWS = {"train": 1025, "validation": 400, "test": 500}


def write(folder: Path, *, items: int = 30) -> PreparedData:
    """Write the data set into `folder`; the table of items has 30 rows at most."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=40)
    *others, item = SCHEMA.categorical
    schema = replace(SCHEMA, categorical=(*others, replace(item, cardinality=items)))
    return write_prepared(
        folder,
        name="synthetic",
        schema=schema,
        columns={split: _columns(rows, rng, effects, items) for split, rows in ROWS.items()},
        split_rule="random",
        source_md5={},
        notes=(),
        facts={},
    )


def _columns(rows: int, rng: np.random.Generator, effects: np.ndarray, items: int) -> SplitColumns:
    user, item = rng.integers(0, 40, rows), rng.integers(0, items, rows)
    lengths = rng.integers(0, 4, rows)
    dense = rng.normal(size=(rows, 1)).astype(np.float32)
    logit = effects[user] + effects[item + 5] + 0.5 * dense[:, 0] - 1
    return SplitColumns(
        one_hot=np.stack([user, item], axis=1).astype(np.int32),
        bag_values=(rng.integers(0, 6, lengths.sum()).astype(np.int32),),
        bag_offsets=(np.concatenate([[0], lengths.cumsum()]),),
        dense=dense,
        labels=(rng.random((rows, 1)) < expit(logit)[:, None]).astype(np.uint8),
    )
