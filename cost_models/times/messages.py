"""What ranks send each other in a training step, as wukong's tables and FSDP2 send it. N designs.

Sizes are those of the rank that sends or receives most, in bytes: of the whole result of a gather,
of the whole input of a sum, of all that one rank sends to all of them. Column- and table-wise,
looked-up vectors go to the ranks of their examples all to all, and so do their gradients; row-wise
they are sums over ranks, and gradients are gathered. Ids are eight bytes, and so are the lengths of
their bags, which go first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cost_models.exact import Array
from cost_models.memory.table_shares import TableShare
from cost_models.operations.ops import OpColumns
from cost_models.training import FP32_BYTES, HALF_BYTES, ID_BYTES, Training

Collective = Literal["all_gather", "reduce_scatter", "all_reduce", "all_to_all"]
# The weight of a batch, its labels and its examples, as float64.
_TOTALS_BYTES = np.array([24.0])


@dataclass(frozen=True, kw_only=True)
class Message:
    """One collective, or several alike.

    Attributes:
        ranks: of a group, each `stride` ranks after the one before.
        size_bytes: see the head of this file, (N,) or (1,).
        count: how often it is sent in a step, a number for all or (N,) or (1,).
    """

    collective: Collective
    ranks: int
    size_bytes: Array
    stride: int = 1
    count: Array | float = 1.0


def id_messages(
    share: TableShare, batch: Array, features: int, training: Training
) -> list[Message]:
    """Numbers of what comes, lengths of bags, then ids, to the ranks that hold the rows.

    Args:
        batch: examples of a step over all ranks.
        features: of which ids are sent.
    """
    ids = lengths = batch * share.tables
    if training.table_sharding == "row_wise":
        # A bag may have ids on every rank: each is told how many.
        lengths = batch * features
    numbers = np.array([3.0 * training.ranks])
    return [
        Message(collective="all_to_all", ranks=training.ranks, size_bytes=ID_BYTES * each)
        for each in (numbers, lengths, ids)
    ]


def vector_messages(share: TableShare, batch: Array, training: Training) -> list[Message]:
    """Looked-up vectors, and their gradients, between the ranks that hold them and all others."""
    size_bytes = training.lookup_bytes * batch * share.columns
    collectives: tuple[Collective, Collective] = ("all_to_all", "all_to_all")
    if training.table_sharding == "row_wise":
        collectives = ("reduce_scatter", "all_gather")
    return [
        Message(collective=collective, ranks=training.ranks, size_bytes=size_bytes)
        for collective in collectives
    ]


@dataclass(frozen=True, kw_only=True)
class UnitMessages:
    """What one unit of FSDP sends: `gather` in forward and again in backward, the rest once.

    Attributes:
        gather: its weights, to the ranks that share one copy.
        scatter: sums of its gradients over them.
        replicate: sums of a rank's share of these over the replicas.
    """

    gather: Message
    scatter: Message
    replicate: Message

    @classmethod
    def of(cls, weights: Array, training: Training) -> UnitMessages:
        """Make those of a unit of so many weights, (N,) or (1,)."""
        sharing = training.shard_ranks
        gradient_bytes = HALF_BYTES if training.gradient_precision == "bf16" else FP32_BYTES
        return cls(
            gather=Message(collective="all_gather", ranks=sharing, size_bytes=FP32_BYTES * weights),
            scatter=Message(
                collective="reduce_scatter", ranks=sharing, size_bytes=gradient_bytes * weights
            ),
            replicate=Message(
                collective="all_reduce",
                ranks=training.ranks // sharing,
                stride=sharing,
                size_bytes=gradient_bytes * weights / sharing,
            ),
        )


def sum_messages(forward: Iterable[OpColumns], training: Training) -> list[Message]:
    """Sums over all ranks that computing waits for: a batch's totals and its norms' statistics.

    Args:
        forward: of the dense part.
    """
    totals = Message(collective="all_reduce", ranks=training.ranks, size_bytes=_TOTALS_BYTES)
    # A mean with the number of examples, a variance, and the gradients of both.
    norms = [
        Message(
            collective="all_reduce",
            ranks=training.ranks,
            size_bytes=FP32_BYTES * (op.n + more),
            count=2 * op.count,
        )
        for op in forward
        if op.kind == "batch_norm"
        for more in (1, 0)
    ]
    return [totals, *norms]
