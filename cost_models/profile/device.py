"""The device under measurement: what it is, its memory, its clock, and its numeric modes."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
CLOCKS = "clocks.sm,clocks.mem,temperature.gpu,power.draw"
_MEMORY_SHARE = 0.85  # of what is free on a CPU: the rest is for the system and for torch itself


class Device:
    """The device that `torch` will run on.

    Args:
        name: `cuda`, `cpu`, or `auto` for a GPU where there is one.

    Raises:
        ConfigError: `cuda` where torch sees no GPU.
    """

    def __init__(self, name: str = "auto") -> None:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                f"device is 'cuda', but torch {torch.__version__} sees no GPU",
                hint="install torch's CUDA build and the driver, or profile the cpu",
            )
        self.torch = torch.device(name)
        self.is_cuda = name == "cuda"
        self.name = torch.cuda.get_device_name() if self.is_cuda else _cpu_name()
        self.clock = _GpuClock() if self.is_cuda else _CpuClock()

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions worth measuring here, the most used first."""
        return ("bf16", "tf32", "fp32") if self.is_cuda else ("fp32", "bf16")

    @property
    def memory_bytes(self) -> int:
        """Memory that a row may fill: the same at all times, so that the plan is."""
        if self.is_cuda:
            return int(torch.cuda.get_device_properties(self.torch).total_memory)
        return int(_total_bytes() * _MEMORY_SHARE)

    @property
    def cache_bytes(self) -> int:
        """Its last-level cache; input sets in rotation should exceed it."""
        if self.is_cuda:
            return int(torch.cuda.get_device_properties(self.torch).L2_cache_size)
        return _cpu_cache_bytes()

    def synchronize(self) -> None:
        """Wait for all that was launched."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def is_sound(self) -> bool:
        """Whether it still computes: some GPU errors break the process for good."""
        try:
            return float(torch.ones(2, device=self.torch).sum().item()) == 2.0
        except RuntimeError:
            return False

    def forget(self) -> None:
        """Give cached memory back."""
        if self.is_cuda:
            torch.cuda.empty_cache()

    def describe(self) -> dict[str, Any]:
        """Say what measures: device, driver, versions, settings."""
        found: dict[str, Any] = {
            "device": self.name,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
        }
        if self.is_cuda:
            properties = torch.cuda.get_device_properties(self.torch)
            found |= {
                "cuda": torch.version.cuda,
                "driver": _nvidia_smi("driver_version"),
                "multiprocessors": properties.multi_processor_count,
                "memory_bytes": properties.total_memory,
                "cache_bytes": self.cache_bytes,
                "capability": f"{properties.major}.{properties.minor}",
            }
        else:
            found |= {
                "threads": torch.get_num_threads(),
                "cache_bytes": self.cache_bytes,
                "instructions": torch.backends.cpu.get_cpu_capability(),
            }
        return found

    def clocks(self) -> dict[str, str]:
        """Clocks, temperature and power, as the driver reports them now."""
        if not self.is_cuda:
            return {"cpu_mhz": str(self.clock.mhz())}
        names = CLOCKS.split(",")
        values = [value.strip() for value in _nvidia_smi(CLOCKS).split(",")]
        return dict(zip(names, values, strict=False))


@contextlib.contextmanager
def precision(name: str) -> Iterator[torch.dtype]:
    """Set how FP32 products are computed; yields the dtype of tensors."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield PRECISIONS[name]
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def memory_limit(device: Device) -> Iterator[None]:
    """Let the CPU's allocator refuse what does not fit, before the kernel kills the process."""
    if device.is_cuda:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _used_bytes() + int(_available_bytes() * _MEMORY_SHARE)
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    words = ("DefaultCPUAllocator: can't allocate", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in text for word in words)


class _GpuClock:
    """The SM clock, read by one nvidia-smi that stays open."""

    def __init__(self) -> None:
        self._mhz = 0
        command = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", *_gpu()]
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                [*command, "-lms", "250"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            self._process = None  # no nvidia-smi: rows have clock 0
            return
        threading.Thread(target=self._follow, daemon=True).start()

    def mhz(self) -> int:
        """The latest reading; 0 where there is none."""
        return self._mhz

    def close(self) -> None:
        """End the reader."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _follow(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self._mhz = int(line)


class _CpuClock:
    def mhz(self) -> int:
        """The mean over cores; 0 where the system does not say."""
        found = _cpuinfo("cpu MHz")
        return round(sum(map(float, found)) / len(found)) if found else 0

    def close(self) -> None:
        """Nothing is open."""


def _gpu() -> list[str]:
    """Name this GPU to nvidia-smi, which numbers them its own way."""
    uuid = getattr(torch.cuda.get_device_properties(), "uuid", None)
    return [] if uuid is None else ["-i", f"GPU-{uuid}"]


def _nvidia_smi(query: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", *_gpu()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip().split("\n")[0] or "unknown"


def _cpuinfo(field: str) -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for name, _, value in pairs if name.strip() == field]


def _cpu_name() -> str:
    model = next(iter(_cpuinfo("model name")), platform.processor() or platform.machine())
    return f"{model}, {torch.get_num_threads()} threads"


def _cpu_cache_bytes() -> int:
    largest = 0
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="utf-8").strip()
        if text.endswith("K"):
            largest = max(largest, int(text[:-1]) << 10)
    return min(largest, 1 << 26) or 1 << 25


def _total_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return total  # no control group that limits memory
    return min(total, int(most)) if most.isdigit() else total


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    limits = [kib << 10, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    group = Path("/sys/fs/cgroup")
    try:
        most = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = (group / "memory.current").read_text(encoding="utf-8").strip()
        if most != "max":
            limits.append(int(most) - int(used))
    except (OSError, ValueError):
        pass  # no control group that limits memory
    return min(limits)


def _used_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))
