"""What backward of a layer holds that is one step of autograd (`wukong.fused_layer`).

A CPU runs layers of the paper's form so in FP32, where their first linear map is large. Forward
saves what ordinary layers save; backward adds gradients up in place and frees what it has used. N
designs; B examples, n rows of the input, d width, k columns of the FM matrix.
"""

from __future__ import annotations

import numpy as np

from cost_models.exact import Array, Fields, LayerRows
from cost_models.memory.walk import Walk

# As `wukong.linear` and `wukong.fused_layer` have them, which need torch.
MIN_MULTIPLY_ADDS, CHUNK = 2.0**21, 256.0
_ZERO = np.zeros(1)


def is_one_step(fields: Fields, layer: LayerRows, B: Array) -> Array:
    """Say whether a CPU runs the layer so in FP32, bool (N,) or (1,)."""
    i = layer.index
    has_switches = (
        (fields["fm"] == "plain")
        | fields["attentive_y"].astype(bool)
        | (fields["mlp_norm"] != "none")
        | ~fields["mlp_bias"].astype(bool)
        | (fields["dropout"] > 0)
        | fields["mlp_output_activation"].astype(bool)
        | fields["residual_bias"].astype(bool)
    )
    is_deep = fields["mlp_depth", i] > 0
    first = np.where(is_deep, fields["mlp_width", i], fields["n_F", i] * fields["d"])
    is_large = B * layer.n_in * fields["k", i] * first >= MIN_MULTIPLY_ADDS
    found: Array = ~has_switches & is_large
    return found


def one_step_peak(fields: Fields, layer: LayerRows, B: Array, saved: Array) -> Array:
    """Return the most elements live in the layer's own backward, (N,) or (1,).

    Args:
        saved: what forward left.
    """
    i, n, n_out, d = layer.index, layer.n_in, layer.n_out, fields["d"]
    k, chunk = fields["k", i], np.minimum(B, CHUNK)
    x, out, flat, compressed = B * n * d, B * n_out * d, B * n * k, B * k * d
    own_rows = np.where(layer.mixes.astype(bool), n_out, fields["n_L", i])
    walk = Walk(saved, out)
    walk.run(out, freed=2 * out + 2 * B * n_out, weights=2 * d)  # the norm at the end
    sums = chunk * own_rows * n
    walk.run(sums, freed=sums, weights=own_rows * n)
    grad = B * fields["n_F", i] * d
    walk.run(x + grad, freed=out)
    _differentiate_maps(walk, fields, i, B, (flat, grad))
    walk.run(flat, freed=2 * flat + 2 * B, weights=2 * n * k)  # the norm before the MLP
    walk.run(_ZERO, freed=compressed)
    walk.run(compressed, freed=flat)
    sums = chunk * n * k
    walk.run(sums, freed=sums, weights=n * k)
    return walk.peak


def _differentiate_maps(
    walk: Walk, fields: Fields, i: int, B: Array, ends: tuple[Array, Array]
) -> None:
    """Walk from the MLP's output to its input, each map's weights first.

    Args:
        ends: elements of its input and of its output's gradient.
    """
    flat, grad = ends
    depth, width = fields["mlp_depth", i], fields["mlp_width", i]
    kept = _ZERO  # the input of the map above, which dies with the next one
    for index in reversed(range(int(depth.max()))):
        here = depth > index
        hidden = B * width
        walk.run(_ZERO, freed=_ZERO, weights=here * (width + 1) * grad / B)
        walk.run(here * hidden, freed=here * (grad + kept))
        kept, grad = np.where(here, hidden, kept), np.where(here, hidden, grad)
    walk.run(_ZERO, freed=_ZERO, weights=(flat / B + 1) * grad / B)
    walk.run(flat, freed=grad + kept + flat)
