"""Several tasks in one model: each learned by a head of its own, and judged on its own rows."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.errors import ConfigError, DataError
from wukong import metrics
from wukong.data.prepared import (
    UNOBSERVED,
    PreparedData,
    SplitColumns,
    open_prepared,
    write_prepared,
)
from wukong.evaluate import predict
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig
from wukong.task import WukongTask
from wukong.train import TrainConfig, TrainProgress, TrainResult, train

SCHEMA = InputSchema(categorical=(CategoricalFeature(name="user", cardinality=20),))
MODEL = WukongConfig(
    layers=1, n_F=2, n_L=2, k=2, mlp_depth=1, mlp_width=8, d=4, head_depth=1, head_width=8,
)  # fmt: skip
CONFIG = TrainConfig(
    batch_size=64, passes=4, dense_lr=0.01, table_lr=0.05, threads=1, evals_per_pass=2
)


def columns_of(rows: int, seed: int, *, weighted: bool) -> SplitColumns:
    """Users click from left to right; who clicks buys the less the more he clicks."""
    rng = np.random.default_rng(seed)
    user = rng.integers(20, size=rows)
    click = rng.random(rows) < 0.2 + 0.03 * user
    buy = rng.random(rows) < 0.9 - 0.04 * user
    cvr = np.where(click, buy.astype(np.uint8), UNOBSERVED)
    weight = rng.choice([0.5, 1.0, 4.0], rows).astype(np.float32) if weighted else None
    return SplitColumns(
        one_hot=user[:, None].astype(np.int32),
        bag_values=(),
        bag_offsets=(),
        dense=np.empty((rows, 0), dtype=np.float32),
        labels=np.stack([click.astype(np.uint8), cvr.astype(np.uint8)], axis=1),
        weight=weight,
        group=rng.integers(12, size=rows) if weighted else None,
    )


def prepared(folder: Path, *, weighted: bool = False, **changes: Any) -> PreparedData:
    sizes = {"train": 900, "validation": 400, "test": 420}
    columns = {
        split: columns_of(rows, seed, weighted=weighted)
        for seed, (split, rows) in enumerate(sizes.items())
    }
    given: dict[str, Any] = {"schema": SCHEMA, "tasks": {"ctr": 1.0, "cvr": 1.0}} | changes
    return write_prepared(
        folder,
        name="shop",
        columns=columns,
        split_rule="none",
        source_md5={},
        notes=(),
        facts={},
        **given,
    )


def run(
    data: PreparedData, folder: Path | None = None, **settings: Any
) -> tuple[TrainResult, list[TrainProgress]]:
    curve: list[TrainProgress] = []
    config = dataclasses.replace(CONFIG, **settings)
    result = train(MODEL, data.schema, data, config, seed=1, folder=folder, report=curve.append)
    return result, curve


@pytest.mark.parametrize("weighted", [False, True])
def test_each_task_is_learned_and_judged_on_the_rows_where_it_was_observed(
    tmp_path: Path, weighted: bool
) -> None:
    data = prepared(tmp_path / "shop", weighted=weighted)
    result, _ = run(data)
    assert result.test is not None
    found, given = predict(result.model, data, "test", 100), data.columns("test")
    train_columns = data.columns("train")
    for t, task in enumerate(("ctr", "cvr")):
        rows = given.labels[:, t] != UNOBSERVED
        label, logit = given.labels[rows, t].astype(float), found.logit_NT[rows, t]
        weight = given.weight[rows] if given.weight is not None else None
        known = train_columns.labels[:, t] != UNOBSERVED
        rate = np.average(
            train_columns.labels[known, t],
            weights=None if train_columns.weight is None else train_columns.weight[known],
        )
        loss = metrics.log_loss(label, logit, weight)
        calibration = metrics.calibration(label, logit, weight)
        expected = {
            "auc": metrics.auc(label, logit, weight),
            "log_loss": loss,
            "normalized_entropy": loss / metrics.entropy(float(rate)),
            "calibration": calibration,
            "calibration_error": abs(math.log(calibration)),
        }
        if given.group is not None:
            grouped = metrics.grouped_auc(label, logit, given.group[rows], weight)
            expected["grouped_auc"] = grouped
        assert {n: result.test[f"{n}.{task}"] for n in expected} == pytest.approx(expected)
        assert result.test[f"auc.{task}"] > 0.6  # the labels say the opposite of each other
    assert result.test["auc"] == (result.test["auc.ctr"] + result.test["auc.cvr"]) / 2
    assert ("grouped_auc" in result.test.figures) == weighted


def test_the_metric_of_one_task_decides_which_weights_are_best(tmp_path: Path) -> None:
    data = prepared(tmp_path / "shop")
    steps = {}
    for monitor, best in (("log_loss.ctr", min), ("log_loss.cvr", min), ("auc.cvr", max)):
        result, curve = run(data, tmp_path, monitor=monitor, table_lr=0.2, passes=8)
        wanted = best(curve, key=lambda progress: progress.by_task[monitor])
        assert (result.best_step, wanted.by_task[monitor]) == (
            wanted.step,
            result.validation and result.validation[monitor],
        )
        steps[monitor] = result.best_step
    assert len(set(steps.values())) > 1
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["by_task"].keys() == {"auc.ctr", "auc.cvr", "log_loss.ctr", "log_loss.cvr"}
        mean = (line["by_task"]["auc.ctr"] + line["by_task"]["auc.cvr"]) / 2
        assert line["validation_auc"] == pytest.approx(mean)


def test_a_heavier_task_is_learned_better_than_as_the_lighter_one(tmp_path: Path) -> None:
    losses = {}
    for weight in (0.001, 1000.0):
        data = prepared(tmp_path / str(weight), tasks={"ctr": 1.0, "cvr": weight})
        result, _ = run(data, passes=2)
        assert result.validation is not None
        losses[weight] = result.validation["log_loss.cvr"], result.validation["log_loss.ctr"]
    assert losses[1000.0][0] < losses[0.001][0]
    assert losses[1000.0][1] > losses[0.001][1]


@pytest.mark.parametrize("label", [0, 1, UNOBSERVED])
def test_a_task_that_a_split_cannot_judge_is_named_with_the_split(
    tmp_path: Path, label: int
) -> None:
    data = prepared(tmp_path / "shop")
    path = data.folder / "validation/labels.npy"
    labels = np.load(path)
    labels[:, 1] = label
    np.save(path, labels)
    with pytest.raises(DataError, match=r"validation, task cvr: all \d+ labels are equal"):
        run(data)


def test_a_grouped_auc_without_a_group_of_both_labels_is_named_where_it_is_monitored(
    tmp_path: Path,
) -> None:
    data = prepared(tmp_path / "shop", weighted=True)
    path = data.folder / "validation/group.npy"
    np.save(path, np.arange(len(np.load(path))))
    assert "grouped_auc" not in run(data)[0].validation.figures  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"no grouped_auc\.cvr can be had"):
        run(data, monitor="grouped_auc.cvr")


def test_the_names_of_tasks_are_those_of_the_manifest(tmp_path: Path) -> None:
    data = prepared(tmp_path / "shop")
    assert data.schema.tasks == ("ctr", "cvr")
    assert InputSchema.from_json(data.schema.to_json()) == data.schema
    manifest = data.folder / "manifest.json"
    fields = json.loads(manifest.read_text())
    del fields["schema"]["tasks"]  # as written before schemas knew tasks
    manifest.write_text(json.dumps(fields | {"base_rate": 0.5}))
    assert open_prepared(data.folder) == data
    old = {"categorical": [], "dense": ["x"]}
    assert InputSchema.from_json(old).tasks == ("label",)


@pytest.mark.parametrize(
    ("tasks", "complaint"),
    [
        ((), "at least one task"),
        (("ctr", "ctr"), "tasks named twice: ctr"),
        (("ctr", "a.b"), r"task 'a\.b' .* must be letters, digits and _"),
        (("ctr", ""), "task '' "),
    ],
)
def test_names_of_tasks_that_cannot_be_are_refused(tasks: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        dataclasses.replace(SCHEMA, tasks=tasks)


def test_one_task_may_have_any_name_since_no_metric_is_named_after_it() -> None:
    assert dataclasses.replace(SCHEMA, tasks=("clicked?",)).tasks == ("clicked?",)


@pytest.mark.parametrize(
    ("weighted", "name", "complaint"),
    [
        (False, "auc.cvt", "must be one of auc.ctr, auc.cvr; did you mean 'auc.cvr'?"),
        (False, "grouped_auc.ctr", "needs groups, which the data do not have"),
        (True, "grouped_auc.ctr", ""),
        (True, "log_loss", ""),
    ],
)
def test_a_metric_that_the_data_cannot_have_is_refused_by_name(
    tmp_path: Path, weighted: bool, name: str, complaint: str
) -> None:
    data = prepared(tmp_path / "shop", weighted=weighted)
    task = WukongTask(model=vars(MODEL), train={}, data=data)
    found = "".join(task.check_metric(name))
    assert found.startswith(complaint)
    assert bool(found) == bool(complaint)
    watching = WukongTask(model=vars(MODEL), train={"monitor": name}, data=data)
    assert bool(watching.check({})) == bool(complaint)
    assert task.facts()["base_rate of cvr"] == data.tasks[1].base_rate


def test_data_of_one_task_have_no_metric_named_after_it(tmp_path: Path) -> None:
    data = prepared(tmp_path / "shop")
    one = dataclasses.replace(data, schema=SCHEMA, tasks=data.tasks[:1])
    task = WukongTask(model={}, train={}, data=one)
    assert task.check_metric("auc.ctr") == ["names a task, but the data have one only; must be auc"]
