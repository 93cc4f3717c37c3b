import dataclasses

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import numpy_wukong
from wukong.layers import MLP, FactorizationMachineBlock, LinearCompressBlock, WukongLayer
from wukong.shape import LayerShape, WukongConfig, layer_shapes

SMALL = WukongConfig(
    layers=1, n_F=3, n_L=2, k=4, mlp_depth=2, mlp_width=7, d=6, attentive_rows=2, attentive_width=5
)
SWITCHES = {
    "the paper's form": {},
    "plain FM": {"fm": "plain"},
    "attentive Y": {"attentive_y": True},
    "last activation": {"mlp_output_activation": True},
    "layer norm in the MLP": {"mlp_norm": "layer"},
    "batch norm in the MLP": {"mlp_norm": "batch"},
    "no MLP bias": {"mlp_bias": False},
    "residual bias": {"residual_bias": True},
    "large epsilon": {"ln_eps": 0.1},
    "other starts": {"y_init": "kaiming_uniform", "mix_init": "kaiming_uniform"},
    "xavier": {"mix_init": "xavier_normal", "linear_init": "xavier_normal", "residual_bias": True},
}


def make_layer(config: WukongConfig, n_in: int, seed: int = 0) -> WukongLayer:
    """A float64 layer whose every weight is random, norms and biases included."""
    torch.manual_seed(seed)
    (shape,) = layer_shapes(config, n_in)
    layer = WukongLayer(shape, config).double()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    return layer


def as_numpy(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {key: w.detach().numpy().copy() for key, w in module.state_dict().items()}


@pytest.mark.parametrize("n_in", [5, 8])
@pytest.mark.parametrize("name", SWITCHES)
def test_a_layer_computes_the_equations(name, n_in):
    config = dataclasses.replace(SMALL, **SWITCHES[name])
    layer = make_layer(config, n_in)
    x = torch.randn(9, n_in, config.d, dtype=torch.float64)
    expected = numpy_wukong.layer(as_numpy(layer), x.numpy(), config)
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 7),
    batch=st.integers(1, 4),
    fm=st.sampled_from(["low_rank", "plain"]),
)
def test_a_layer_of_any_shape_computes_the_equations(sizes, batch, fm):
    n_in, n_F, n_L, k, depth, width, d = sizes
    config = WukongConfig(
        layers=1, n_F=n_F, n_L=n_L, k=k, mlp_depth=depth, mlp_width=width, d=d, fm=fm, ln_eps=1e-2
    )
    layer = make_layer(config, n_in)
    x = torch.randn(batch, n_in, d, dtype=torch.float64)
    expected = numpy_wukong.layer(as_numpy(layer), x.numpy(), config)
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-7, atol=1e-8)


