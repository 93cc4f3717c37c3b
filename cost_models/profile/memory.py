"""The most memory that is allocated at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from torch import Tensor

    from cost_models.profile.device import Device


def peak_of(run: Callable[[], object], held: Iterable[Tensor], device: Device) -> int:
    """Run once and return the peak in bytes, what was allocated before included.

    Args:
        run: what is measured.
        held: tensors that exist before; a CPU's allocator does not know them, a GPU's does.
        device: where it runs.
    """
    if not device.is_cuda:
        return _storage_bytes(held) + max(0, *_timeline(run))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated())


def _storage_bytes(tensors: Iterable[Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def _timeline(run: Callable[[], object]) -> list[int]:
    """Bytes allocated since the start, after each allocation and release."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    results = profiled.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return [0, *accumulate(event.nbytes() for event in events)]
