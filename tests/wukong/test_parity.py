"""Each public implementation as plain functions over its own weights, against our modules.

Restated from what the three do, in their weights' names and layouts. n rows, d width.
"""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, layer_norm, relu

from codesign.errors import ConfigError
from wukong.data.batch import Batch
from wukong.model import Wukong
from wukong.parity import SWITCHES, translate
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig, input_rows, layer_shapes, table_specs

DENSE = ("age", "price")
SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=name, cardinality=9) for name in "abc"), dense=DENSE
)
SIZES = {
    "layers": 2, "n_F": 3, "n_L": 2, "k": 4, "mlp_depth": 2, "mlp_width": 7, "d": 6,
    "bottom_depth": 1, "bottom_width": 5, "head_depth": 2, "head_width": 8,
}  # fmt: skip


def config_of(name: str, **changes) -> WukongConfig:
    return WukongConfig(**{**SWITCHES[name], **SIZES, **changes})


# --- the weights of each, under its own names, in the order of its state dict


def linear(key, n_in, n_out, bias=True):
    weights = {f"{key}.weight": torch.randn(n_out, n_in) / n_in**0.5}
    return weights | ({f"{key}.bias": torch.randn(n_out)} if bias else {})


def norm(key, width, running=False):
    weights = {f"{key}.weight": torch.randn(width), f"{key}.bias": torch.randn(width)}
    if running:
        weights[f"{key}.running_mean"] = torch.randn(width)
        weights[f"{key}.running_var"] = torch.rand(width) + 0.5
        weights[f"{key}.num_batches_tracked"] = torch.tensor(3)
    return weights


def stack(keys, widths, batch_norm_at=(), bias=True):
    """Linear maps `keys[i]`, each hidden one followed by a batch norm where one is named."""
    weights = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        hidden = i < len(keys) - 1
        weights |= linear(keys[i], n_in, n_out, bias=bias or not hidden)
        if hidden and batch_norm_at:
            weights |= norm(batch_norm_at[i], n_out, running=True)
    return weights


def fuxictr_weights(config):
    w = {}
    for feature in "abc":
        w[f"embedding_layer.embedding_layer.embedding_layers.{feature}.weight"] = torch.randn(9, 6)
    for feature in DENSE:
        w[f"embedding_layer.embedding_layer.embedding_layers.{feature}.weight"] = torch.randn(6, 1)
    for i, s in enumerate(layer_shapes(config, input_rows(config, SCHEMA))):
        at = f"wukong_stack.{i}"
        w[f"{at}.fmb.proj_Y"] = torch.randn(s.n_in, s.k)
        w |= norm(f"{at}.fmb.layer_norm", s.n_in * s.k)
        widths = (s.n_in * s.k, *s.mlp_hidden, s.n_F * config.d)
        w |= stack([f"{at}.fmb.mlp.mlp.{j}" for j in (0, 2, 4)], widths)
        w |= linear(f"{at}.lcb.linear", s.n_in, s.n_L, bias=False)
        w |= norm(f"{at}.layer_norm", config.d)
        w |= linear(f"{at}.residual_proj", s.n_in, s.n_out) if s.mixes_residual else {}
    head = (5 * config.d, *config.head_hidden, 1)
    return w | stack([f"fc.mlp.{j}" for j in (0, 3, 6)], head, [f"fc.mlp.{j}" for j in (1, 4)])


def shared_layer_weights(at, s, d, mlp_keys, norm_keys=(), bias=True):
    """The part that TorchEasyRec and clabrugere have in common."""
    w = {f"{at}.lcb.weight": torch.randn(s.n_in, s.n_L)}
    w[f"{at}.fmb.weight"] = torch.randn(s.n_in, s.k)
    w |= norm(f"{at}.fmb.norm", s.n_in * s.k)
    w |= stack(
        [f"{at}.fmb.{key}" for key in mlp_keys],
        (s.n_in * s.k, *s.mlp_hidden, s.n_F * d),
        [f"{at}.fmb.{key}" for key in norm_keys],
        bias=bias,
    )
    w |= norm(f"{at}.norm", d)
    if s.mixes_residual:
        w[f"{at}.residual_projection.weight"] = torch.randn(s.n_in, s.n_out)
    return w


TER_MLP = ("mlp.mlp.0.perceptron.0", "mlp.mlp.1.perceptron.0", "feature_out_liner")
TER_NORM = ("mlp.mlp.0.perceptron.1", "mlp.mlp.1.perceptron.1")


