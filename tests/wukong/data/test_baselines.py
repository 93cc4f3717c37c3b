from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codesign.errors import DataError
from wukong.data import columns as columns_module
from wukong.data.baselines import SMOOTHING_EXAMPLES, mean_baseline, refuse_one_sided
from wukong.data.prepared import UNOBSERVED, SplitColumns
from wukong.schema import CategoricalFeature, InputSchema

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="noise", cardinality=6),
        CategoricalFeature(name="signal", cardinality=9),
    )
)


def split(rng: np.random.Generator, rows: int) -> SplitColumns:
    ids = rng.integers(0, [6, 9], (rows, 2)).astype(np.int32)
    label = (rng.random(rows) < ids[:, 1] / 9).astype(np.uint8)
    return SplitColumns(
        one_hot=ids,
        bag_values=(),
        bag_offsets=(),
        dense=np.empty((rows, 0), dtype=np.float32),
        labels=label[:, None],
    )


@pytest.fixture
def columns() -> dict[str, SplitColumns]:
    rng = np.random.default_rng(3)
    parts = {"train": split(rng, 300), "validation": split(rng, 80), "test": split(rng, 90)}
    parts["train"].one_hot[parts["train"].one_hot[:, 1] == 8, 1] = 7
    return parts


def rates_by_hand(train: SplitColumns, column: int, value: int) -> float:
    labels = [
        int(label)
        for id_, label in zip(train.one_hot[:, column], train.label, strict=True)
        if id_ == value
    ]
    base = sum(train.label.tolist()) / len(train.label)
    return (sum(labels) + SMOOTHING_EXAMPLES * base) / (len(labels) + SMOOTHING_EXAMPLES)


def auc_by_pairs(label: list[int], score: list[float]) -> float:
    positive = [s for s, y in zip(score, label, strict=True) if y]
    negative = [s for s, y in zip(score, label, strict=True) if not y]
    wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    return wins / (len(positive) * len(negative))


@pytest.mark.parametrize("feature, column", [("noise", 0), ("signal", 1)])
def test_figures_agree_with_counting_by_hand(
    columns: dict[str, SplitColumns], feature: str, column: int
) -> None:
    found = mean_baseline(SCHEMA, columns, feature)
    assert found["name"] == f"{feature} mean"
    for name in ("validation", "test"):
        part = columns[name]
        rate = [rates_by_hand(columns["train"], column, v) for v in part.one_hot[:, column]]
        label = part.label.tolist()
        assert found[f"{name}_auc"] == pytest.approx(auc_by_pairs(label, rate))
        likelihood = [r if y else 1 - r for r, y in zip(rate, label, strict=True)]
        assert found[f"{name}_log_loss"] == pytest.approx(-np.log(likelihood).mean())


def test_the_noise_of_the_auc_agrees_with_a_bootstrap(columns: dict[str, SplitColumns]) -> None:
    rng = np.random.default_rng(0)
    test = columns["test"]
    rate = np.array([rates_by_hand(columns["train"], 1, v) for v in test.one_hot[:, 1]])
    drawn = []
    for _ in range(200):
        rows = rng.integers(0, len(rate), len(rate))
        drawn.append(auc_by_pairs(test.label[rows].tolist(), rate[rows].tolist()))
    found = mean_baseline(SCHEMA, columns, "signal")["test_auc_sd"]
    assert found == pytest.approx(np.std(drawn), rel=0.25)


def test_without_a_name_the_best_feature_on_validation_is_taken(
    columns: dict[str, SplitColumns],
) -> None:
    assert mean_baseline(SCHEMA, columns) == mean_baseline(SCHEMA, columns, "signal")


def test_a_value_unseen_in_train_scores_the_base_rate(columns: dict[str, SplitColumns]) -> None:
    test = columns["test"]
    test.one_hot[:, 1] = 8
    found = mean_baseline(SCHEMA, columns, "signal")
    base = columns["train"].label.mean()
    p = test.label.mean()
    assert found["test_auc"] == 0.5
    assert found["test_log_loss"] == pytest.approx(-p * np.log(base) - (1 - p) * np.log(1 - base))


