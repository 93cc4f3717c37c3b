"""Memory of a training run: refused up front where it cannot fit, and measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from wukong.parallel.ranks import Ranks

GIB = 2**30
# A run is refused where this share of the prediction does not fit: a late failure costs less than
# a run refused that would have fitted.
CERTAIN_SHARE = 0.9
_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


class DoesNotFitError(ConfigError):
    """A run whose predicted peak is beyond the memory there is."""


@dataclass(frozen=True, kw_only=True)
class ExpectedMemory:
    """What a run is predicted to hold at its peak, on the rank that holds most.

    Attributes:
        parts: what is held → bytes, ≥ 0.
        label: where the figures come from.
    """

    parts: Mapping[str, float]
    label: str

    @property
    def total_bytes(self) -> float:
        """Of all parts."""
        return sum(self.parts.values())


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Memory that is free for new allocations, and what says so."""

    free_bytes: float
    source: str


def refuse_what_does_not_fit(expected: ExpectedMemory, ranks: Ranks) -> None:
    """Compare a prediction with what this rank's device has left; every rank must call it.

    Nobody goes on before all have looked, so that none counts what another already holds.

    Raises:
        DoesNotFitError: on every rank, where `CERTAIN_SHARE` of the prediction does not fit on one.
    """
    limit = free_memory(ranks)
    lacking = CERTAIN_SHARE * expected.total_bytes > limit.free_bytes
    refused = ranks.sum(torch.tensor(float(lacking), device=ranks.device))
    if refused:
        rows = [
            f"{part} {_gib(size)}"
            for part, size in sorted(expected.parts.items(), key=lambda item: -item[1])
            if size >= 0.001 * expected.total_bytes
        ]
        raise DoesNotFitError(
            f"predicted peak of {_gib(expected.total_bytes)} GiB a rank does not fit into "
            f"{_gib(limit.free_bytes)} GiB ({limit.source}); GiB by part: {', '.join(rows)} "
            f"({expected.label})",
            where="memory",
            hint="fewer rows or a smaller d, a smaller batch_size, more ranks, "
            "activation_checkpointing: true, or memory_check: false to try it all the same",
        )


def _gib(size_bytes: float) -> str:
    gib = size_bytes / GIB
    return f"{gib:,.0f}" if gib >= 100 else f"{gib:.3g}"


def free_memory(ranks: Ranks) -> Limit:
    """Return what is free for this rank: its GPU's, or its share of what its host has."""
    if ranks.device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(ranks.device)
        return Limit(free_bytes=free_bytes, source=torch.cuda.get_device_name(ranks.device))
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", ranks.world))
    least = min(host_limits(), key=lambda limit: limit.free_bytes)
    shared = f", shared by {neighbours} ranks" if neighbours > 1 else ""
    return Limit(free_bytes=least.free_bytes / neighbours, source=least.source + shared)


def host_limits(proc: Path = _PROC, cgroup: Path = _CGROUP) -> Iterator[Limit]:
    """Yield what is free in this machine's memory, and in each control group of this process."""
    for line in (proc / "meminfo").read_text().splitlines():
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            yield Limit(free_bytes=1024.0 * int(size.split()[0]), source="MemAvailable")
    for line in _lines(proc / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _group_limits(cgroup, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _group_limits(cgroup / "memory", path, *files)


def _group_limits(root: Path, path: str, most: str, used: str, cached: str) -> Iterator[Limit]:
    """Yield the limits of a control group and of all above it, caches that can go counted free.

    In a container its own group may be mounted as the root; groups that are not there are skipped.
    """
    group = root / path.strip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            return
        limit = _lines(folder / most)
        if limit and limit[0].isdigit():
            stat = dict(line.split() for line in _lines(folder / "memory.stat"))
            held = int(_lines(folder / used)[0]) - int(stat.get(cached, 0))
            yield Limit(free_bytes=float(max(0, int(limit[0]) - held)), source=str(folder / most))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []


@dataclass(frozen=True, kw_only=True)
class MemoryPeaks:
    """Measured, on the rank that held most.

    Attributes:
        steps_bytes: by training steps, until the first evaluation.
        run_bytes: in the whole run, with building the model, evaluations, the best weights, and
            checkpoints.
    """

    steps_bytes: int
    run_bytes: int


class PeakMeter:
    """Measures the most memory that a rank holds beyond what it held at the start.

    Of a GPU what torch's allocator gave out; of the CPU the growth of the resident set, libraries
    that are loaded meanwhile, pages of mapped files and holes of the heap among it. What is garbage
    at the start should be given back before: growth into it would be unseen.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._steps_bytes: int | None = None
        self._before_steps = 0
        self._at_start = self._held()
        self._forget_peak()

    def steps_begin(self) -> None:
        """Say that the model is built."""
        self._before_steps = self._peak()
        self._forget_peak()

    def steps_end(self) -> None:
        """Say that an evaluation begins; only the first one counts."""
        if self._steps_bytes is None:
            self._steps_bytes = self._peak()

    def peaks(self) -> MemoryPeaks:
        """Return the largest of all ranks; every rank must call it."""
        since = self._peak()
        steps_bytes = since if self._steps_bytes is None else self._steps_bytes
        run_bytes = max(self._before_steps, since)
        grown = [held - self._at_start for held in (steps_bytes, run_bytes)]
        steps, runs = zip(*self._ranks.gather(grown), strict=True)
        return MemoryPeaks(steps_bytes=max(steps), run_bytes=max(runs))

    def _held(self) -> int:
        if self._ranks.device.type == "cuda":
            return int(torch.cuda.memory_allocated(self._ranks.device))
        return _status_bytes("VmRSS")

    def _peak(self) -> int:
        if self._ranks.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._ranks.device))
        return _status_bytes("VmHWM")

    def _forget_peak(self) -> None:
        """Start a new peak; where a CPU's cannot be, the process's own one stands."""
        if self._ranks.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._ranks.device)
            return
        with suppress(OSError):
            (_PROC / "self/clear_refs").write_text("5")


def _status_bytes(name: str) -> int:
    for line in (_PROC / "self/status").read_text().splitlines():
        key, _, size = line.partition(":")
        if key == name:
            return 1024 * int(size.split()[0])
    raise OSError(f"/proc/self/status has no {name}")
