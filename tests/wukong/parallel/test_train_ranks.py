"""Whole runs over real process groups against the run of one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.errors import DataError
from tests.support import small_clicks
from tests.support.ranks import on_ranks
from wukong.data.load import loader
from wukong.data.prepared import open_prepared
from wukong.train import TrainProgress, train
from wukong.train_config import TrainConfig

MODEL = replace(small_clicks.MODEL, dropout=0.0)
# Products and sums of other sizes round otherwise; 1e-6 is the most seen. An AUC counts pairs: one
# of 400 rows that is in another order changes it by 3e-5.
TOLERANCE, AUC_TOLERANCE = 2e-5, 1e-4
RUNS: Mapping[str, TrainConfig] = {
    "odd batches, several evaluations a pass": TrainConfig(
        batch_size=101, passes=2, dense_lr=3e-3, table_lr=1e-2, evals_per_pass=3,
        eval_batch_size=33, threads=1, device="cpu",
    ),
    "a last batch of two examples": TrainConfig(
        batch_size=341, passes=3, table_backend="fused", table_optimizer="sgd", table_lr=1e-2,
        dense_optimizer="sgd", dense_lr=1e-2, threads=1, device="cpu",
    ),
    "diverges": TrainConfig(
        batch_size=64, passes=4, dense_lr=1e30, table_lr=1e30, threads=1, device="cpu",
    ),
    "early stop": TrainConfig(
        batch_size=256, passes=9, dense_lr=1e-9, table_lr=1e-9, early_stop_patience=2,
        monitor="log_loss", plateau_factor=0.5, threads=1, device="cpu",
    ),
}  # fmt: skip


def run(folder: Path, name: str, into: Path | None = None) -> dict[str, Any]:
    """Train streamed, and return all that is measured but for times."""
    held_bytes, loader.HELD_BYTES = loader.HELD_BYTES, 0
    try:
        data, curve = open_prepared(folder), []
        result = train(
            MODEL, data.schema, data, RUNS[name], seed=2, folder=into, report=curve.append
        )
    finally:
        loader.HELD_BYTES = held_bytes
    return {
        "curve": [figures(line) for line in curve],
        "validation": None if result.validation is None else result.validation.figures,
        "test": None if result.test is None else result.test.figures,
        "losses": result.test_losses,
        "counts": (result.steps, result.examples_seen, result.best_step),
        "reason": result.reason,
    }


def figures(line: TrainProgress) -> dict[str, float]:
    return {name: value for name, value in vars(line).items() if name not in ("seconds", "by_task")}


def all_runs(folder: Path, into: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: run(folder, name, into) for name in RUNS}
    data = open_prepared(folder)
    try:
        train(MODEL, data.schema, data, TrainConfig(monitor="grouped_auc", passes=2), seed=0)
    except DataError as error:
        found["refused"] = error.what
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clicks.write(tmp_path_factory.mktemp("clicks") / "prepared").folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return all_runs(folder, folder.parent)


@pytest.mark.parametrize("world", [2, 4])
def test_whole_runs_over_ranks_are_those_of_one_process(
    folder: Path, alone: dict[str, Any], world: int, tmp_path: Path
) -> None:
    said = on_ranks(world, all_runs, folder, tmp_path)
    for name in RUNS:
        expected = alone[name]
        for rank, found in enumerate(each[name] for each in said):
            where = f"{name}, rank {rank}"
            assert found["counts"] == expected["counts"], where
            assert found["reason"] == expected["reason"], where
            for part in ("validation", "test"):
                assert found[part] == said[0][name][part], where
                assert close(found[part], expected[part]), where
            assert close(found["losses"], expected["losses"]), where
            assert len(found["curve"]) == (0 if rank else len(expected["curve"])), where
        for line, other in zip(said[0][name]["curve"], expected["curve"], strict=True):
            assert close(line, other), (name, line, other)
    assert [each["refused"] for each in said] == [alone["refused"]] * world
    assert alone["early stop"]["counts"][0] < 9 * 5
    assert alone["diverges"]["reason"]
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert len(lines) == len(alone["early stop"]["curve"]) > 1


def close(found: Any, expected: Any) -> bool:
    if found is None or expected is None:
        return found is expected
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        return all(
            np.isclose(found[name], value, rtol=TOLERANCE, atol="auc" in name and AUC_TOLERANCE)
            for name, value in expected.items()
        )
    return np.allclose(found, expected, rtol=TOLERANCE, atol=1e-6)
