"""Peak memory in closed form against torch's allocation timeline, measured and live."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cost_models.calibrate.peaks import profiled_peak_bytes
from cost_models.memory.peak import training_bytes
from cost_models.memory.stages import stages, step_peak
from cost_models.profile.device import Device
from cost_models.profile.memory import peak_of
from cost_models.profile.record import read
from cost_models.training import Training
from wukong.data.batch import Batch
from wukong.learner import Learner
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig
from wukong.train_config import TrainConfig

MEASURED = Path(__file__).parents[3] / "cost_models/measurements"
SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=50) for i in range(5)),
    dense=("x", "y", "z"),
)
BATCH = 64


@pytest.mark.parametrize(
    ("file", "one_step_layers"),
    [("cpu-epyc-2-threads.csv", False), ("cpu-epyc-2-threads-onednn.csv", True)],
    ids=["ordinary layers", "one-step layers"],
)
def test_every_measured_step_of_a_cpu_is_met_within_five_percent(
    file: str, one_step_layers: bool
) -> None:
    ratio = np.array(
        [
            profiled_peak_bytes(case, one_step_layers=one_step_layers) / result.peak_bytes
            for case, result in read(MEASURED / file)
            if case.section == "step" and (case.precision, case.mode) == ("fp32", "eager")
        ]
    )
    assert len(ratio) > 80
    assert np.median(np.abs(ratio - 1)) < 1e-3
    assert np.abs(ratio - 1).max() < 0.05


def batch_of(schema: InputSchema, rows: int) -> Batch:
    drawn = torch.Generator().manual_seed(1)
    ids = torch.randint(50, (rows, len(schema.one_hot)), generator=drawn)
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(
        one_hot_BF=ids,
        bag_values=nothing,
        bag_lengths_FB=nothing.view(0, rows),
        dense_BD=torch.randn(rows, len(schema.dense), generator=drawn),
        label_BT=(ids[:, : len(schema.tasks)] % 2).float(),
    )


def live_peak_bytes(config: WukongConfig, train: TrainConfig, schema: InputSchema) -> int:
    """The peak of one step of the trainer itself, once its optimizers have their state."""
    learner = Learner(config, schema, train, steps=10, seed=0)
    batch = batch_of(schema, train.batch_size)
    for _ in range(2):
        learner.step(batch)
    for weight in learner.model.parameters():
        weight.grad = None
    states: list[Tensor] = [
        value
        for optimizer in learner._optimizers
        for state in optimizer.state.values()  # type: ignore[attr-defined]
        for value in state.values()
    ]
    inputs = [batch.one_hot_BF, batch.dense_BD, batch.label_BT]
    held = [*learner.model.parameters(), *states, *inputs]
    return peak_of(lambda: learner.step(batch), held, Device("cpu"))


LIVE: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"layers": 4, "mlp_depth": 3, "mlp_norm": "layer"},
    "identity": {"layers": 3, "n_F": 4, "n_L": 4, "dense_rows": 3},
    "dropout": {"dropout": 0.2, "mlp_norm": "batch", "head_norm": "batch"},
    "full products": {"fm": "plain", "mlp_output_activation": True},
    "attentive": {"attentive_y": True, "attentive_rows": 3, "attentive_width": 48},
    "no head": {"head_depth": 0, "dense_mode": "linear"},
}


@pytest.mark.parametrize("changed", LIVE.values(), ids=list(LIVE))
@pytest.mark.parametrize(
    ("optimizer", "tasks", "rows"),
    [("adam", 1, 64), ("adam", 1, 2048), ("rowwise_adagrad", 1, 64), ("sgd", 4, 64)],
)
def test_a_step_of_the_trainer_is_met_within_three_percent(
    changed: dict[str, Any], optimizer: Any, tasks: int, rows: int
) -> None:
    """Of 64 rows all products are torch's own, of 2048 most are oneDNN's."""
    schema = dataclasses.replace(SCHEMA, tasks=tuple(f"t{i}" for i in range(tasks)))
    knobs = {
        "layers": 2, "n_F": 6, "n_L": 3, "k": 5, "mlp_depth": 1, "mlp_width": 96, "d": 16,
        "head_depth": 1, "head_width": 64, "bottom_depth": 1, "bottom_width": 32, **changed,
    }  # fmt: skip
    config = WukongConfig(**knobs)
    train = TrainConfig(batch_size=rows, table_optimizer=optimizer)
    predicted = training_bytes(
        knobs,
        schema,
        batch=np.array([float(rows)]),
        training=Training(table_optimizer=optimizer, on_cpu=True),
    )
    assert predicted[0] == pytest.approx(live_peak_bytes(config, train, schema), rel=0.03)


KNOBS = {
    "layers": (1, 4), "n_F": (1, 6), "n_L": (1, 6), "k": (1, 6), "mlp_depth": (1, 3),
    "mlp_width": (1, 40), "d": (1, 12), "head_depth": (0, 2), "head_width": (1, 20),
    "bottom_depth": (0, 2), "bottom_width": (1, 20), "dense_rows": (1, 4),
    "attentive_rows": (1, 4), "attentive_width": (1, 20), "dropout": (0, 1),
}  # fmt: skip


@st.composite
def boxes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The ends of a box of designs, and 20 designs of it."""
    low, high, inside = {}, {}, {}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    fm, attentive = draw(
        st.sampled_from([("low_rank", False), ("low_rank", True), ("plain", False)])
    )
    words = {
        "fm": fm,
        "attentive_y": attentive,
        "mlp_norm": draw(st.sampled_from(["none", "layer"])),
        "dense_mode": draw(st.sampled_from(["mlp", "linear", "per_feature"])),
    }
    for name, (least, most) in KNOBS.items():
        ends = sorted((draw(st.integers(least, most)), draw(st.integers(least, most))))
        low[name], high[name] = (np.full(20, end) for end in ends)
        inside[name] = rng.integers(ends[0], ends[1], size=20, endpoint=True)
    return {**low, **words}, {**high, **words}, {**inside, **words}


@settings(max_examples=150, deadline=None)
@given(boxes())
def test_the_floor_of_a_box_is_below_every_design_in_it_and_exact_at_a_single_one(
    box: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
) -> None:
    low, high, inside = box
    shared: dict[str, Any] = {"batch": np.array([32.0]), "training": Training()}
    floor = training_bytes(low, SCHEMA, high=high, **shared)
    exact = training_bytes(inside, SCHEMA, **shared)
    assert (floor <= exact * (1 + 1e-12)).all()
    np.testing.assert_array_equal(training_bytes(inside, SCHEMA, high=inside, **shared), exact)


def test_layers_that_are_alike_hold_what_they_hold_one_by_one() -> None:
    """Given layer by layer, the same design takes the other path through the formulas."""
    rng = np.random.default_rng(2)
    designs = {name: rng.integers(low, high + 1, 200) for name, (low, high) in KNOBS.items()}
    by_layer = {**designs, "n_F": np.repeat(designs["n_F"][:, None], 4, axis=1)}
    batch = np.array([16.0])
    alike = step_peak(stages(designs, SCHEMA, batch=batch))
    each = step_peak(stages(by_layer, SCHEMA, batch=batch))
    np.testing.assert_allclose(alike, each, rtol=1e-12)
