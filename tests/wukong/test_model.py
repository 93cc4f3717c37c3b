import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from codesign.errors import ConfigError
from tests.support import numpy_wukong
from wukong.data.batch import Batch
from wukong.model import Wukong, first_norm_input_std
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import TableGroup, TableOverride, WukongConfig, table_specs

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=7),
        CategoricalFeature(name="genre", cardinality=5, multi_hot=True, pooling="mean"),
        CategoricalFeature(name="hour", cardinality=4),
        CategoricalFeature(name="tags", cardinality=6, multi_hot=True),
    ),
    dense=("age", "price"),
)
SMALL = {
    "layers": 2, "n_F": 3, "n_L": 2, "k": 3, "mlp_depth": 1, "mlp_width": 6, "d": 4,
    "bottom_depth": 1, "bottom_width": 5, "head_depth": 1, "head_width": 6, "ln_eps": 1e-3,
}  # fmt: skip
GROUP = TableGroup(features=("tags", "user"), width=3, rows=2, hidden=(5,))
SWITCHES = {
    "the paper's form": {},
    "per-layer widths": {
        "n_F": (3, 1), "n_L": (2, 4), "k": (3, 2), "mlp_depth": (1, 3), "mlp_width": (6, 4),
    },
    "plain FM": {"fm": "plain"},
    "attentive Y": {"attentive_y": True, "attentive_rows": 2, "attentive_width": 3},
    "multi-embedding": {"tables": (TableOverride(feature="hour", rows=3),)},
    "a group": {"table_groups": (GROUP,)},
    "groups and rows": {
        "tables": (TableOverride(feature="hour", rows=2),),
        "table_groups": (GROUP, TableGroup(features=("genre",), width=2)),
        "dense_first": True,
    },
    "one dense map": {
        "dense_mode": "linear", "dense_rows": 3, "bottom_output_activation": True,
    },
    "a row per dense feature": {"dense_mode": "per_feature"},
    "no dense bias": {"dense_mode": "per_feature", "dense_bias": False, "dense_first": True},
    "bottom MLP": {
        "bottom_depth": 2, "bottom_width": (5, 3), "dense_rows": 2, "dense_bias": False,
        "bottom_output_activation": True,
    },
    "norms": {"mlp_norm": "batch", "head_norm": "batch", "head_depth": 2},
    "linear head": {"head_depth": 0},
}  # fmt: skip


class PlainBags(nn.Module):
    """The smallest table backend: one EmbeddingBag a feature."""

    def __init__(self, config: WukongConfig, schema: InputSchema) -> None:
        super().__init__()
        self.specs = table_specs(config, schema)
        self.bags = nn.ModuleDict(
            {s.feature: nn.EmbeddingBag(s.cardinality, s.width, mode=s.pooling) for s in self.specs}
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        one_hot = iter(batch.one_hot_BF.T)
        lengths = iter(batch.bag_lengths_FB)
        values, start, out = batch.bag_values, 0, []
        for spec in self.specs:
            if not spec.multi_hot:
                out.append(self.bags[spec.feature](next(one_hot)[:, None]))
                continue
            length = next(lengths)
            ids = values[start : start + int(length.sum())]
            start += len(ids)
            out.append(self.bags[spec.feature](ids, length.cumsum(0) - length))
        return torch.cat(out, dim=1)


def build(seed: int = 0, tasks: int = 1, **switches) -> Wukong:
    torch.manual_seed(seed)
    config = WukongConfig(**{**SMALL, **switches})
    schema = dataclasses.replace(SCHEMA, tasks=("ctr", "cvr", "like")[:tasks])
    model = Wukong(config, schema, PlainBags(config, schema)).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.6)
    return model


def random_ids(batch: int, seed: int = 0) -> dict[str, list[list[int]]]:
    rng = np.random.default_rng(seed)
    return {
        f.name: [
            list(map(int, rng.integers(0, f.cardinality, rng.integers(0, 4) if f.multi_hot else 1)))
            for _ in range(batch)
        ]
        for f in SCHEMA.categorical
    }


def to_batch(ids: dict[str, list[list[int]]], seed: int = 0, tasks: int = 1) -> Batch:
    rng = np.random.default_rng(seed)
    size = len(ids["user"])
    bags = [ids[f.name] for f in SCHEMA.multi_hot]
    one_hot = np.stack([np.concatenate(ids[f.name]) for f in SCHEMA.one_hot], axis=1)
    return Batch(
        one_hot_BF=torch.from_numpy(one_hot),
        bag_values=torch.tensor([i for bag in bags for one in bag for i in one]),
        bag_lengths_FB=torch.tensor([[len(one) for one in bag] for bag in bags]),
        dense_BD=torch.from_numpy(rng.normal(size=(size, len(SCHEMA.dense)))),
        label_BT=torch.from_numpy(rng.integers(0, 2, (size, tasks)).astype(float)),
    )