def test_examples_without_the_first_label_are_left_out(columns: dict[str, SplitColumns]) -> None:
    expected = mean_baseline(SCHEMA, columns, "signal")
    hidden = np.full(40, UNOBSERVED, dtype=np.uint8)[:, None]
    more = {
        name: dataclasses.replace(
            part,
            one_hot=np.concatenate([part.one_hot, part.one_hot[:40]]),
            labels=np.concatenate([part.labels, hidden]),
        )
        for name, part in columns.items()
    }
    assert mean_baseline(SCHEMA, more, "signal") == expected


def test_without_one_hot_features_every_example_scores_the_base_rate(
    columns: dict[str, SplitColumns],
) -> None:
    bare = {
        name: dataclasses.replace(part, one_hot=np.empty((len(part), 0), dtype=np.int32))
        for name, part in columns.items()
    }
    found = mean_baseline(InputSchema(categorical=(), dense=("price",)), bare)
    base, p = columns["train"].label.mean(), columns["test"].label.mean()
    assert (found["name"], found["test_auc"]) == ("base rate", 0.5)
    assert found["test_log_loss"] == pytest.approx(-p * np.log(base) - (1 - p) * np.log(1 - base))


def test_blocks_of_any_size_give_the_same_figures(
    columns: dict[str, SplitColumns], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = mean_baseline(SCHEMA, columns)
    monkeypatch.setattr(columns_module, "BLOCK_ROWS", 7)
    assert mean_baseline(SCHEMA, columns) == expected


def test_each_of_several_tasks_has_its_figures_and_a_weight_of_two_counts_twice(
    columns: dict[str, SplitColumns],
) -> None:
    rng = np.random.default_rng(5)
    both, doubled = {}, {}
    for name, part in columns.items():
        unlike = np.where(rng.random(len(part)) < 0.2, UNOBSERVED, 1 - part.labels[:, 0])
        labels = np.stack([part.labels[:, 0], unlike.astype(np.uint8)], axis=1)
        weight = rng.integers(1, 3, len(part)).astype(np.float32)
        both[name] = dataclasses.replace(part, labels=labels, weight=weight)
        rows = np.repeat(np.arange(len(part)), weight.astype(int))
        for t in range(2):
            alone = dataclasses.replace(
                part, one_hot=part.one_hot[rows], labels=labels[rows, t, None]
            )
            doubled[name, t] = alone
    found = mean_baseline(dataclasses.replace(SCHEMA, tasks=("one", "two")), both, "signal")
    for t, task in enumerate(("one", "two")):
        alone = mean_baseline(SCHEMA, {name: doubled[name, t] for name in columns}, "signal")
        for split_name in ("validation", "test"):
            for figure in (f"{split_name}_auc", f"{split_name}_log_loss"):
                assert found[f"{figure}.{task}"] == pytest.approx(alone[figure])
                mean = (found[f"{figure}.one"] + found[f"{figure}.two"]) / 2
                assert found[figure] == pytest.approx(mean)


def test_every_task_that_cannot_be_judged_is_named_with_its_split(
    columns: dict[str, SplitColumns],
) -> None:
    parts = {
        name: dataclasses.replace(part, labels=np.repeat(part.labels, 2, axis=1))
        for name, part in columns.items()
    }
    parts["test"].labels[:, 1] = UNOBSERVED
    light = np.where(parts["train"].labels[:, 0] == 1, 0.0, 1.0).astype(np.float32)
    parts["train"] = dataclasses.replace(parts["train"], weight=light)
    with pytest.raises(DataError) as caught:
        refuse_one_sided("shop", parts, ("ctr", "cvr"))
    negatives = int(light.sum())
    assert caught.value.what.splitlines() == [
        f"shop: 0 of the {negatives} labels of the task ctr of train are 1",
        f"shop: 0 of the {negatives} labels of the task cvr of train are 1",
        "shop: 0 of the 0 labels of the task cvr of test are 1",
    ]


def test_a_split_of_one_label_only_is_refused(columns: dict[str, SplitColumns]) -> None:
    columns["test"].labels[1:] = 0
    columns["test"].labels[0] = 1
    with pytest.raises(DataError, match="toy: 1 of the 90 labels of test are 1"):
        refuse_one_sided("toy", columns)
