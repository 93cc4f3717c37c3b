"""Features without examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import ConfigError, DataError
from wukong.data.schema_only import read_schema
from wukong.data.sources import open_data
from wukong.schema import CategoricalFeature, InputSchema


def write(folder: Path, text: str) -> Path:
    path = folder / "features.yaml"
    path.write_text(text)
    return path


def test_groups_of_tables_single_ones_bags_dense_features_and_tasks_are_read(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        "tables:\n  id: {features: 2, rows: 5}\n  item: {rows: 7}\n"
        "  seen: {rows: 9, multi_hot: true, pooling: mean}\ndense: 2\ntasks: [click, buy]\n",
    )
    assert read_schema(path)[0] == InputSchema(
        categorical=(
            CategoricalFeature(name="id0", cardinality=5),
            CategoricalFeature(name="id1", cardinality=5),
            CategoricalFeature(name="item", cardinality=7),
            CategoricalFeature(name="seen", cardinality=9, multi_hot=True, pooling="mean"),
        ),
        dense=("dense0", "dense1"),
        tasks=("click", "buy"),
    )


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "tables:\n  a: {features: 0, rows: 5}\n  b: {row: 7}\n  c: {rows: 1e6}\ndense: -1\nx: 1\n",
    )
    with pytest.raises(DataError) as caught:
        read_schema(path)
    said = caught.value.what
    for line, what in (
        (2, "tables.a.features is '0'; must be a whole number ≥ 1"),
        (3, "tables.b.row is unknown; did you mean 'rows'?"),
        (3, "tables.b has no rows"),
        (4, "tables.c.rows is '1e6'; must be a whole number"),
        (5, "dense is '-1'"),
        (6, "x is unknown"),
    ):
        assert any(f":{line}: {what}" in one for one in said.splitlines()), what


def test_a_file_may_say_how_many_examples_there_would_be_to_train_on(tmp_path: Path) -> None:
    tables = "tables: {id: {rows: 3}}\n"
    data = open_data("schema", write(tmp_path, f"{tables}examples: 146000000000\n"))
    assert data.rows("train") == 146_000_000_000
    for ask in (lambda: data.rows("test"), lambda: data.facts, lambda: data.tasks):
        with pytest.raises(DataError, match="holds no examples"):
            ask()
    with pytest.raises(DataError, match="examples is '0'; must be a whole number ≥ 1"):
        read_schema(write(tmp_path, f"{tables}examples: 0\n"))


def test_a_file_without_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one feature"):
        read_schema(write(tmp_path, "dense: 0\n"))


def test_a_study_or_a_run_on_it_is_refused_because_there_are_no_examples(tmp_path: Path) -> None:
    data = open_data("schema", write(tmp_path, "tables: {id: {rows: 3}}\n"))
    for ask in (
        lambda: data.rows("train"),
        lambda: data.batches("train", 4, shuffle=False),
        lambda: data.facts,
        lambda: data.tasks,
    ):
        with pytest.raises(DataError, match="holds no examples, so nothing can be trained"):
            ask()
    with pytest.raises(DataError, match="source schema needs a path"):
        open_data("schema", None)
