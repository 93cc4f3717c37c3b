"""Compare what is installed with a lock: `python requirements/check.py cpu` (or `cuda`).

Exits with 1 and says what to do where they differ. Works where torch itself does not load.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent

REINSTALL = "run `make venv` again; it rebuilds the environment from the lock"
OTHER_BUILD = {
    "cpu": (
        "the package index serves torch's CUDA build under this version: point pip at an index "
        "of CPU builds (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS) and run make again, or use the "
        "CUDA lock with `make LOCK=cuda …` (several GB)"
    ),
    "cuda": (
        "pip prefers a CPU build of torch from one of its indexes or folders of wheels: take "
        "that away (`pip config list` shows them) and run make again, or use the CPU lock with "
        "`make LOCK=cpu …`"
    ),
}
DOES_NOT_LOAD = {
    "cpu": "it was built for another machine or another torch; " + REINSTALL,
    "cuda": "a library of CUDA or of the GPU's driver is missing: this lock needs Linux x86_64 "
    "with a driver for CUDA 13; on a machine without a GPU use `make LOCK=cpu …`",
}


def read_lock(path: Path) -> dict[str, str]:
    """Return name → version of each `name==version` line."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def installed_versions(names: Mapping[str, str]) -> dict[str, str]:
    """Return the public version of those packages that are installed (2.13.0+cpu: 2.13.0)."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def version_problems(lock: Mapping[str, str], installed: Mapping[str, str]) -> list[str]:
    """Say which packages are missing or of another version than pinned."""
    return [
        f"{name} is {installed.get(name, 'missing')}; the lock pins {version}"
        for name, version in lock.items()
        if installed.get(name) != version
    ]


def torch_cuda_version() -> str | None:
    """Return the CUDA version that the installed torch was built for, without importing it.

    Raises:
        ImportError: there is no torch.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ImportError("torch is not installed")
    cuda: str | None = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    return cuda


def build_problems(lock: str, cuda: str | None) -> list[str]:
    """Say whether torch's build, given the CUDA version it is for, is the other lock's."""
    if (cuda is not None) == (lock == "cuda"):
        return []
    build = "the CPU build" if cuda is None else f"the build for CUDA {cuda}"
    return [f"torch is {build}; {lock}.txt wants the other one\n  {OTHER_BUILD[lock]}"]


def load_problems(lock: str) -> list[str]:
    """Import torch and fbgemm's operators, and say what does not load."""
    for module in ("torch", "fbgemm_gpu"):
        try:
            importlib.import_module(module)
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            return [f"`import {module}` fails: {error}\n  {DOES_NOT_LOAD[lock]}"]
    torch = importlib.import_module("torch")
    # The package imports even where its library was refused; then its operators are missing.
    if not hasattr(torch.ops.fbgemm, "asynchronous_complete_cumsum"):
        return [f"fbgemm_gpu has no operators\n  {DOES_NOT_LOAD[lock]}"]
    return []


def problems(lock: str) -> list[str]:
    """Return everything that is wrong with this environment (an empty list: nothing)."""
    pinned = read_lock(HERE / f"{lock}.txt")
    found = version_problems(pinned, installed_versions(pinned))
    if found:
        found[-1] += f"\n  {REINSTALL}"
    try:
        found += build_problems(lock, torch_cuda_version())
    except ImportError as error:
        return [*found, str(error)]
    return found or load_problems(lock)


def main(lock: str) -> int:
    """Print the verdict on this environment and return the exit status."""
    found = problems(lock)
    if found:
        print(f"this environment does not match requirements/{lock}.txt:", file=sys.stderr)
        print("\n".join(f"- {problem}" for problem in found), file=sys.stderr)
        return 1
    print(f"requirements/{lock}.txt: all packages as pinned; torch and fbgemm load")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["cpu"], ["cuda"]):
        sys.exit("usage: python requirements/check.py cpu|cuda")
    sys.exit(main(sys.argv[1]))