def reference_logits(model: Wukong, ids, batch: Batch, weights=None, training: bool = True):
    w = weights or {key: v.detach().numpy() for key, v in model.state_dict().items()}
    tables = {f.name: w[f"tables.bags.{f.name}.weight"] for f in SCHEMA.categorical}
    looked_up = numpy_wukong.lookup(tables, ids, SCHEMA)
    dense = batch.dense_BD.numpy()
    return numpy_wukong.model(w, looked_up, dense, model.config, training=training)


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("tasks", [1, 3])
def test_the_model_computes_the_equations(name, tasks):
    model, ids = build(tasks=tasks, **SWITCHES[name]), random_ids(11)
    batch = to_batch(ids)
    logits = model(batch)
    assert logits.shape == (11, tasks)
    np.testing.assert_allclose(
        logits.detach(), reference_logits(model, ids, batch), rtol=1e-8, atol=1e-9
    )


def test_a_trained_batch_norm_judges_each_example_alone():
    model, ids = build(**SWITCHES["norms"]), random_ids(11)
    batch = to_batch(ids)
    model(batch)
    model.eval()
    expected = reference_logits(model, ids, batch, training=False)
    np.testing.assert_allclose(model(batch).detach(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["the paper's form", "attentive Y", "groups and rows", "norms"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_the_gradient_of_the_loss_is_the_references_central_difference(name, tasks):
    model, ids = build(seed=2, tasks=tasks, **SWITCHES[name]), random_ids(6, seed=1)
    batch = to_batch(ids, tasks=tasks)
    nn.functional.binary_cross_entropy_with_logits(model(batch), batch.label_BT).backward()
    rng = np.random.default_rng(0)
    step = 1e-6
    for key, weight in model.named_parameters():
        direction = rng.normal(size=tuple(weight.shape))
        losses = []
        for sign in (+1, -1):
            moved = {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}
            moved[key] += sign * step * direction
            logits = reference_logits(model, ids, batch, moved)
            losses.append(numpy_wukong.log_loss(logits, batch.label_BT.numpy()))
        slope = (losses[0] - losses[1]) / (2 * step)
        along = float((weight.grad.numpy() * direction).sum())
        assert along == pytest.approx(slope, rel=1e-4, abs=1e-8), key


def test_categorical_rows_come_in_schema_order_and_dense_rows_last():
    model, ids = build(dense_mode="per_feature"), random_ids(3)
    batch = to_batch(ids)
    rows = model.input(batch)
    assert rows.shape == (3, 6, 4)
    torch.testing.assert_close(rows[:, :4].flatten(1), model.tables(batch))
    expected = batch.dense_BD[:, :, None] * model.dense.weight + model.dense.bias
    torch.testing.assert_close(rows[:, 4:], expected)


def test_without_categorical_features_the_dense_rows_are_the_input():
    schema = InputSchema(categorical=(), dense=SCHEMA.dense)
    config = WukongConfig(**SMALL)
    batch = to_batch(random_ids(5))
    model = Wukong(config, schema, nn.Identity()).double()
    assert model(batch).shape == (5, 1)


def test_a_config_that_does_not_fit_the_data_is_refused():
    config = WukongConfig(**SMALL, tables=(TableOverride(feature="nobody"),))
    with pytest.raises(ConfigError, match="nobody"):
        Wukong(config, SCHEMA, nn.Identity())


def test_the_head_may_have_a_dropout_of_its_own():
    model = build(dropout=0.3, head_dropout=0.1)
    assert (model.heads[0].dropout.p, model.layers[0].fmb.mlp.dropout.p) == (0.1, 0.3)
    assert build(dropout=0.3).heads[0].dropout.p == 0.3


@pytest.mark.parametrize("init_std", [1e-4, 1e-2, 1e-1])
def test_small_tables_vanish_in_the_epsilon_of_the_first_norm(init_std):
    """The deviation reported beforehand predicts what the norm hands on."""
    model = build(d=32, k=8, dense_mode="per_feature", ln_eps=1e-5)
    with torch.no_grad():
        for bag in model.tables.bags.values():
            bag.weight.normal_(std=init_std)
        for weight in (*model.dense.parameters(), *model.layers[0].fmb.norm.parameters()):
            weight.zero_()
        model.layers[0].fmb.norm.weight.fill_(1.0)
    batch = to_batch(random_ids(200))
    seen = first_norm_input_std(model, batch)
    handed_on = []
    model.layers[0].fmb.norm.register_forward_hook(lambda *args: handed_on.append(args[2]))
    model(batch)
    expected = seen / math.sqrt(seen**2 + 1e-5)
    assert handed_on[0].std().item() == pytest.approx(expected, rel=0.25)
    assert (seen < 0.01 * math.sqrt(1e-5)) == (init_std == 1e-4)
