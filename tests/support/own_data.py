"""A small prepared data set with one-hot, multi-hot and dense features, for models of any kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from tests.support.toy_columns import toy_columns, toy_schema
from wukong.data.prepared import PreparedData, write_prepared

ROWS = {"train": 300, "validation": 120, "test": 120}


def own_data(folder: Path, tasks: tuple[str, ...] = ("label",)) -> PreparedData:
    """Write random splits of `ROWS`; labels are random, so there is little to learn."""
    columns = {}
    for seed, (split, rows) in enumerate(ROWS.items()):
        dense = np.random.default_rng(seed).normal(size=(rows, 1)).astype(np.float32)
        columns[split] = dataclasses.replace(
            toy_columns(rows, tasks=len(tasks), seed=seed), dense=dense
        )
    return write_prepared(
        folder / "prepared",
        name="toy",
        schema=dataclasses.replace(toy_schema(ROWS["train"]), tasks=tasks),
        columns=columns,
        split_rule="as made",
        source_md5={"toy.csv": "0" * 32},
        notes=(),
        facts={},
        tasks=dict.fromkeys(tasks, 1.0),
    )
