"""Records what a rank hands to torch.distributed: which collective, and how many bytes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# torch's name → ours; the first two arguments are what comes out and, but for sums, what goes in.
_COLLECTIVES = {
    "c10d::_allgather_base_": "all_gather",
    "c10d::_reduce_scatter_base_": "reduce_scatter",
    "c10d::allreduce_": "all_reduce",
    "c10d::alltoall_base_": "all_to_all",
}


class Collectives(TorchDispatchMode):
    """Counts collectives that run while it is entered, on this rank.

    Attributes:
        found: (collective, bytes that come or go, whichever are more) → how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, int]] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name
        if name.startswith("c10d::"):
            size = max(map(_bytes, args[:2]))
            self.found[_COLLECTIVES[name], size] += 1
        with torch.utils._python_dispatch._disable_current_modes():
            return func(*args, **(kwargs or {}))


def _bytes(argument: Any) -> int:
    tensors = [leaf for leaf in tree_leaves(argument) if isinstance(leaf, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
