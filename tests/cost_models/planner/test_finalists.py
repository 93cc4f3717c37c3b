"""Each design under the system that suits it best."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from codesign.contracts import BestSystem, HardwareSpec
from cost_models.planner.evaluate import usable_gib
from cost_models.planner.finalists import best_systems
from cost_models.predict import Predictor
from wukong.schema import CategoricalFeature, InputSchema
from wukong.task import METRICS

SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=10**6) for i in range(26)),
    dense=("x", "y"),
)
DEVICES = 16
PREDICTOR = Predictor.for_hardware(HardwareSpec(name="h100-sxm", devices=DEVICES))
DESIGNS: dict[str, Any] = {
    "layers": np.array([2, 8, 8]), "n_F": np.array([8, 32, 96]), "n_L": np.array([8, 32, 96]),
    "k": 24, "mlp_depth": 3, "mlp_width": np.array([512, 2048, 8192]), "d": 128,
    "batch_size": np.array([4096, 65536, 262144]), "table_backend": "fused",
    "table_optimizer": "sgd",
}  # fmt: skip


def chosen(
    budgets: dict[str, float], predictor: Predictor = PREDICTOR, **settings: Any
) -> list[BestSystem]:
    return best_systems(
        predictor, {**DESIGNS, **settings}, SCHEMA, confidence=0.9, budgets=budgets, metrics=METRICS
    )


def every_system(row: int) -> list[dict[str, Any]]:
    """What is predicted of one design under each system, one by one."""
    one = {k: v[row : row + 1] if isinstance(v, np.ndarray) else v for k, v in DESIGNS.items()}
    names = ("table_sharding", "dense_shard_ranks", "activation_checkpointing", "compile")
    values = (("column_wise", "table_wise", "row_wise"), (1, 8, 16), (False, True), (False, True))
    found = []
    for combination in itertools.product(*values):
        system = dict(zip(names, combination, strict=True))
        predicted = PREDICTOR.predict(on := {**one, **system}, on, SCHEMA, confidence=0.9)
        found.append({"system": system, **{name: p[0] for name, p in predicted.items()}})
    return found


@pytest.mark.parametrize("memory_gib", [1000.0, 40.0, 8.0])
def test_each_design_has_the_fastest_system_whose_memory_keeps_the_budget(
    memory_gib: float,
) -> None:
    usable = min(memory_gib, usable_gib(PREDICTOR.model.operations.hardware))
    for row, best in enumerate(chosen({"memory_per_device_gib": memory_gib})):
        every = every_system(row)
        within = [one for one in every if one["memory_per_device_gib"].high <= usable]
        memory = best.predicted["memory_per_device_gib"]
        assert best.within_budgets == bool(within) == (memory.high <= usable)
        if within:
            fastest = max(one["examples_per_s"].value for one in within)
            assert best.predicted["examples_per_s"].value == pytest.approx(fastest, rel=1e-12)
        else:
            least = min(one["memory_per_device_gib"].high for one in every)
            assert memory.high == pytest.approx(least, rel=1e-12)
        same = [one for one in every if one["system"].items() <= best.train.items()]
        assert len(same) == 1
        assert {name: same[0][name] for name in best.predicted} == best.predicted


def test_a_budget_of_throughput_is_held_by_the_lower_end() -> None:
    free = chosen({})[0].predicted["examples_per_s"]
    between = (free.low + free.value) / 2
    assert not chosen({"examples_per_s": between})[0].within_budgets
    assert chosen({"examples_per_s": free.low * 0.999})[0].within_budgets


@pytest.mark.parametrize(
    ("own", "allowed"),
    [
        ({"table_optimizer": "rowwise_adagrad"}, {"column_wise"}),
        (
            {"table_optimizer": "rowwise_adagrad", "table_sharding": "row_wise"},
            {"table_wise", "row_wise"},
        ),
        ({"table_backend": "plain", "table_optimizer": "adam"}, {"column_wise"}),
    ],
)
def test_no_choice_changes_what_a_trial_measures(own: dict[str, Any], allowed: set[str]) -> None:
    """Row-wise Adagrad has one state for each row of a shard, so its cuts count."""
    for best, batch_size in zip(chosen({}, **own), DESIGNS["batch_size"], strict=True):
        assert best.train["table_sharding"] in allowed
        assert best.devices == DEVICES
        assert (best.train["batch_size"], best.train["precision"]) == (batch_size, "fp32")
        assert best.train["lookup_precision"] == best.train["gradient_precision"] == "fp32"


def test_of_several_numbers_of_devices_the_fewest_gpu_hours_within_the_budgets_win() -> None:
    counts = (1, 2, 8, DEVICES)
    free = dataclasses.replace(PREDICTOR, counts=counts)
    budgets = {"memory_per_device_gib": 40.0, "examples_per_s": 300_000.0}
    devices = set()
    for row, best in enumerate(chosen(budgets, free)):
        alone = [
            chosen(budgets, dataclasses.replace(PREDICTOR, devices=count))[row] for count in counts
        ]
        within = [each for each in alone if each.within_budgets]
        assert best.within_budgets == bool(within)
        if within:
            most = max(
                within, key=lambda each: each.predicted["examples_per_s"].value / each.devices
            )
            assert best == most
        devices.add(best.devices)
    assert len(devices) > 1


def test_no_more_devices_are_chosen_than_a_step_has_examples() -> None:
    few = {"batch_size": np.array([1, 3, 9])}
    free = dataclasses.replace(PREDICTOR, counts=(1, 2, 8, DEVICES))
    found = chosen({"examples_per_s": 1e12}, free, **few)
    assert not any(best.within_budgets for best in found)
    assert [best.devices <= size for best, size in zip(found, (1, 3, 9), strict=True)] == [True] * 3
