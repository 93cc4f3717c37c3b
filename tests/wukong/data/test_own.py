"""Batches of the user's own code, and what is said of those that cannot be."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codesign.errors import DataError
from wukong.data.batch import Batch
from wukong.data.own import OwnData, load_own
from wukong.data.share import part
from wukong.metrics import log_loss
from wukong.schema import CategoricalFeature, InputSchema

SCHEMA = InputSchema(categorical=(CategoricalFeature(name="user", cardinality=4),), dense=("x",))


class Clicks:
    """40 rows a split, a quarter of them positive; `damage` changes each batch."""

    schema = SCHEMA

    def __init__(self, **damage: Any) -> None:
        self._damage = damage

    def rows(self, split: str) -> int:
        return 40

    def batches(
        self, split: str, batch_size: int, *, shuffle: bool, seed: int, pass_index: int
    ) -> Iterator[Batch]:
        for start in range(0, 40, batch_size):
            rows = torch.arange(start, min(start + batch_size, 40))
            batch = Batch(
                one_hot_BF=(rows % 4)[:, None],
                bag_values=torch.empty(0, dtype=torch.int64),
                bag_lengths_FB=torch.empty(0, len(rows), dtype=torch.int64),
                dense_BD=torch.zeros(len(rows), 1),
                label_BT=(rows % 4 == 0).float()[:, None],
            )
            yield dataclasses.replace(batch, **self._damage)


def make(path: Path | None) -> Clicks:
    return Clicks()


def make_unschemed(path: Path | None) -> object:
    return types.SimpleNamespace(schema=3, rows=len, batches=iter)


def broken(path: Path | None) -> object:
    return object()


def test_base_rate_and_baseline_are_those_of_the_labels() -> None:
    data = OwnData("mine:make", Clicks(), {})
    assert data.tasks[0].base_rate == 0.25
    labels = np.tile([1.0, 0, 0, 0], 10)
    expected = log_loss(labels, np.full(40, np.log(0.25 / 0.75)))
    assert data.facts["baseline"]["test_log_loss"] == pytest.approx(expected)
    assert data.facts["baseline"]["validation_auc"] == 0.5
    assert [len(batch) for batch in data.batches("train", 16, shuffle=False)] == [16, 16, 8]


def test_the_function_is_found_by_name_and_its_file_identifies_the_data() -> None:
    data = load_own(f"{__name__}:make", None)
    assert data.schema is SCHEMA
    assert list(data.source_md5) == ["test_own.py"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("no_such_package.loader:make", "no module 'no_such_package.loader' can be imported"),
        (f"{__name__}:nothing", "has no 'nothing'"),
        (f"{__name__}:broken", "which has no schema, rows, batches"),
        (f"{__name__}:make_unschemed", "whose schema is 3; must be an InputSchema"),
        ("a b:make", "must be package.module:function"),
        (":make", "must be package.module:function"),
    ],
)
def test_what_is_no_such_function_is_named(source: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load_own(source, None)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"one_hot_BF": torch.zeros(40, 2, dtype=torch.int64)}, r"one_hot_BF of shape \(40, 2\)"),
        ({"dense_BD": torch.zeros(40, 3)}, r"dense_BD of shape \(40, 3\); must be \(40, 1\)"),
        ({"one_hot_BF": torch.full((40, 1), 4)}, "ids of user from 4 to 4; must be from 0 to 3"),
        ({"one_hot_BF": torch.full((40, 1), -1)}, "ids of user from -1 to -1"),
        ({"label_BT": torch.full((40, 1), 2.0)}, "train has a label 2; must be 0, 1 or NaN"),
        ({"label_BT": torch.zeros(40, 1)}, "0 of the 40 labels of train are 1"),
        ({"label_BT": torch.zeros(7, 1)}, "one_hot_BF of shape"),
    ],
)
def test_batches_that_contradict_their_schema_are_refused(
    damage: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        OwnData("mine:make", Clicks(**damage), {})


class Shop(Clicks):
    """As `Clicks`, with weights and a task more, known of every second row."""

    schema = dataclasses.replace(SCHEMA, tasks=("ctr", "cvr"))

    def __init__(self, buys: int) -> None:
        ctr = (torch.arange(40) % 4 == 0).float()
        cvr = (torch.arange(40) < 2 * buys).float()
        cvr[1::2] = torch.nan
        weight = torch.where(ctr == 1, 3.0, 1.0)
        super().__init__(label_BT=torch.stack([ctr, cvr], dim=1), weight_B=weight)


def test_tasks_of_ones_own_data_are_those_of_the_schema_each_with_its_base_rate() -> None:
    data = OwnData("mine:make", Shop(buys=6), {})
    # 10 of 40 rows weigh 3, and so do 10 of the 20 that are known, and 3 of the 6 that bought.
    assert [(task.name, task.base_rate) for task in data.tasks] == [
        ("ctr", 30 / 60),
        ("cvr", (3 * 3 + 3) / 40),
    ]
    assert not data.has_groups
    expected = -np.log(0.5)
    assert data.facts["baseline"]["test_log_loss.ctr"] == pytest.approx(expected)
    assert data.facts["baseline"]["test_auc"] == 0.5
    with pytest.raises(DataError, match="0 of the 20 labels of the task cvr of train are 1"):
        OwnData("mine:make", Shop(buys=0), {})
    shop = Shop(buys=6)
    shop.schema = SCHEMA
    with pytest.raises(
        DataError, match=r"label_BT of shape \(40, 2\); .* the schema's tasks label"
    ):
        OwnData("mine:make", shop, {})


class Bags(Clicks):
    """As `Clicks`, with a bag of one id for each example."""

    schema = InputSchema(
        categorical=(
            CategoricalFeature(name="user", cardinality=4),
            CategoricalFeature(name="tags", cardinality=4, multi_hot=True),
        ),
        dense=("x",),
    )

    def __init__(self, **damage: Any) -> None:
        bags = {
            "bag_values": torch.arange(40) % 4,
            "bag_lengths_FB": torch.ones(1, 40, dtype=torch.int64),
        }
        super().__init__(**{**bags, **damage})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"bag_values": torch.arange(39) % 4}, "add up to it, not to 40"),
        ({"bag_values": torch.arange(40) % 5}, "ids of tags from 0 to 4; must be from 0 to 3"),
        ({"bag_values": torch.zeros(40)}, "float32; must be int32 or int64"),
        ({"one_hot_BF": torch.zeros(40, 1)}, "one_hot_BF .*; must be int32 or int64"),
        ({"dense_BD": torch.zeros(40, 1, dtype=torch.int64)}, "dense_BD .*; must be floating"),
        ({"dense_BD": torch.full((40, 1), torch.nan)}, "dense values that are not finite"),
        ({"label_BT": torch.zeros(40)}, r"label_BT .*; must be \(examples, tasks\), with"),
    ],
)
def test_bags_types_and_missing_values_are_checked(damage: dict[str, Any], complaint: str) -> None:
    OwnData("mine:make", Bags(), {})
    with pytest.raises(DataError, match=complaint):
        OwnData("mine:make", Bags(**damage), {})


class NoBatches(Clicks):
    def batches(self, split: str, batch_size: int, **_: Any) -> Iterator[Any]:
        yield {"label": 1}


def test_what_is_no_batch_is_shown() -> None:
    with pytest.raises(DataError, match=r"train yields \{'label': 1\}; must be a Batch"):
        OwnData("mine:make", NoBatches(), {})


made_by_partial = partial(make)
a_number = 3


def test_a_callable_that_is_no_function_has_no_file() -> None:
    assert load_own(f"{__name__}:made_by_partial", None).source_md5 == {}
    with pytest.raises(DataError, match="is 3; must be a function"):
        load_own(f"{__name__}:a_number", None)


def test_a_bug_in_the_users_module_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "buggy_loader.py").write_text("import math\nmath.no_such_function\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AttributeError, match="no_such_function"):
        load_own("buggy_loader:make", None)


def test_a_pass_of_own_batches_can_begin_at_any_batch() -> None:
    data = OwnData("mine:make", Clicks(), {})
    whole = list(data.batches("train", 16, shuffle=True, seed=3))
    rest = list(data.batches("train", 16, shuffle=True, seed=3, first_batch=1))
    assert [len(batch) for batch in rest] == [16, 8]
    assert all(
        torch.equal(a.one_hot_BF, b.one_hot_BF) for a, b in zip(rest, whole[1:], strict=True)
    )


def test_shares_of_own_batches_join_to_the_whole_batches() -> None:
    data = OwnData("mine:make", Bags(), {})
    whole = list(data.batches("train", 40, shuffle=False))
    shares = [partial(part, index=rank, parts=3) for rank in range(3)]
    ranks = [data.batches("train", 40, shuffle=False, share=share) for share in shares]
    for batch, *parts in zip(whole, *ranks, strict=True):
        for name in ("one_hot_BF", "bag_values", "dense_BD", "label_BT"):
            joined = torch.cat([getattr(each, name) for each in parts])
            assert torch.equal(joined, getattr(batch, name))
