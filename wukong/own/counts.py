"""Exact counts of any model, found by tracing it on one batch of the data. B examples.

The weights lie on the meta device, so a model of any size is counted in milliseconds; the batch is
a real one. What is made of the batch alone (ids, lengths of bags) has values, what touches a weight
has a shape only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from codesign.contracts import CostPart
from codesign.errors import ConfigError
from cost_models.operations.trace import explained, on_meta, trace
from wukong.weights import split_weights

if TYPE_CHECKING:
    from wukong.data.batch import Batch

# Examples of the batch that is traced.
EXAMPLES = 64


def on_meta_device(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model without memory for its weights; torch's generator is left as it was.

    Raises:
        TraceError: building asks for a weight's value.
    """
    with torch.random.fork_rng(devices=[]), explained(), torch.device("meta"):
        return build()


def count(model: nn.Module, batch: Batch) -> dict[str, float]:
    """Count one model.

    Args:
        model: with its weights on the meta device.
        batch: with values.

    Returns:
        `gflop_per_example` (forward + backward), `parameters`, `dense_parameters`,
        `table_parameters`, `table_bytes`.

    Raises:
        TraceError: what the model computes depends on a weight's value.
        ConfigError: it does not return one logit for each example and task.
    """
    flop = _traced_flop(model, batch)
    weights = split_weights(model)
    tables = [*weights.tables, *(w for tables in weights.backends for w in tables.parameters())]
    in_tables, dense = _numel(tables), _numel(weights.dense)
    return {
        "gflop_per_example": flop / len(batch) / 1e9,
        "parameters": float(in_tables + dense),
        "dense_parameters": float(dense),
        "table_parameters": float(in_tables),
        "table_bytes": float(sum(w.numel() * w.element_size() for w in tables)),
    }


def parts(model: nn.Module, batch: Batch) -> list[CostPart]:
    """Count one model by its top-level submodules; what is left of it is a part of its own.

    A submodule is traced on what the model calls it with. One that is called with keywords counts
    with the rest; so does the whole model, where the parts alone do more than they do together.
    """
    total = whole = _traced_flop(model, batch)
    calls = _calls(model, batch)
    counted: set[Tensor] = set()
    found = []
    for name, child in model.named_children():
        with MetaWeights():
            flop = sum(_flop(trace(m, *args)) for m in _called(child) for args in calls[m])
        own = set(child.parameters()) - counted
        counted |= own
        found.append(_part(name, flop / len(batch), _numel(own)))
        total -= flop
    if total < 0:
        return [_part("everything", whole / len(batch), _numel(model.parameters()))]
    rest = _numel(set(model.parameters()) - counted)
    return [*found, _part("everything else", total / len(batch), rest)]


class MetaWeights(TorchDispatchMode):
    """Inside of it, values that meet a tensor on the meta device end there.

    So do floating tensors made of nothing, such as zeros: what a weight makes may be written there.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(x.is_meta for x in tensors) and not all(x.is_meta for x in tensors):
            args, kwargs = tree_map_only(Tensor, _moved, (args, kwargs))
        out = func(*args, **kwargs)
        made = not tensors and isinstance(out, Tensor) and out.is_floating_point()
        return _moved(out) if made else out


def _moved(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else on_meta(tensor)


def _traced_flop(model: nn.Module, batch: Batch) -> int:
    outputs: list[Any] = []
    hook = model.register_forward_hook(lambda _, __, out: outputs.append(out))
    try:
        with MetaWeights():
            flop = _flop(trace(model, batch))
    finally:
        hook.remove()
    tasks = batch.label_BT.shape[1]
    allowed = [(len(batch), tasks), *([(len(batch),)] if tasks == 1 else [])]
    shape = tuple(getattr(outputs[0], "shape", ()))
    if shape not in allowed:
        found = f"a tensor {shape}" if isinstance(outputs[0], Tensor) else f"{outputs[0]!r}"
        must = " or ".join(map(str, allowed))
        asked = f"{len(batch)} examples of {tasks} tasks"
        raise ConfigError(f"forward returns {found} for {asked}; must be logits {must}")
    return flop


def _calls(model: nn.Module, batch: Batch) -> dict[nn.Module, list[tuple[Any, ...]]]:
    """Return what each part of the model is called with, (positional arguments) of each call."""
    calls: dict[nn.Module, list[tuple[Any, ...]]] = {
        module: [] for child in model.children() for module in _called(child)
    }

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not kwargs:
            calls[module].append(tree_map_only(Tensor, _cut_off, args))

    with _hooked(list(calls), note), MetaWeights(), torch.enable_grad():
        model(batch)
    return calls


@contextmanager
def _hooked(modules: list[nn.Module], note: Callable[..., None]) -> Iterator[None]:
    hooks = [m.register_forward_pre_hook(note, with_kwargs=True) for m in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _called(child: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are called: a list of modules never is, its members are."""
    if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
        for member in child.children():
            yield from _called(member)
    else:
        yield child


def _cut_off(tensor: Tensor) -> Tensor:
    """A copy that needs a gradient where the tensor does; no leaf, so it may be written to."""
    return tensor.detach().requires_grad_(tensor.requires_grad).clone()


def _flop(operations: Any) -> int:
    return sum(operation.flop * times for operation, times in operations.items())


def _numel(tensors: Any) -> int:
    return sum(x.numel() for x in tensors)


def _part(name: str, flop_per_example: float, parameters: int) -> CostPart:
    return CostPart(
        name=name,
        layer=0,
        layers_alike=1,
        flop_per_example=flop_per_example,
        parameters=float(parameters),
    )
