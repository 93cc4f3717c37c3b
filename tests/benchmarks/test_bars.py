"""Tuner runs as tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search.bars import bars_tasks, knobs, read_knob
from codesign.errors import DataError

HEAD = ("dataset", "model", "exp_id", "val_auc", "val_logloss", "hp_lr", "hp_units", "hp_seed")


def write(path: Path, lines: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *lines])
    return path


def runs(model: str, count: int) -> list[tuple[object, ...]]:
    """Make runs of which the last repeats the first one's settings."""
    return [
        ("d", model, i, 0.9, 0.1 * (i + 1), 0.001 * (i % (count - 1)), "[400, 400]", i)
        for i in range(count)
    ]


def test_each_model_with_enough_runs_is_a_table_with_equal_settings_merged(tmp_path):
    path = write(tmp_path / "bars.csv", [*runs("A", 30), *runs("B", 23)])
    (task,) = bars_tasks(path)
    assert (task.name, len(task.values_RO), task.trials) == ("d-A", 29, 10)
    assert list(task.feasible.levels) == ["lr"]
    assert task.values_RO[0, 0] == pytest.approx((0.1 + 3.0) / 2)
    for row, design in enumerate(task.feasible.designs):
        assert task.answer(design).metrics == {"log_loss": task.values_RO[row, 0]}
    np.testing.assert_allclose(task.values_RO[1:, 0], 0.1 * np.arange(2, 30))


def test_stacks_of_equal_layers_are_depth_and_width_and_others_are_words():
    assert read_knob("mlp", ["[400, 400]", "", "[]", "[64]"]) == {
        "mlp_depth": [2, 0, 0, 1],
        "mlp_width": [400, 64, 64, 64],
    }
    assert read_knob("cin", ["[32, 16]", "[16]"]) == {"cin": ["[32, 16]", "[16]"]}
    assert read_knob("norm", ["True", "False"]) == {"norm": [True, False]}
    assert read_knob("rate", ["1e-05", "", "2"]) == {"rate": [1e-05, None, 2]}
    assert read_knob("unit", ["relu", "", "dice"]) == {"unit": ["relu", None, "dice"]}


def test_what_never_differs_and_what_only_names_runs_is_no_knob():
    found = knobs(
        [
            {"model": "A", "hp_lr": "0.1", "hp_batch": "10", "hp_seed": "1"},
            {"model": "A", "hp_lr": "0.2", "hp_batch": "10", "hp_seed": "2"},
        ]
    )
    assert found == {"lr": [0.1, 0.2]}


def test_a_file_that_is_not_there_or_lacks_a_column_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        bars_tasks(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("dataset,model\nd,A\n")
    with pytest.raises(DataError, match=r"bad\.csv: has no column val_logloss"):
        bars_tasks(tmp_path / "bad.csv")
