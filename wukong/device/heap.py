"""Memory that a training step frees, and takes again in the next one, without the kernel.

glibc hands a large block back to the kernel as soon as it is freed. Each step then takes its
activations page by page anew, and each page is a fault: a third of a large step on a CPU.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of glibc's mallopt, and the values it starts with.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024, _MMAP_MAX: 65536}
_KEPT = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 1024**2, _MMAP_MAX: 0}


@contextmanager
def kept_heap() -> Iterator[None]:
    """Inside, freed memory stays with this process; at the end it goes back, as far as glibc can.

    Holds for the whole process. Does nothing where the C library is not glibc.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        yield
        return
    _set(libc, _KEPT)
    try:
        yield
    finally:
        _set(libc, _DEFAULTS)
        return_freed_memory()


def return_freed_memory() -> None:
    """Give what this process has freed back to the kernel; nothing but glibc can."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def give_back_garbage() -> None:
    """Free what only reference cycles hold, such as an earlier run's model, and give it back."""
    gc.collect()
    return_freed_memory()


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