def test_batch_norm_uses_its_running_figures_once_training_is_over():
    config = dataclasses.replace(SMALL, mlp_norm="batch")
    layer = make_layer(config, 5)
    x = torch.randn(9, 5, config.d, dtype=torch.float64)
    layer(x)
    layer.eval()
    expected = numpy_wukong.layer(as_numpy(layer), x.numpy(), config, training=False)
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "switches",
    [{}, {"fm": "plain"}, {"attentive_y": True}, {"residual_bias": True, "mlp_norm": "layer"}],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(switches):
    config = WukongConfig(
        layers=1, n_F=2, n_L=1, k=2, mlp_depth=1, mlp_width=3, d=3, ln_eps=1e-2,
        attentive_rows=2, attentive_width=3, **switches,
    )  # fmt: skip
    layer = make_layer(config, 4, seed=3)
    names, weights = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)

    def apply(x, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(apply, (x, *weights))


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.01, 100.0), n_in=st.integers(2, 6))
def test_scaling_y_leaves_the_layer_as_it_is(scale, n_in):
    config = dataclasses.replace(SMALL, ln_eps=1e-14)
    layer = make_layer(config, n_in)
    x = torch.randn(3, n_in, config.d, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.fmb.y *= scale
    torch.testing.assert_close(layer(x), before, rtol=1e-6, atol=1e-7)


def test_the_order_of_the_products_does_not_matter():
    layer = make_layer(SMALL, 5)
    x = torch.randn(4, 5, SMALL.d, dtype=torch.float64)
    left_to_right = (x @ x.transpose(1, 2)) @ layer.fmb.y
    torch.testing.assert_close(layer.fmb.interactions(x), left_to_right)


def test_a_zero_attention_leaves_y_as_it_is():
    config = dataclasses.replace(SMALL, attentive_y=True)
    layer = make_layer(config, 5)
    x = torch.randn(4, 5, config.d, dtype=torch.float64)
    with torch.no_grad():
        for weight in layer.fmb.attention.mlp.linears[-1].parameters():
            weight.zero_()
    expected = (x @ x.transpose(1, 2)) @ layer.fmb.y
    torch.testing.assert_close(layer.fmb.interactions(x), expected)


def test_without_fmb_and_residual_a_layer_is_linear_before_its_norm():
    layer = make_layer(SMALL, 7)
    with torch.no_grad():
        for weight in layer.fmb.mlp.linears[-1].parameters():
            weight.zero_()
        layer.residual.weight.zero_()
    layer.norm = torch.nn.Identity()
    a, b = torch.randn(2, 4, 7, SMALL.d, dtype=torch.float64)
    torch.testing.assert_close(layer(2 * a - 3 * b), 2 * layer(a) - 3 * layer(b))
    assert layer(a)[:, : SMALL.n_F].abs().max() == 0
    assert layer(a)[:, SMALL.n_F :].abs().min() > 0


def test_the_residual_is_the_identity_only_where_rows_agree():
    same, other = make_layer(SMALL, 5), make_layer(SMALL, 6)
    assert not any(key.startswith("residual") for key in same.state_dict())
    assert other.state_dict()["residual.weight"].shape == (5, 6)


def test_state_dict_keys_are_the_documented_ones():
    config = dataclasses.replace(
        SMALL, attentive_y=True, mlp_norm="layer", residual_bias=True, mlp_depth=1
    )
    layer = make_layer(config, 4)
    assert {key: tuple(w.shape) for key, w in layer.state_dict().items()} == {
        "fmb.y": (4, 4),
        "fmb.attention.compress.weight": (2, 4),
        "fmb.attention.mlp.linears.0.weight": (5, 12),
        "fmb.attention.mlp.linears.0.bias": (5,),
        "fmb.attention.mlp.linears.1.weight": (16, 5),
        "fmb.attention.mlp.linears.1.bias": (16,),
        "fmb.norm.weight": (16,),
        "fmb.norm.bias": (16,),
        "fmb.mlp.linears.0.weight": (7, 16),
        "fmb.mlp.linears.0.bias": (7,),
        "fmb.mlp.linears.1.weight": (18, 7),
        "fmb.mlp.linears.1.bias": (18,),
        "fmb.mlp.norms.0.weight": (7,),
        "fmb.mlp.norms.0.bias": (7,),
        "lcb.weight": (2, 4),
        "residual.weight": (5, 4),
        "residual.bias": (5,),
        "norm.weight": (6,),
        "norm.bias": (6,),
    }


def test_a_mix_adds_its_bias_to_every_column_of_a_row():
    block = LinearCompressBlock(3, 2, bias=True)
    x = torch.randn(4, 3, 5)
    expected = np.einsum("mn,bnd->bmd", block.weight.detach(), x)
    expected = expected + block.bias.detach().numpy()[None, :, None]
    np.testing.assert_allclose(block(x).detach(), expected, rtol=1e-5, atol=1e-6)


def test_the_layer_norm_takes_the_residual_bias_out_again():
    layer = make_layer(dataclasses.replace(SMALL, residual_bias=True), 8)
    x = torch.randn(4, 8, SMALL.d, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.residual.bias += torch.arange(5.0)
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("init", ["uniform", "xavier_normal", "kaiming_uniform"])
def test_mixes_start_with_the_documented_deviation(init):
    torch.manual_seed(1)
    block = LinearCompressBlock(300, 200, bias=True, init=init)
    variance = {
        "uniform": (1 / 300) / 3,
        "xavier_normal": 2 / (300 + 200),
        "kaiming_uniform": (6 / 200) / 3,
    }[init]
    assert block.weight.std().item() == pytest.approx(variance**0.5, rel=0.02)
    assert block.weight.mean().item() == pytest.approx(0, abs=0.01 * variance**0.5)
    assert bool((block.bias == 0).all()) == (init != "uniform")


@pytest.mark.parametrize("init, deviation", [("normal", 1.0), ("kaiming_uniform", 0.1)])
def test_y_starts_with_the_documented_deviation(init, deviation):
    torch.manual_seed(1)
    shape = LayerShape(n_in=300, n_F=1, n_L=1, k=200, mlp_hidden=(1,))
    block = FactorizationMachineBlock(shape, WukongConfig(d=1, y_init=init))
    assert block.y.std().item() == pytest.approx(deviation, rel=0.02)


def test_a_seed_fixes_all_weights():
    def weights(seed):
        torch.manual_seed(seed)
        (shape,) = layer_shapes(SMALL, 4)
        return torch.cat([w.flatten() for w in WukongLayer(shape, SMALL).parameters()])

    assert torch.equal(weights(5), weights(5))
    assert not torch.equal(weights(5), weights(6))


def test_dropout_acts_in_training_on_hidden_activations_only():
    torch.manual_seed(0)
    mlp = MLP(4, (1000,), 1, dropout=0.4)
    with torch.no_grad():
        mlp.linears[0].weight.zero_()
        mlp.linears[0].bias.fill_(1.0)
        mlp.linears[1].weight.fill_(1.0)
        mlp.linears[1].bias.zero_()
    x = torch.randn(50, 4)
    kept = mlp(x).detach() * 0.6 / 1000  # survivors are scaled by 1 / (1 - dropout)
    assert kept.mean().item() == pytest.approx(0.6, abs=0.01)
    assert mlp.eval()(x).mean().item() == pytest.approx(1000)


def test_an_mlp_without_hidden_layers_is_one_linear_map():
    mlp = MLP(3, (), 2, dropout=0.5, norm="batch")
    assert list(mlp.state_dict()) == ["linears.0.weight", "linears.0.bias"]


@pytest.mark.parametrize("n_in", [7, 12])
@pytest.mark.parametrize("rows", [600, 1023])
def test_a_layer_of_one_step_has_the_values_and_gradients_of_float64(n_in, rows):
    """FP32 and wide enough for oneDNN; in float64 the same weights go through autograd."""
    config = WukongConfig(layers=1, n_F=5, n_L=7, k=6, mlp_depth=2, mlp_width=90, d=8)
    torch.manual_seed(0)
    layer = WukongLayer(*layer_shapes(config, n_in), config)
    exact = WukongLayer(*layer_shapes(config, n_in), config).double()
    exact.load_state_dict(layer.state_dict())
    x, upstream = torch.randn(rows, n_in, 8), torch.randn(rows, 12, 8)
    found = []
    for each in (layer, exact):
        dtype = each.norm.weight.dtype
        given = x.to(dtype).requires_grad_()
        out = each(given)
        names, weights = zip(*each.named_parameters(), strict=True)
        found.append([out, *torch.autograd.grad(out, [given, *weights], upstream.to(dtype))])
    assert "FusedLayer" in type(found[0][0].grad_fn).__name__
    for name, ours, reference in zip(["out", "x", *names], *found, strict=True):
        error = (ours.double() - reference).norm() / reference.norm()
        assert error < 2e-5, name


def one_step_layer() -> tuple[WukongLayer, torch.Tensor]:
    config = WukongConfig(layers=1, n_F=5, n_L=7, k=6, mlp_depth=2, mlp_width=90, d=8)
    torch.manual_seed(0)
    x = torch.randn(600, 7, 8, requires_grad=True)
    return WukongLayer(*layer_shapes(config, 7), config), x


def test_a_layer_of_one_step_computed_again_has_the_same_gradients():
    layer, x = one_step_layer()
    inputs = [x, *layer.parameters()]
    kept = torch.autograd.grad(layer(x).square().sum(), inputs)
    again = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    for one, other in zip(kept, torch.autograd.grad(again.square().sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_layer_of_one_step_refuses_a_second_derivative_and_a_second_backward():
    layer, x = one_step_layer()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    loss = layer(x).square().sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()