def torcheasyrec_weights(config):
    w = {"embedding_group.emb_impls.0.ebc.embedding_bags.a_emb.weight": torch.randn(9, 6)}
    w |= stack([f"dense_mlp.mlp.{j}.perceptron.0" for j in (0, 1)], (2, 5, config.d))
    use_bn = config.mlp_norm == "batch"
    for i, s in enumerate(layer_shapes(config, input_rows(config, SCHEMA))):
        norms = TER_NORM if use_bn else ()
        w |= shared_layer_weights(
            f"_wukong_layers.{i}", s, config.d, TER_MLP, norms, bias=not use_bn
        )
    head = [*(f"final_mlp.mlp.{j}.perceptron.0" for j in (0, 1)), "output_mlp"]
    return w | stack(head, (5 * config.d, *config.head_hidden, 1))


def clabrugere_weights(config):
    w = {"embedding.sparse_embedding.weight": torch.randn(27, 6)}
    w |= linear("embedding.dense_embedding", 2, 2 * config.d)
    for i, s in enumerate(layer_shapes(config, input_rows(config, SCHEMA))):
        keys, norms = [f"mlp.{j}" for j in (0, 4, 8)], [f"mlp.{j}" for j in (1, 5)]
        w |= shared_layer_weights(f"interaction_layers.{i}", s, config.d, keys, norms)
    head = (5 * config.d, *config.head_hidden, 1)
    norms = [f"projection_head.{j}" for j in (1, 5)]
    return w | stack([f"projection_head.{j}" for j in (0, 4, 8)], head, norms)


# --- what each computes


def normed(w, key, x):
    if f"{key}.running_mean" not in w:
        return layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"])
    mean, variance = w[f"{key}.running_mean"], w[f"{key}.running_var"]
    return batch_norm(x, mean, variance, w[f"{key}.weight"], w[f"{key}.bias"])


def through(w, linears, x, norms=()):
    for i, key in enumerate(linears):
        x = x @ w[f"{key}.weight"].t() + w.get(f"{key}.bias", 0)
        if i < len(linears) - 1:
            x = relu(normed(w, norms[i], x) if norms else x)
    return x


def fuxictr(w, rows, dense, config):
    base = "embedding_layer.embedding_layer.embedding_layers"
    made = [dense[:, [j]] @ w[f"{base}.{f}.weight"].t() for j, f in enumerate(DENSE)]
    x = torch.cat([rows, torch.stack(made, 1)], 1)
    for i in range(config.layers):
        at = f"wukong_stack.{i}"
        fm = torch.bmm(x, x.mT @ w[f"{at}.fmb.proj_Y"]).flatten(1)
        fm = normed(w, f"{at}.fmb.layer_norm", fm)
        fmb = relu(through(w, [f"{at}.fmb.mlp.mlp.{j}" for j in (0, 2, 4)], fm))
        lcb = (x.mT @ w[f"{at}.lcb.linear.weight"].t()).mT
        new = torch.cat([fmb.view(len(x), -1, config.d), lcb], 1)
        if new.shape[1] != x.shape[1]:
            mix = f"{at}.residual_proj"
            x = (x.mT @ w[f"{mix}.weight"].t() + w[f"{mix}.bias"]).mT
        x = normed(w, f"{at}.layer_norm", new + x)
    keys, norms = [f"fc.mlp.{j}" for j in (0, 3, 6)], [f"fc.mlp.{j}" for j in (1, 4)]
    return through(w, keys, x.flatten(1), norms)[:, 0]


def shared_layer(w, at, x, mlp_keys, norm_keys=()):
    fm = torch.bmm(x, x.mT @ w[f"{at}.fmb.weight"]).flatten(1)
    fm = normed(w, f"{at}.fmb.norm", fm)
    keys, norms = ([f"{at}.fmb.{key}" for key in names] for names in (mlp_keys, norm_keys))
    fmb = through(w, keys, fm, norms).view(len(x), -1, x.shape[2])
    new = torch.cat([fmb, (x.mT @ w[f"{at}.lcb.weight"]).mT], 1)
    mix = w.get(f"{at}.residual_projection.weight")
    return normed(w, f"{at}.norm", new + (x if mix is None else (x.mT @ mix).mT))


