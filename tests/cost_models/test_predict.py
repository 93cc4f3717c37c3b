"""Predictions over boxes, and what they say of single designs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.contracts import HardwareSpec
from cost_models.artifacts import cost_model
from cost_models.hardware import Figure
from cost_models.memory.peak import training_bytes
from cost_models.predict import Predictor
from cost_models.training import Training
from tests.cost_models.memory.test_stages import KNOBS, SCHEMA, boxes

PREDICTORS = {name: Predictor.for_hardware(HardwareSpec(name=name)) for name in ("cpu", "a100")}
PREDICTORS["cpu, bf16"] = Predictor.for_hardware(HardwareSpec(name="cpu", precision="bf16"))
# Two devices on a node, and so thin a network that most of a step waits for it.
THIN = dataclasses.replace(
    PREDICTORS["a100"].model.operations.hardware,
    network_bytes_per_s=Figure(value=1e8, origin="assumed", source="a thin network"),
    devices_per_node=Figure(value=2, origin="assumed", source="small nodes"),
)
PREDICTORS["thin network"] = Predictor(model=cost_model(THIN, "bf16"), latency_batch=256)
GOALS = {"memory_per_device_gib": 1, "examples_per_s": -1, "latency_ms": 1}
BY_ROWS = {"table_sharding": "row_wise", "dense_shard_ranks": 1}
TRAIN = {"table_optimizer": "adam", "table_backend": "plain"}


@settings(max_examples=100, deadline=None)
@given(
    boxes(),
    st.tuples(st.integers(1, 4096), st.integers(1, 4096)).map(sorted),
    st.sampled_from(sorted(PREDICTORS)),
    st.sampled_from(["plain", "fused"]),
    st.sampled_from(
        [
            {},
            {"precision": "bf16"},
            {"compile": True},
            {"activation_checkpointing": True},
            {"lookup_precision": "fp16", "gradient_precision": "bf16"},
            {"dense_shard_ranks": 1},
            BY_ROWS,
        ]
    ),
    st.sampled_from([1, 3, 8]),
)
def test_no_design_of_a_box_is_better_than_its_bounds(
    box: tuple[dict[str, Any], ...],
    batches: list[int],
    device: str,
    backend: str,
    settings: dict[str, Any],
    devices: int,
) -> None:
    train = {"table_backend": backend, "table_optimizer": "rowwise_adagrad", **settings}
    rng = np.random.default_rng(batches[0])
    batch = {
        "low": np.full(20, batches[0]),
        "high": np.full(20, batches[1]),
        "inside": rng.integers(batches[0], batches[1] + 1, 20),
    }
    low, high, inside = (
        {**end, **train, "batch_size": batch[name]}
        for end, name in zip(box, ("low", "high", "inside"), strict=True)
    )
    predictor = dataclasses.replace(PREDICTORS[device], devices=devices)
    bounds = predictor.predict(low, high, SCHEMA, confidence=0.9)
    exact = predictor.predict(inside, inside, SCHEMA, confidence=0.9)
    assert bounds.keys() == GOALS.keys()
    for name, sign in GOALS.items():
        for end in ("value", "low", "high"):
            best = sign * getattr(bounds[name], end)
            assert (best <= sign * getattr(exact[name], end) + 1e-9 * abs(best)).all(), name


def designs(**knobs: Any) -> dict[str, Any]:
    middle = {name: np.array([(low + high) // 2]) for name, (low, high) in KNOBS.items()}
    return {**middle, **TRAIN, "batch_size": np.array([512]), **knobs}


def test_intervals_widen_with_confidence_and_hold_the_median() -> None:
    one = designs()
    widths = []
    for confidence in (0.6, 0.9, 0.99):
        found = PREDICTORS["a100"].predict(one, one, SCHEMA, confidence=confidence)
        for prediction in found.values():
            assert prediction.low[0] < prediction.value[0] < prediction.high[0]
        widths.append([p.high[0] / p.low[0] for p in found.values()])
    assert (np.diff(np.array(widths), axis=0) > 0).all()


def test_latency_is_of_its_own_batch_and_throughput_of_the_training_batch() -> None:
    small, large = designs(), designs(batch_size=np.array([4096]))
    predictor = PREDICTORS["cpu"]
    one = predictor.predict(small, small, SCHEMA, confidence=0.9)
    other = predictor.predict(large, large, SCHEMA, confidence=0.9)
    assert one["latency_ms"].value == other["latency_ms"].value
    assert one["examples_per_s"].value < other["examples_per_s"].value
    busy = Predictor(model=predictor.model, latency_batch=256_000)
    slower = busy.predict(small, small, SCHEMA, confidence=0.9)
    assert 20 < slower["latency_ms"].value / one["latency_ms"].value < 1000


def test_dropout_slows_training_and_not_the_forward_pass_that_serves() -> None:
    for knob in ("dropout", "head_dropout"):
        plain, dropped = (
            PREDICTORS["a100"].predict(each, each, SCHEMA, confidence=0.9)
            for each in (designs(), designs(**{knob: np.array([0.1])}))
        )
        assert dropped["latency_ms"].value == plain["latency_ms"].value
        assert dropped["examples_per_s"].value < plain["examples_per_s"].value


def test_the_optimizer_of_the_tables_decides_about_their_memory() -> None:
    """In a wide table weights, gradients and Adam's two moments count alike."""
    per_optimizer = {}
    for optimizer in ("adam", "sgd"):
        one = designs(table_optimizer=optimizer, d=np.array([4096]), batch_size=np.array([1]))
        found = PREDICTORS["a100"].predict(one, one, SCHEMA, confidence=0.9)
        per_optimizer[optimizer] = found["memory_per_device_gib"].value[0] * 2**30
    slack = PREDICTORS["a100"].model.memory.factor
    moments = 2 * 4 * 5 * 50 * 4096
    difference = per_optimizer["adam"] - per_optimizer["sgd"]
    assert difference == pytest.approx(slack * moments, rel=1e-6)


