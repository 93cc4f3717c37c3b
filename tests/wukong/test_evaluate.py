"""Predictions of a split with gaps in its labels, and training on one that is streamed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.toy_columns import batch_by_hand, toy_columns, toy_schema
from wukong import metrics
from wukong.data.columns import LabelTask
from wukong.data.load import loader
from wukong.data.prepared import UNOBSERVED, PreparedData, SplitColumns, write_prepared
from wukong.evaluate import Predictions, evaluate, example_losses, predict
from wukong.shape import WukongConfig
from wukong.train import TrainConfig, train

ROWS = 300
MODEL = WukongConfig(
    layers=1, n_F=2, n_L=2, k=2, mlp_depth=1, mlp_width=8, d=4, head_depth=1, head_width=8,
    bottom_depth=1, bottom_width=4,
)  # fmt: skip
CONFIG = TrainConfig(batch_size=32, passes=2, threads=1)


def with_gaps(columns: SplitColumns) -> SplitColumns:
    labels = columns.labels.copy()
    labels[::3] = UNOBSERVED
    return dataclasses.replace(columns, labels=labels)


def prepared(folder: Path) -> PreparedData:
    columns = with_gaps(toy_columns(ROWS))
    return write_prepared(
        folder,
        name="toy",
        schema=toy_schema(ROWS),
        columns=dict.fromkeys(("train", "validation", "test"), columns),
        split_rule="none",
        source_md5={},
        notes=(),
        facts={},
    )


def test_rows_without_a_label_are_neither_trained_on_nor_judged(tmp_path: Path) -> None:
    data = prepared(tmp_path / "toy")
    result = train(MODEL, data.schema, data, CONFIG, seed=0)
    assert not result.diverged
    observed = [row for row in range(ROWS) if row % 3]
    found = predict(result.model, data, "validation", 64)
    columns = data.columns("validation")
    assert np.flatnonzero(~np.isnan(found.label_NT[:, 0])).tolist() == observed
    assert found.label_NT[observed, 0].tolist() == columns.label[observed].tolist()
    with torch.no_grad():
        expected = result.model.eval()(batch_by_hand(columns, observed))
    np.testing.assert_allclose(found.logit_NT[observed], expected.numpy(), rtol=1e-5, atol=1e-6)
    label_N, logit_N = found.label_NT[observed, 0], found.logit_NT[observed, 0]
    assert result.validation is not None
    assert result.validation["auc"] == metrics.auc(label_N, logit_N)


def test_a_streamed_run_is_repeatable_to_the_bit_and_learns_from_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "HELD_BYTES", 0)
    runs = []
    for name in ("one", "two"):
        data = prepared(tmp_path / name)
        assert isinstance(loader.split_rows(data, "train"), loader.MappedRows)
        runs.append(train(MODEL, data.schema, data, CONFIG, seed=1))
    first, second = runs
    assert first.validation == second.validation
    assert first.examples_seen == CONFIG.passes * ROWS
    state = second.model.state_dict()
    assert all(torch.equal(w, state[name]) for name, w in first.model.state_dict().items())


def made_predictions(rows: int, *, weighted: bool) -> Predictions:
    rng = np.random.default_rng(rows)
    label_NT = (rng.random((rows, 2)) < 0.4).astype(np.float32)
    label_NT[rng.random(rows) < 0.5, 1] = np.nan
    return Predictions(
        split="test",
        label_NT=label_NT,
        logit_NT=rng.normal(size=(rows, 2)).astype(np.float32),
        weight_N=rng.random(rows).astype(np.float32) if weighted else None,
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_of_the_examples_losses_is_the_log_loss_of_all_tasks(weighted: bool) -> None:
    predictions = made_predictions(500, weighted=weighted)
    tasks = [LabelTask(name=name, base_rate=0.4) for name in ("ctr", "cvr")]
    losses_N = example_losses(predictions)
    assert (losses_N.shape, losses_N.dtype) == ((500,), np.float32)
    expected = evaluate(predictions, tasks)["log_loss"]
    assert losses_N.mean(dtype=float) == pytest.approx(expected, rel=1e-6)


def test_of_many_examples_the_same_evenly_spread_ones_are_kept() -> None:
    predictions = made_predictions(1000, weighted=False)
    single = dataclasses.replace(
        predictions, label_NT=predictions.label_NT[:, :1], logit_NT=predictions.logit_NT[:, :1]
    )
    kept = example_losses(single, most=100)
    assert set(kept) <= set(example_losses(single))
    assert len(kept) == 100
