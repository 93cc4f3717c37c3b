"""The canonical operations of any `nn.Module`, found by running it, on the meta device or another.

A `TorchDispatchMode` sees what torch sends to its kernels, after autograd and after composite
operations were taken apart, just as `torch.utils.flop_counter.FlopCounterMode` sees it. What a
kernel is called may differ from device to device (dropout is one kernel on CUDA, three elsewhere).
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from codesign.errors import CodesignError
from cost_models.operations.ops import Op

T = TypeVar("T")


class TraceError(CodesignError):
    """A module cannot be traced on this device."""


def trace(module: nn.Module, *inputs: Any, backward: bool = True) -> Counter[Op]:
    """Run a module and its backward pass, and count its operations.

    Backward starts from a gradient of ones for each output that needs one: the loss and what it
    costs are left out. It is left out itself where nothing needs a gradient. Gradients that are
    there already are put aside and put back, so that each is written and not added to.

    Args:
        module: on any device; the mode it is in (`train`, `eval`) is kept. On a device that holds
            data, running statistics move as in any step.
        inputs: what its forward takes, on the same device.
        backward: False runs forward alone, without autograd.

    Returns:
        Each operation and how often it came.

    Raises:
        TraceError: on the meta device, a step that depends on data.
    """
    leaves = [x for x in tree_leaves(inputs) if isinstance(x, Tensor)]
    tensors = [*module.parameters(), *(x for x in leaves if x.is_leaf)]
    mode = _Recorder("forward")
    with _as_plain_torch(tensors), explained(), torch.set_grad_enabled(backward):
        with mode:
            out = module(*inputs)
        starts = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.requires_grad]
        ones = [torch.ones_like(x) for x in starts]
        mode.phase = "backward"
        if starts and backward:
            with mode:
                torch.autograd.backward(starts, ones)
    return mode.found


def trace_step(optimizer: torch.optim.Optimizer) -> Counter[Op]:
    """Count the operations of one step of an optimizer whose parameters have gradients.

    It steps twice: the first step, which is not counted, makes the optimizer's state. Fused
    optimizers refuse the meta device.
    """
    optimizer.step()
    with _Recorder("optimizer") as mode:
        optimizer.step()
    return mode.found


def on_meta(value: T) -> T:
    """Return a copy with every tensor on the meta device, without copying any data.

    Args:
        value: a module, a tensor, or tuples, lists, mappings and dataclasses of these.
    """
    copied: Any = value
    if isinstance(value, nn.Module):
        memo = {id(x): _meta(x) for x in (*value.parameters(), *value.buffers())}
        copied = copy.deepcopy(value, memo)
    elif isinstance(value, Tensor):
        copied = _meta(value)
    elif isinstance(value, (tuple, list)):
        copied = type(value)([on_meta(x) for x in value])
    elif isinstance(value, Mapping):
        copied = {name: on_meta(x) for name, x in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: on_meta(getattr(value, f.name)) for f in dataclasses.fields(value)}
        copied = dataclasses.replace(value, **fields)
    return copied


def _meta(tensor: Tensor) -> Tensor:
    moved = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved.requires_grad_(tensor.requires_grad)


@contextmanager
def _as_plain_torch(tensors: Sequence[Tensor]) -> Iterator[None]:
    kept = [x.grad for x in tensors]
    for x in tensors:
        x.grad = None
    # Without what a CPU does by oneDNN. `mkldnn.flags` would do, but warns of another device.
    by_onednn = bool(torch.backends.mkldnn.enabled)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = by_onednn  # type: ignore[assignment]
        for x, grad in zip(tensors, kept, strict=True):
            x.grad = grad


@contextmanager
def explained() -> Iterator[None]:
    """Turn what torch raises where the meta device is asked for data into a TraceError."""
    # Torch has no error of its own for this: it raises one of three, each with several texts.
    try:
        yield
    except (NotImplementedError, RuntimeError, TypeError) as error:
        text = str(error).partition("\n")[0]
        expected = "(?i)meta" if isinstance(error, NotImplementedError) else _NO_DATA
        if not re.search(expected, text):
            raise
        raise TraceError(
            f"the meta device holds no data, and the module asks for it: {text}",
            hint="trace the module on the CPU, with a real batch",
        ) from error


class _Recorder(TorchDispatchMode):
    """Counts every operation that runs inside of it, as of phase `phase`."""

    def __init__(self, phase: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = phase
        self.found: Counter[Op] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "aten":
            with self:
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        out = func(*args, **kwargs)
        inputs = {name: x for name, x in kwargs.items() if name != "out"}
        call = _Call(func, args, _tensors((args, inputs)), out)
        if not call.is_free:
            self.found[_operation(call, kwargs, self.phase)] += 1
        return out


class _Call:
    """One call of a kernel: its name, its tensors, and those that it wrote."""

    def __init__(self, func: Any, args: Sequence[Any], tensors: list[Tensor], out: Any) -> None:
        self.func, self.args, self.out = func, args, out
        self.name: str = func._schema.name.partition("::")[2]
        written = _tensors(out)
        if not written and args and func._schema.is_mutable:
            written = _tensors(args[0])
        self.written = written
        self.read = tensors[1:] if self.name in _OVERWRITES else tensors

    @property
    def is_free(self) -> bool:
        """Whether no data moves: views, allocations, questions about a tensor."""
        hidden_view = torch.Tag.inplace_view in self.func.tags
        return self.func.is_view or hidden_view or self.name in _FREE or not self.written

    def bytes_of(self, args: Sequence[int], outs: Sequence[int] | None = None) -> int:
        """Bytes of some arguments, and of some outputs (None: of all)."""
        written = self.written if outs is None else [self.out[i] for i in outs]
        return _bytes(_tensors([self.args[i] for i in args])) + _bytes(written)


Dims = tuple[str, str, int, int, int, float, int]  # kind, layout, batch, m, n, k, bytes


def _operation(call: _Call, kwargs: Mapping[str, Any], phase: str) -> Op:
    kind, layout, batch, m, n, k, size = _dims_function(call)(call)
    flop = 0
    if kind == "other" and call.func._overloadpacket in flop_registry:
        formula = flop_registry[call.func._overloadpacket]
        flop = int(formula(*call.args, **kwargs, out_val=call.out))
    dtype = str(call.written[0].dtype).removeprefix("torch.")
    return Op(kind, phase, dtype, layout, batch, m, n, k, size, flop)


def _dims_function(call: _Call) -> Callable[[_Call], Dims]:
    if call.name in _DIMS:
        return _DIMS[call.name]
    if torch.Tag.reduction in call.func.tags:
        return _reduction
    if torch.Tag.pointwise in call.func.tags or call.name.startswith("_foreach_"):
        return _elementwise
    return _other


def _product(call: _Call) -> Dims:
    a, b = _tensors(call.args)[-2:]
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    kind, batch = ("gemm", 1) if a.ndim == 2 else ("bmm", len(a))
    return kind, _letter(a) + _letter(b), batch, m, n, k, _bytes(call.read + call.written)


def _letter(factor: Tensor) -> str:
    """The layout of one factor of a product (see `cost_models.operations.ops`)."""
    between_rows, between_columns = (stride or math.inf for stride in factor.stride()[-2:])
    vector = 1 in factor.shape[-2:]
    letter = "t" if between_rows < between_columns and not vector else "n"
    shared = factor.ndim == 3 and factor.stride(0) == 0 and len(factor) > 1
    return letter.upper() if shared else letter


def _layer_norm(call: _Call) -> Dims:
    rows, n = _rows_of(call.args[0].numel(), math.prod(call.args[1]))
    return "layer_norm", "", 1, rows, n, 1, call.bytes_of((0, 2, 3), (0,))


def _layer_norm_backward(call: _Call) -> Dims:
    rows, n = _rows_of(call.args[0].numel(), math.prod(call.args[2]))
    return "layer_norm", "", 1, rows, n, 1, call.bytes_of((0, 1, 5))


def _batch_norm(call: _Call) -> Dims:
    rows, n = _rows_of(call.args[0].numel(), call.args[0].shape[1])
    outs = None if call.name.endswith("_backward") else (0,)
    return "batch_norm", "", 1, rows, n, 1, call.bytes_of((0, 1, 2), outs)


def _softmax(call: _Call) -> Dims:
    x, dim = call.args[0], call.args[-2]
    rows, n = _rows_of(x.numel(), x.shape[dim] if x.ndim else 1)
    return "softmax", "", 1, rows, n, 1, _bytes(call.read + call.written)


def _rows_of(elements: int, n: int) -> tuple[int, int]:
    return elements // n if n else 0, n


def _memory(kind: str, call: _Call) -> Dims:
    lists = call.name.startswith("_foreach_")
    m = sum(x.numel() for x in (call.written if lists else call.written[:1]))
    return kind, "", 1, m, 1, 1, _bytes(call.read + call.written)


_elementwise, _copy, _other = (partial(_memory, kind) for kind in ("elementwise", "copy", "other"))


def _picked(call: _Call) -> Dims:
    source, out = call.read[0], call.written[0]
    moved = 2 * out.numel() * source.element_size()
    return "copy", "", 1, out.numel(), 1, 1, moved + _bytes(call.read[1:])


def _put(call: _Call) -> Dims:
    """Values go to some places of a tensor that is there: it, its ids, the values."""
    values = call.read[-1]
    return "copy", "", 1, values.numel(), 1, 1, _bytes(call.read[1:]) + 2 * _bytes([values])


def _reduction(call: _Call) -> Dims:
    m = call.written[0].numel()
    k = call.read[0].numel() // m if m else 0
    return "reduction", "", 1, m, 1, k, _bytes(call.read + call.written)


def _lookup(call: _Call) -> Dims:
    weight, ids = call.args[:2]
    out = call.written[0]
    rows, n = weight.shape
    m = out.numel() // n
    picked = ids.numel() * n * weight.element_size()
    return "embedding_bag", "", rows, m, n, ids.numel() / max(1, m), picked + _bytes([ids, out])


def _lookup_backward(call: _Call) -> Dims:
    grad, ids = call.args[:2]
    rows, n = call.written[0].shape
    m = grad.numel() // n
    return "embedding_bag", "", rows, m, n, ids.numel() / max(1, m), call.bytes_of((0, 1))


def _optimizer(call: _Call) -> Dims:
    weights, grads, *others = (_tensors(x) for x in call.args)
    state = [x for tensors in others[: _STATES[call.name]] for x in tensors]
    m, n = sum(x.numel() for x in weights), len(weights)
    return "optimizer", "", 1, m, n, 1, 2 * _bytes(weights + state) + _bytes(grads)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(
        x.element_size() * math.prod(n for n, s in zip(x.shape, x.stride(), strict=True) if s)
        for tensor in tensors
        for x in ((tensor._indices(), tensor._values()) if tensor.is_sparse else (tensor,))
    )


_NO_DATA = "cannot be called on meta tensors|can't convert meta device"
_FREE = {
    "_reshape_alias", "_unsafe_view", "detach_", "empty", "empty_like", "empty_permuted",
    "empty_strided", "new_empty", "new_empty_strided", "resize_", "set_", "unsafe_split",
}  # fmt: skip
_OVERWRITES = {"bernoulli_", "copy_", "fill_", "normal_", "uniform_", "zero_"}
_STATES = {"_fused_adam_": 3, "_fused_adamw_": 3, "_fused_adagrad_": 1, "_fused_sgd_": 1}
_DIMS: dict[str, Callable[[_Call], Dims]] = {
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _product),
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    **dict.fromkeys(("_native_batch_norm_legit", "native_batch_norm_backward"), _batch_norm),
    "_native_batch_norm_legit_no_training": _batch_norm,
    **dict.fromkeys(("cudnn_batch_norm", "cudnn_batch_norm_backward"), _batch_norm),
    **dict.fromkeys(("_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("_softmax_backward_data", "_log_softmax_backward_data"), _softmax),
    **dict.fromkeys(("cat", "clone", "copy_", "_to_copy", "constant_pad_nd"), _copy),
    **dict.fromkeys(("flip", "repeat", "roll", "select_backward", "slice_backward"), _copy),
    **dict.fromkeys(("index_put", "select_scatter", "slice_scatter", "stack"), _copy),
    **dict.fromkeys(("gather", "index", "index_select"), _picked),
    **dict.fromkeys(("index_add_", "index_put_", "_index_put_impl_"), _put),
    **dict.fromkeys(("embedding", "_embedding_bag", "_embedding_bag_forward_only"), _lookup),
    **dict.fromkeys(("embedding_dense_backward", "_embedding_bag_backward"), _lookup_backward),
    **dict.fromkeys(("arange", "bernoulli_", "fill_", "full", "new_zeros"), _elementwise),
    **dict.fromkeys(("normal_", "ones", "ones_like", "uniform_"), _elementwise),
    **dict.fromkeys(("zero_", "zeros", "zeros_like"), _elementwise),
    **dict.fromkeys(("native_dropout", "native_dropout_backward"), _elementwise),
    **dict.fromkeys(_STATES, _optimizer),
}
