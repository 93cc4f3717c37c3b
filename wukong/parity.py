"""Three public implementations of Wukong in terms of ours: their switches, their weights' names.

`WukongConfig(**SWITCHES["fuxictr"], layers=2, …)` is the architecture that reczoo/FuxiCTR
(`model_zoo/WuKong`, the version with `lcb_features`), alibaba/TorchEasyRec
(`tzrec/models/wukong.py`) or clabrugere/wukong-recommendation (`model/pytorch`) builds with its own
defaults, and `translate` renames the weights of such a model. All three agree with the paper on the
order (FMB rows first), on the layer norm over the flattened FM, on the layer norm over D after the
sum, and on a residual mix only where the numbers of rows differ. What else to know:

    name           Y, W_L, residual mix stored   mlp_depth               order of X_0
    fuxictr        (n, k), (L, n), (F+L, n)      len(fmb_mlp_units)      as listed: dense ones last
    torcheasyrec   (n, k), (n, L), (n, F+L)      len(hidden_units)       the dense row first
    clabrugere     (n, k), (n, L), (n, F+L)      num_hidden_wukong - 1   dense rows last

Give clabrugere's number of dense features as `dense_rows`. Options of theirs: FuxiCTR's rank None
is `fm="plain"`; TorchEasyRec's use_bn and use_ln are `mlp_norm` and `head_norm`, and where its maps
have no bias because a batch norm follows, `translate` fills in zeros. Not expressible: FuxiCTR
without the layer norm over D, activations other than ReLU, and a norm or dropout in TorchEasyRec's
bottom MLP. The older FuxiCTR WuKong, whose blocks mix the flattened rows, is another architecture.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "fuxictr": {
        "mlp_output_activation": True,
        "residual_bias": True,
        "y_init": "normal",
        "mix_init": "xavier_normal",
        "linear_init": "xavier_normal",
        "dense_mode": "per_feature",
        "dense_bias": False,
        "head_norm": "batch",
        "head_dropout": 0.0,
        "table_init_std": 1e-4,
    },
    "torcheasyrec": {
        "y_init": "kaiming_uniform",
        "mix_init": "kaiming_uniform",
        "dense_mode": "mlp",
        "dense_rows": 1,
        "bottom_output_activation": True,
        "dense_first": True,
    },
    "clabrugere": {
        "mlp_norm": "batch",
        "y_init": "kaiming_uniform",
        "mix_init": "kaiming_uniform",
        "dense_mode": "linear",
        "head_norm": "batch",
        "table_init_std": 1.0,
    },
}

# Their key up to the parameter's own name, as a pattern → ours. `*`: an MLP whose linear maps and
# norms are numbered in the order in which they come; `T`: stored transposed.
_RENAMED: Mapping[str, Mapping[str, str]] = {
    "fuxictr": {
        r"wukong_stack\.(\d+)\.fmb\.proj_Y": r"layers.\1.fmb.y",
        r"wukong_stack\.(\d+)\.fmb\.layer_norm": r"layers.\1.fmb.norm",
        r"wukong_stack\.(\d+)\.fmb\.mlp\..*": r"layers.\1.fmb.mlp *",
        r"wukong_stack\.(\d+)\.lcb\.linear": r"layers.\1.lcb",
        r"wukong_stack\.(\d+)\.residual_proj": r"layers.\1.residual",
        r"wukong_stack\.(\d+)\.layer_norm": r"layers.\1.norm",
        r"fc\.mlp\..*": "heads.0 *",
    },
    "torcheasyrec": {
        r"_wukong_layers\.(\d+)\.fmb": r"layers.\1.fmb.y",
        r"_wukong_layers\.(\d+)\.fmb\.norm": r"layers.\1.fmb.norm",
        r"_wukong_layers\.(\d+)\.fmb\.(mlp\..*|feature_out_liner)": r"layers.\1.fmb.mlp *",
        r"_wukong_layers\.(\d+)\.lcb": r"layers.\1.lcb T",
        r"_wukong_layers\.(\d+)\.residual_projection": r"layers.\1.residual T",
        r"_wukong_layers\.(\d+)\.norm": r"layers.\1.norm",
        r"dense_mlp\..*": "dense *",
        r"final_mlp\..*|output_mlp": "heads.0 *",
    },
    "clabrugere": {
        r"interaction_layers\.(\d+)\.fmb": r"layers.\1.fmb.y",
        r"interaction_layers\.(\d+)\.fmb\.norm": r"layers.\1.fmb.norm",
        r"interaction_layers\.(\d+)\.fmb\.mlp\..*": r"layers.\1.fmb.mlp *",
        r"interaction_layers\.(\d+)\.lcb": r"layers.\1.lcb T",
        r"interaction_layers\.(\d+)\.residual_projection": r"layers.\1.residual T",
        r"interaction_layers\.(\d+)\.norm": r"layers.\1.norm",
        r"embedding\.dense_embedding": "dense *",
        r"projection_head\..*": "heads.0 *",
    },
}

_TABLES: Mapping[str, str] = {
    "fuxictr": r"embedding_layer\..*",
    "torcheasyrec": r"embedding_group\..*",
    "clabrugere": r"embedding\.sparse_embedding\..*",
}
_FUXICTR_EMBEDDING = "embedding_layer.embedding_layer.embedding_layers."
_PARAMETER = re.compile(r"\.(weight|bias|running_mean|running_var|num_batches_tracked)$")


def translate(
    name: str, state: Mapping[str, Tensor], *, dense_features: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Rename the weights of another implementation's model to ours, embedding tables left out.

    Args:
        name: a key of `SWITCHES`.
        state: its `state_dict()`, in its own order (MLP layers are numbered as they come).
        dense_features: names of the dense features, which `fuxictr` stores beside its tables.

    Returns:
        What `Wukong.load_state_dict(…, strict=False)` wants; only `tables.*` are missing.

    Raises:
        ConfigError: an unknown name or unknown keys.
    """
    if name not in SWITCHES:
        raise ConfigError(f"implementation {name!r} is unknown; one of {', '.join(SWITCHES)}")
    ours: dict[str, Tensor] = {}
    if dense_features:
        rows = [state[f"{_FUXICTR_EMBEDDING}{feature}.weight"] for feature in dense_features]
        ours["dense.weight"] = torch.cat([row_D1.T for row_D1 in rows])
    mlps: dict[str, dict[str, dict[str, Tensor]]] = {}
    unknown = []
    for key, weight in state.items():
        path, _, parameter = _PARAMETER.sub(r" \1", key).partition(" ")
        target = _rename(name, path)
        if target is None:
            if not re.fullmatch(_TABLES[name], key):
                unknown.append(key)
        elif target.endswith(" *"):
            mlps.setdefault(target[:-2], {}).setdefault(path, {})[parameter] = weight
        elif target.endswith(" T"):
            ours[f"{target[:-2]}.{parameter}"] = weight.T
        else:
            ours[target if target.endswith(".y") else f"{target}.{parameter}"] = weight
    if unknown:
        raise ConfigError(f"weights that no {name} Wukong has: {', '.join(unknown)}")
    for prefix, modules in mlps.items():
        ours |= _number(prefix, modules.values())
    return ours


def _rename(name: str, path: str) -> str | None:
    for pattern, target in _RENAMED[name].items():
        match = re.fullmatch(pattern, path)
        if match:
            return match.expand(target)
    return None


def _number(prefix: str, modules: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Name an MLP's modules, given in order, by ours: matrices are linear maps, vectors norms."""
    modules = list(modules)
    linears = [m for m in modules if m["weight"].ndim == 2]
    norms = [m for m in modules if m["weight"].ndim == 1]
    if any("bias" in m for m in linears):
        linears = [{"bias": torch.zeros(len(m["weight"])), **m} for m in linears]
    return {
        f"{prefix}.{kind}.{i}.{parameter}": weight
        for kind, members in (("linears", linears), ("norms", norms))
        for i, module in enumerate(members)
        for parameter, weight in module.items()
    }
