"""The processes that train one model together, and what they tell each other.

Each rank sees its own part of every batch: of B examples, rank r of W has those from r·B // W up to
(r + 1)·B // W, so that all sizes of a run train on the same batches. N rows of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from codesign.errors import CodesignError
from wukong.data.share import part

Answer = TypeVar("Answer")

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
        return part(examples, self.rank, self.world)

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

    def on_first(self, function: Callable[[], Answer]) -> Answer:
        """Call a function on rank 0 and return its answer on every rank; every rank must call it.

        Raises:
            CodesignError: what the function raised of that kind, on every rank.
        """
        if self.world == 1:
            return function()
        answer, error = None, None
        if self.is_first:
            try:
                answer = function()
            except CodesignError as raised:
                error = raised
        found: Answer
        found, error = self.from_first((answer, error))
        if error is not None:
            raise error
        return found

    def gather_rows(self, rows: Tensor) -> list[Tensor]:
        """Return on rank 0 what every rank gave, by rank, elsewhere nothing; every rank must call.

        Args:
            rows: (N, …) on the CPU; N may differ from rank to rank, and be 0.
        """
        if self.world == 1:
            return [rows]
        counts = torch.zeros(self.world, dtype=torch.int64)
        counts[self.rank] = len(rows)
        self.sum(counts)
        padded = rows.new_zeros((int(counts.max()), *rows.shape[1:]))
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.world)] if self.is_first else None
        dist.gather(padded, found, dst=0, group=self.group)
        return [each[:count] for each, count in zip(found or (), counts.tolist(), strict=False)]


ALONE = Ranks()
"""One process, on the CPU."""
