"""The next batch on its way while the GPU computes.

A side stream copies the next batch to the device and sends its ids to the ranks that hold their
rows, while the step before still runs. Of torchrec's TrainPipelineSparseDist it is the part that
knows nothing of the model: nothing is traced, and FSDP2, compiling and evaluations are untouched.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wukong.data.batch import Batch
    from wukong.embeddings import Tables


def prefetched(
    batches: Iterable[Batch], tables: Sequence[Tables], device: torch.device
) -> Iterator[Batch]:
    """Yield the batches on the device, each begun before the one ahead of it is trained on.

    Every rank must take equally many. Untested on a GPU; on the CPU it is the same without streams.
    """
    side = torch.cuda.Stream(device) if device.type == "cuda" else None
    begun: Batch | None = None
    for batch in batches:
        with torch.cuda.stream(side) if side else nullcontext():
            moved = batch.to(device)
            for backend in tables:
                backend.begin(moved)
        if begun is not None:
            yield begun
        if side is not None:
            _hand_over(moved, side)
        begun = moved
    if begun is not None:
        yield begun


def _hand_over(batch: Batch, side: torch.cuda.Stream) -> None:
    """Let what is computed next wait for the side stream, and keep its memory until then."""
    current = torch.cuda.current_stream()
    current.wait_stream(side)
    for tensor in vars(batch).values():
        if isinstance(tensor, Tensor):
            tensor.record_stream(current)