def torcheasyrec(w, rows, dense, config):
    row = relu(through(w, [f"dense_mlp.mlp.{j}.perceptron.0" for j in (0, 1)], dense))
    x = torch.cat([row[:, None], rows], 1)
    norms = TER_NORM if config.mlp_norm == "batch" else ()
    for i in range(config.layers):
        x = shared_layer(w, f"_wukong_layers.{i}", x, TER_MLP, norms)
    head = [*(f"final_mlp.mlp.{j}.perceptron.0" for j in (0, 1)), "output_mlp"]
    return through(w, head, x.flatten(1))[:, 0]


def clabrugere(w, rows, dense, config):
    made = through(w, ["embedding.dense_embedding"], dense).view(len(rows), 2, -1)
    x = torch.cat([rows, made], 1)
    for i in range(config.layers):
        keys, norms = [f"mlp.{j}" for j in (0, 4, 8)], [f"mlp.{j}" for j in (1, 5)]
        x = shared_layer(w, f"interaction_layers.{i}", x, keys, norms)
    keys = [f"projection_head.{j}" for j in (0, 4, 8)]
    return through(w, keys, x.flatten(1), [f"projection_head.{j}" for j in (1, 5)])[:, 0]


IMPLEMENTATIONS = {
    "fuxictr": (fuxictr_weights, fuxictr, {}),
    "torcheasyrec": (torcheasyrec_weights, torcheasyrec, {}),
    "torcheasyrec with batch norm": (torcheasyrec_weights, torcheasyrec, {"mlp_norm": "batch"}),
    "torcheasyrec with a pyramid": (
        torcheasyrec_weights,
        torcheasyrec,
        {"n_F": (4, 2), "n_L": (5, 3), "k": (3, 2), "mlp_width": (9, 4)},
    ),
    "clabrugere": (clabrugere_weights, clabrugere, {"dense_rows": len(DENSE)}),
}


class GivenRows(nn.Module):
    def __init__(self, rows_BW):
        super().__init__()
        self.rows_BW = rows_BW

    def forward(self, batch):
        return self.rows_BW


@pytest.mark.parametrize("case", IMPLEMENTATIONS)
def test_translated_weights_give_the_other_implementations_logits(case):
    torch.manual_seed(0)
    name = case.split()[0]
    make_weights, forward, changes = IMPLEMENTATIONS[case]
    config = config_of(name, **changes)
    theirs = make_weights(config)
    rows, dense = torch.randn(13, 3, config.d), torch.randn(13, 2)
    model = Wukong(config, SCHEMA, GivenRows(rows.flatten(1))).eval()
    features = DENSE if name == "fuxictr" else ()
    model.load_state_dict(translate(name, theirs, dense_features=features), strict=True)
    nothing = torch.zeros(13, 0, dtype=torch.long)
    batch = Batch(
        one_hot_BF=nothing, bag_values=nothing[0], bag_lengths_FB=nothing.T, dense_BD=dense,
        label_BT=torch.zeros(13, 1),
    )  # fmt: skip
    expected = forward(theirs, rows, dense, config)
    torch.testing.assert_close(model(batch)[:, 0], expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.01


def test_the_implementations_differ_where_they_are_said_to():
    """One set of sizes, five rows in: only FuxiCTR's residual mix has a bias."""
    shapes = {}
    for name in SWITCHES:
        config = config_of(name, n_F=4)
        tables = GivenRows(torch.zeros(1, 18))
        state = Wukong(config, SCHEMA, tables).state_dict()
        shapes[name] = {key.removeprefix("layers.0.") for key in state if "layers.0." in key}
    assert shapes["fuxictr"] - shapes["torcheasyrec"] == {"residual.bias"}
    assert {key.split(".")[2] for key in shapes["clabrugere"] - shapes["torcheasyrec"]} == {"norms"}


@pytest.mark.parametrize("name", SWITCHES)
def test_embedding_tables_are_as_wide_as_the_rows(name):
    assert {spec.width for spec in table_specs(config_of(name), SCHEMA)} == {SIZES["d"]}


def test_a_weight_that_the_implementation_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"no clabrugere Wukong has: wukong_stack\.0\.lcb"):
        translate("clabrugere", {"wukong_stack.0.lcb.linear.weight": torch.zeros(2, 2)})
    with pytest.raises(ConfigError, match="unknown; one of fuxictr, torcheasyrec, clabrugere"):
        translate("dlrm", {})
