"""The processes that train one model together, and what they tell each other.

Each rank sees its own part of every batch: of B examples, rank r of W has those from r·B // W up to
(r + 1)·B // W, so that all sizes of a run train on the same batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train one model.

    Attributes:
        rank: of this process, 0 ≤ rank < world.
        world: how many there are, ≥ 1.
        device: where this process computes.
        group: through which they talk; None: the default one.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU
    group: dist.ProcessGroup | None = None

    @classmethod
    def present(cls, device: torch.device | None = None) -> Ranks:
        """Return the ranks of the default process group; where there is none, one alone."""
        chosen = device or CPU
        if not dist.is_initialized():
            return cls(device=chosen)
        return cls(rank=dist.get_rank(), world=dist.get_world_size(), device=chosen)

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and decides."""
        return self.rank == 0

    def share(self, examples: int) -> tuple[int, int]:
        """Return this rank's part of a batch: first, and one past; it may be empty."""
        first, end = (rank * examples // self.world for rank in (self.rank, self.rank + 1))
        return first, end

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up over all ranks, in place; every rank must call it."""
        if self.world > 1:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def from_first(self, value: Any) -> Any:
        """Return rank 0's value on every rank; every rank must call it."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return what each rank gave, by rank, on every rank; every rank must call it."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value, group=self.group)
        return values

    def apart(self) -> Ranks:
        """Return the same ranks with a group of their own, so that another thread may use it.

        It works on the CPU. Every rank must call it.
        """
        if self.world == 1:
            return self
        return replace(self, device=CPU, group=dist.new_group(backend="gloo"))
