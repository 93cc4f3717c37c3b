"""What tables of operations call an operation, and what it reads and writes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from codesign.errors import ConfigError
from cost_models.operations.ops import PRODUCTS


@dataclass(frozen=True, kw_only=True)
class NamedOp:
    """What a name stands for.

    Attributes:
        kind, phase, layout: as in `cost_models.operations.ops.Op`.
        tensors: how many tensors of all its elements it reads and writes; of products, of its
            results, which `baddbmm` reads, too.
        mask_bytes: of a mask that it reads or writes, per element.
    """

    kind: str
    phase: str = "forward"
    layout: str = ""
    tensors: int = 2
    mask_bytes: int = 0

    @property
    def is_product(self) -> bool:
        """Whether it multiplies matrices."""
        return self.kind in PRODUCTS


_UNARY = (
    "elementwise", "vec", "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "swish", "tanh",
    "sigmoid", "hardswish", "hardsigmoid", "softplus", "pow", "square", "sqrt", "rsqrt", "exp",
    "log", "neg", "abs", "sin", "cos", "erf", "reciprocal", "clamp", "scale", "bias_add",
)  # fmt: skip
_BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "masked_fill", "residual")
_TERNARY = ("addcmul", "addcdiv", "where", "lerp")
_COPIES = (
    "copy", "clone", "contiguous", "cat", "concat", "stack", "transpose", "permute", "pad",
    "cast", "to_copy", "gather", "index_select", "roll", "repeat", "split",
)  # fmt: skip


def _alike(op: NamedOp, *names: str) -> dict[str, NamedOp]:
    return dict.fromkeys(names, op)


def _both_passes(kind: str, *names: str) -> dict[str, NamedOp]:
    """Forward reads one tensor and writes one; backward reads the gradient, too."""
    backward = NamedOp(kind=kind, phase="backward", tensors=3)
    return _alike(NamedOp(kind=kind), *names) | _alike(backward, *(f"{n}_backward" for n in names))


# Which names there are; `find` knows them in other spellings, too.
NAMES: Mapping[str, NamedOp] = {
    "linear": NamedOp(kind="gemm", layout="nt", tensors=1),
    **_alike(NamedOp(kind="gemm", layout="nn", tensors=1), "addmm", "mm", "gemm"),
    **_alike(NamedOp(kind="bmm", layout="nn", tensors=1), "bmm", "matmul"),
    "baddbmm": NamedOp(kind="bmm", layout="nn", tensors=2),
    **_both_passes("softmax", "softmax", "log_softmax"),
    **_both_passes("layer_norm", "layer_norm", "native_layer_norm", "ln"),
    **_both_passes("batch_norm", "batch_norm", "native_batch_norm", "bn"),
    **_both_passes("elementwise", *_UNARY),
    **_alike(NamedOp(kind="elementwise", tensors=1), "fill", "zero"),
    **_alike(NamedOp(kind="elementwise", tensors=3), *_BINARY),
    **_alike(NamedOp(kind="elementwise", tensors=4), *_TERNARY),
    **_alike(NamedOp(kind="elementwise", mask_bytes=1), "dropout", "native_dropout"),
    "dropout_backward": NamedOp(kind="elementwise", phase="backward", mask_bytes=1),
    **_alike(NamedOp(kind="copy"), *_COPIES),
    **_alike(NamedOp(kind="reduction"), "reduction", "sum", "mean", "amax", "var"),
    **_alike(NamedOp(kind="embedding_bag"), "embedding", "embedding_bag", "lookup"),
    **_alike(NamedOp(kind="optimizer", phase="optimizer", tensors=7), "optimizer", "adam", "adamw"),
}


def find(name: str) -> NamedOp:
    """Return what a name stands for.

    Case and underscores do not count, nor do `aten::` before the name, an overload after it and
    `VEC` before elementwise names: `aten::add.Tensor`, `LayerNorm` and `VECadd` are known.

    Raises:
        ConfigError: the name is unknown; the message says the nearest.
    """
    bare = re.sub(r"^(aten|torch)(::|\.)|\.\w+$", "", name.strip().casefold())
    plain = re.sub(r"[^a-z0-9]", "", bare)
    vector = _PLAIN.get(plain.removeprefix("vec"))
    if plain in _PLAIN:
        return _PLAIN[plain]
    if vector is not None and vector.kind == "elementwise":
        return vector
    close = difflib.get_close_matches(bare, NAMES, n=3, cutoff=0.6)
    known = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(NAMES)}"
    raise ConfigError(f"op is {name[:40]!r}; {known}")


_PLAIN = {name.replace("_", ""): op for name, op in NAMES.items()}
