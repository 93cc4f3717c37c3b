"""Traced costs against torch's own FLOP counter on models with real weights, and plain sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from codesign.errors import ConfigError
from cost_models.operations.trace import TraceError
from tests.support.own_data import own_data
from tests.support.own_models import DeepFM, InPlace, Linear, Wasteful, WithTables
from tests.support.toy_columns import batch_by_hand, toy_columns, toy_schema
from wukong.data.batch import Batch
from wukong.own.counts import count, on_meta_device, parts
from wukong.schema import InputSchema

SCHEMA: InputSchema = toy_schema(20)
BATCH: Batch = batch_by_hand(toy_columns(20), list(range(20)))

shapes = st.fixed_dictionaries(
    {
        "d": st.integers(1, 9),
        "width": st.integers(1, 20).map(lambda n: 2 * n),
        "depth": st.integers(0, 3),
        "activation": st.sampled_from(["relu", "gelu"]),
        "dropout": st.sampled_from([0.0, 0.5]),
        "norm": st.booleans(),
    }
)


def real_flop(model: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter:
        model(BATCH).sum().backward()
    return int(counter.get_total_flops())


@settings(max_examples=25, deadline=None)
@given(shapes)
def test_costs_are_those_of_a_model_with_real_weights(shape: dict[str, Any]) -> None:
    found = count(on_meta_device(lambda: DeepFM(SCHEMA, **shape)), BATCH)
    real = DeepFM(SCHEMA, **shape)
    in_tables = sum(f.cardinality for f in SCHEMA.categorical) * shape["d"]
    weights = sum(p.numel() for p in real.parameters())
    assert found == {
        "gflop_per_example": real_flop(real) / len(BATCH) / 1e9,
        "parameters": weights,
        "dense_parameters": weights - in_tables,
        "table_parameters": in_tables,
        "table_bytes": 4 * in_tables,
    }


@settings(max_examples=10, deadline=None)
@given(shapes)
def test_parts_add_up_and_each_is_what_the_submodule_does(shape: dict[str, Any]) -> None:
    model = on_meta_device(lambda: DeepFM(SCHEMA, **shape))
    whole, found = count(model, BATCH), {part.name: part for part in parts(model, BATCH)}
    assert list(found) == ["rows", "bags", "dense", "mlp", "everything else"]
    flop = sum(part.flop_per_example for part in found.values())
    assert flop == pytest.approx(whole["gflop_per_example"] * 1e9, rel=1e-12)
    assert sum(part.parameters for part in found.values()) == whole["parameters"]
    # By hand: the features need no gradient; 6 flop for each weight of the MLP; pair products of
    # five vectors with their two gradients.
    weights = sum(w.numel() for name, w in model.mlp.named_parameters() if w.ndim == 2)
    assert found["dense"].flop_per_example == 4 * shape["d"]
    assert found["mlp"].flop_per_example == 6 * weights
    assert found["everything else"].flop_per_example == 6 * 25 * shape["d"]
    assert (found["rows"].flop_per_example, found["everything else"].parameters) == (0, 1)


def test_what_is_written_in_place_is_counted() -> None:
    found = count(on_meta_device(lambda: InPlace(SCHEMA)), BATCH)["gflop_per_example"]
    assert found == real_flop(InPlace(SCHEMA)) / len(BATCH) / 1e9
    assert found == (2 * 4 * 3 + 6 * 2 * 2 * 3) / 1e9


def test_what_cannot_be_told_apart_is_one_part() -> None:
    wasteful = on_meta_device(lambda: Wasteful(SCHEMA))
    (everything,) = parts(wasteful, BATCH)
    # Forward alone: 2 flop for each weight of the map that nothing comes back to.
    assert (everything.name, everything.flop_per_example) == ("everything", 2 * 4)
    assert everything.parameters == count(wasteful, BATCH)["parameters"]
    named = {p.name: p for p in parts(on_meta_device(lambda: Wasteful(SCHEMA, kept=True)), BATCH)}
    assert named["by_name"].flop_per_example == 0
    assert named["everything else"].flop_per_example == 6 * 4


def test_weights_of_a_table_backend_are_tables() -> None:
    found = count(on_meta_device(lambda: WithTables(SCHEMA)), BATCH)
    assert found["table_parameters"] == 4 * sum(f.cardinality for f in SCHEMA.categorical)
    assert found["dense_parameters"] == 4 * 4 + 1
    assert found["gflop_per_example"] == 6 * 16 / 1e9


def test_counting_moves_no_generator_and_needs_no_memory() -> None:
    before = torch.get_rng_state()
    found = count(on_meta_device(lambda: DeepFM(SCHEMA, width=200_000, depth=3)), BATCH)
    assert found["dense_parameters"] > 8e10  # 300 GiB
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("spoilt", ["value", "building"])
def test_asking_for_the_value_of_a_weight_is_refused(spoilt: Any) -> None:
    with pytest.raises(TraceError, match="the meta device holds no data"):
        count(on_meta_device(lambda: Linear(SCHEMA, spoilt=spoilt)), BATCH)


@pytest.mark.parametrize(
    ("settings_", "complaint"),
    [
        ({"spoilt": "shape"}, r"returns a tensor \(3,\) for 20 examples of 1 tasks; must be .*20"),
        ({"spoilt": "none"}, "returns None for 20 examples"),
        ({"sparse": True}, "embedding 'bias' has sparse=True; must be False"),
    ],
)
def test_logits_of_another_form_and_sparse_gradients_are_refused(
    settings_: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        count(on_meta_device(lambda: Linear(SCHEMA, **settings_)), BATCH)


def test_several_tasks_need_a_logit_each() -> None:
    two = batch_by_hand(toy_columns(20, tasks=2), list(range(20)))
    assert count(on_meta_device(lambda: DeepFM(SCHEMA, tasks=2)), two)["gflop_per_example"] > 0
    with pytest.raises(ConfigError, match=r"returns a tensor \(20,\) .* must be logits \(20, 2\)"):
        count(on_meta_device(lambda: DeepFM(SCHEMA)), two)


def test_the_first_batch_of_prepared_data_can_be_traced(tmp_path: Path) -> None:
    data = own_data(tmp_path)
    batch = next(data.batches("train", 64, shuffle=False))
    found = count(on_meta_device(lambda: DeepFM(data.schema)), batch)
    real = DeepFM(data.schema)
    with FlopCounterMode(display=False) as counter:
        real(batch).sum().backward()
    assert found["gflop_per_example"] == counter.get_total_flops() / 64e9
