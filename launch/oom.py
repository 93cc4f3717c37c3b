"""How often the kernel killed for want of memory: the evidence for `out_of_memory`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def oom_kills(*, cgroups: Path = CGROUPS, mine: Path = Path("/proc/self/cgroup")) -> int:
    """Count kills in this process's control group, ≥ 0; 0 where no group keeps a count.

    Args:
        cgroups: where control groups are mounted, version 1 or 2.
        mine: the file that names the groups of this process.
    """
    for path in _counters(cgroups, mine):
        try:
            counts = dict(line.split() for line in path.read_text().splitlines())
            return int(counts["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0


def _counters(cgroups: Path, mine: Path) -> Iterator[Path]:
    """Yield files that may hold the count; a container may have its group mounted as the root."""
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        for below in (group.strip("/"), ""):
            if not controllers:
                yield cgroups / below / "memory.events"
            elif "memory" in controllers.split(","):
                yield cgroups / "memory" / below / "memory.oom_control"
