"""Wukong as the framework sees it: the knobs are the fields of its configs, no more and no less."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.axes import make_axes
from codesign.budgets import FeasibleSet
from codesign.contracts import Progress
from codesign.designs import as_columns
from codesign.errors import ConfigError, InfeasibleError
from codesign.space import Space
from codesign.spec.model import Choice, Parameter
from cost_models import exact
from wukong import knobs
from wukong.shape import WukongConfig
from wukong.task import KNOBS, METRICS, SETTINGS, WukongTask, make
from wukong.train_config import TrainConfig

# Fields that are layouts or say how to run, not what to search.
NOT_SEARCHED = {*knobs.FIXED, *knobs.LAYOUTS}
DESIGN = {"layers": 1, "n_F": 2, "n_L": 2, "k": 2, "mlp_depth": 1, "mlp_width": 8, "d": 4}
TRAIN = {"passes": 1, "batch_size": 8192, "dense_lr": 0.01, "table_lr": 0.01, "threads": 1}


@pytest.fixture(scope="module")
def task() -> WukongTask:
    model = {"head_depth": 1, "head_width": 8, "bottom_depth": 0}
    return make(model=model, train=TRAIN, source="movielens-100k", path=None)


def test_every_field_of_the_configs_is_a_knob_or_named_as_none() -> None:
    fields = {f.name for c in (WukongConfig, TrainConfig) for f in dataclasses.fields(c)}
    assert set(KNOBS) == fields - NOT_SEARCHED
    assert set().union(*SETTINGS.values()) == fields


@pytest.mark.parametrize("name", sorted(KNOBS))
def test_the_bounds_of_a_knob_are_values_its_config_accepts(name: str) -> None:
    knob = KNOBS[name]
    config: Any = WukongConfig if name in SETTINGS["model"] else TrainConfig
    values: list[Any] = list(knob.choices) or [False, True]
    if knob.kind in ("int", "float"):
        assert knob.low is not None
        assert knob.high is not None
        convert = int if knob.kind == "int" else float
        values = [convert(knob.low), convert(knob.high)]
    for value in values:
        assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize("name", sorted(knobs.COST_FREE))
def test_what_is_called_free_of_cost_changes_no_count(task: WukongTask, name: str) -> None:
    knob = KNOBS[name]
    values: list[Any] = list(knob.choices) or [False, True]
    if knob.kind in ("int", "float"):
        values = [knob.low, knob.high]
    columns = {key: np.array([value] * len(values)) for key, value in DESIGN.items()}
    counts = task.costs({**columns, name: np.array(values)})
    for counted in counts.values():
        assert len(set(counted.tolist())) == 1


def test_an_impossible_combination_is_said_before_training(task: WukongTask) -> None:
    assert task.check(DESIGN) == []
    assert "attentive_y" in task.check({**DESIGN, "attentive_y": True, "fm": "plain"})[0]
    fused = WukongTask(model={}, train={"table_backend": "fused", "table_l2": 0.1}, data=task._data)
    assert "fused" in " ".join(fused.check(DESIGN))


def test_a_design_trains_and_reports_validation_and_test(task: WukongTask, tmp_path: Path) -> None:
    heard: list[Progress] = []
    outcome = task.run(DESIGN, seed=1, folder=tmp_path, earlier=(), report=heard.append)
    learned = {name for name, metric in METRICS.items() if metric.source == "learned"}
    assert learned | {f"test_{name}" for name in learned} <= outcome.metrics.keys()
    assert outcome.facts["chosen_train_settings"] == {"threads": 1}
    assert heard[-1].done == heard[-1].total
    assert (tmp_path / "curve.jsonl").exists()


def test_a_learning_rate_out_of_bounds_diverges_as_an_outcome(
    task: WukongTask, tmp_path: Path
) -> None:
    wild = {**DESIGN, "dense_lr": 1e4, "table_lr": 1e4, "warmup_share": 0.0, "passes": 3}
    outcome = task.run(wild, seed=1, folder=tmp_path, earlier=(), report=lambda _: None)
    assert outcome.failure == "diverged"
    assert outcome.metrics == {}
    assert outcome.reason


def test_budgets_that_exclude_every_wukong_are_explained(task: WukongTask) -> None:
    axes = [
        axis
        for name, value in DESIGN.items()
        for axis in make_axes(
            name, Parameter(levels=Choice(values=(value, value + 1))), KNOBS[name]
        )[0]
    ]
    space = Space(tuple(axes))
    for budgets in ({"gflop_per_example": 1e-9}, {"table_parameters": 1.0}):
        with pytest.raises(InfeasibleError, match=f"budgets.{next(iter(budgets))} is .* needs"):
            FeasibleSet(space, task, budgets).require_some()


@pytest.mark.parametrize(
    "layout", [5, [{"features": ["user"]}], [{"feature": "user", "rowz": 2}], ["user"]], ids=str
)
def test_a_layout_of_the_wrong_form_is_refused(layout: Any) -> None:
    name = "table_groups" if layout == [{"features": ["user"]}] else "tables"
    with pytest.raises(ConfigError, match=f"model.{name} is .*; must be a list of mappings"):
        make(model={name: layout}, train={}, source="movielens-100k", path=None)


def test_facts_name_rows_baseline_and_noise(task: WukongTask) -> None:
    facts = task.facts()
    assert facts["rows"] == {"train": 81_861, "validation": 9_490, "test": 8_649}
    assert facts["baseline"]["name"] == "item mean"
    assert 0.5 < facts["baseline"]["test_auc"] < 0.8
    assert 0 < facts["baseline"]["test_auc_sd"] < 0.02


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"n_F[1]": 4, "n_F[2]": 2, "n_F[3]": 8, "layers": 2}, {"n_F": (4, 2)}),
        ({"mlp_width": 64, "mlp_width.taper": 0.3, "layers": 3}, {"mlp_width": (64, 19, 6)}),
        ({"mlp_width": 2, "mlp_width.taper": 0.1, "layers": 2}, {"mlp_width": (2, 1)}),
        ({"head_width[1]": 16, "head_width[2]": 8, "head_depth": 1}, {"head_width": (16,)}),
        ({"head_width[1]": 16, "head_depth": 0}, {"head_width": 8}),
    ],
    ids=str,
)
def test_knobs_that_differ_by_layer_become_tuples_and_cost_what_they_make(
    task: WukongTask, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    design = {**{k: v for k, v in DESIGN.items() if k not in expected}, **given}
    config, _ = task.configs(design)
    assert {name: getattr(config, name) for name in expected} == expected
    counted = exact.costs(vars(config), task._data.schema)
    plain = {name: values.item() for name, values in counted.items()}
    shallow = {**design, "layers": 1}
    costs = task.costs(as_columns([design, shallow, design]))
    assert {name: values[0] for name, values in costs.items()} == pytest.approx(plain)
    assert all(values[2] == values[0] for values in costs.values())
    alone = task.costs(as_columns([shallow]))
    assert {n: v[1] for n, v in costs.items()} == pytest.approx({n: v[0] for n, v in alone.items()})