def test_more_devices_hold_less_each_and_their_labels_say_what_is_assumed() -> None:
    wide = designs(mlp_width=np.array([4096]), d=np.array([64]), batch_size=np.array([8192]))
    found = []
    for devices in (1, 2, 8):
        predictor = dataclasses.replace(PREDICTORS["cpu"], devices=devices)
        found.append(predictor.predict(wide, wide, SCHEMA, confidence=0.9))
    memory = [each["memory_per_device_gib"] for each in found]
    assert memory[0].value > memory[1].value > memory[2].value
    assert memory[2].value > memory[0].value / 8
    assert memory[2].label == "closed form of 8 ranks, fp32; slack assumed"
    assert memory[2].high / memory[2].low > memory[0].high / memory[0].low
    rates = [each["examples_per_s"] for each in found]
    assert rates[0].value < rates[1].value < rates[2].value
    modelled = "; 8 devices, what they send each other modelled, not measured"
    assert rates[2].label.endswith(modelled)


def test_a_wide_layer_is_held_by_each_device_as_its_share_and_twice_whole() -> None:
    """Weights, gradient and Adam's moments of one matrix that dwarfs all else, by hand."""
    one = designs(
        layers=np.array([4]), mlp_depth=np.array([2]), mlp_width=np.array([8192]),
        table_optimizer="sgd", batch_size=np.array([8]), head_width=np.array([1]),
    )  # fmt: skip
    for devices in (2, 8):
        training = Training.of({**one, "table_optimizer": "sgd"}, ranks=devices)
        peak = training_bytes(one, SCHEMA, batch=np.array([8.0]), training=training)[0]
        layer = 4 * 8192 * 8192
        # Of four layers three states each; in the third to be differentiated, two gradients stand,
        # and its own, its weights, the next one's weights and the gradients being sent are whole.
        expected = (4 * 3 / devices + 2 / devices + 4) * layer
        assert peak == pytest.approx(expected, rel=0.05)
