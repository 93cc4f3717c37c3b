"""Regenerate requirements/cpu.txt and requirements/cuda.txt.

Run by `make locks` with CPython 3.11 on Linux x86_64. Needs pip only; nothing is installed, and
of the wheels only their metadata is read.

One resolution serves both files. It takes torch's CUDA build, whose needs are those of the CPU
build and the CUDA libraries; without these it is the CPU lock, so the two cannot drift apart.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# Built against each other: fbgemm is C++ against one torch, torchrec calls one fbgemm.
TORCH = "2.13.0"
TORCHREC = "1.8.0"
FBGEMM = "1.8.0"

# Taken as they are, without the packages they ask for.
WITHOUT_NEEDS = {
    "torchrec": TORCHREC,  # always asks for the CUDA build of fbgemm
    "fbgemm-gpu": FBGEMM,  # only in cuda.txt
    "fbgemm-gpu-cpu": FBGEMM,  # only in cpu.txt
    "recbole": "1.2.1",  # its MovieLens files are used, its code never runs
}

# What those really need, and what the code above finds at run time.
NEEDS = (
    "pyre-extensions",  # torchrec
    "setuptools>=77.0.3",  # torch; `pip freeze` would leave it out
    "tensordict",  # torchrec
    "torchmetrics==1.0.3",  # torchrec, exactly this version
    "tqdm",  # torchrec
)

CUDA_LIBRARIES = ("nvidia-", "cuda-", "triton")

HEADER = """\
# Complete: `pip install --no-deps -r {file}`. Regenerate: `make locks`.
# For CPython 3.11 to 3.14 on Linux x86_64; resolved under 3.11.
{more}
"""
MORE = {
    "cpu.txt": """\
# Wants the CPU build of torch {torch}. Where the package index serves the CUDA build under this
# version, requirements/check.py says so: add an index of CPU builds, or use cuda.txt.""",
    "cuda.txt": """\
# Wants the CUDA build of torch {torch} and a driver for CUDA 13. Checked: pip resolves it from the
# packages' metadata. Not checked: an installation of it. cpu.txt, the same without the CUDA
# libraries, is what the tests run on.""",
}


def normalized(name: str) -> str:
    """Return a project name in its one canonical spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bare_name(requirement: str) -> str:
    """Return the canonical project name that a requirement such as `a-b[c]>=1` starts with."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    if match is None:
        sys.exit(f"cannot read the requirement {requirement!r}")
    return normalized(match[0])


def resolve(requirements: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """Let pip choose versions, and return the metadata of each package it would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run"]
        command += ["--ignore-installed", "--only-binary=:all:", "--use-feature=fast-deps"]
        command += ["--report", str(report), *options, *requirements]
        if subprocess.run(command, check=False).returncode:
            sys.exit("pip found no set of versions; its message is above")
        return [item["metadata"] for item in json.loads(report.read_text())["install"]]


def pins(metadata: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return name → public version; a local suffix such as +cpu exists on some indexes only."""
    return {normalized(m["name"]): m["version"].partition("+")[0] for m in metadata}


def roots(project: Mapping[str, Any]) -> Iterator[str]:
    """Yield what pip resolves: the project's own needs, the tools, and the needs listed above."""
    direct = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    yield from (need for need in direct if bare_name(need) not in WITHOUT_NEEDS)
    yield from NEEDS
    yield f"torch==={TORCH}"  # three signs: not the +cpu build of the same version


def unmet(metadata: Mapping[str, Any], lock: Mapping[str, str]) -> set[str]:
    """Return the needs of one package, extras aside, that the lock lacks."""
    needs = [need for need in metadata.get("requires_dist", []) if "extra ==" not in need]
    return {bare_name(need) for need in needs} - lock.keys()


def write(file: str, lock: Mapping[str, str]) -> None:
    """Write one lock, sorted by name."""
    header = HEADER.format(file=f"requirements/{file}", more=MORE[file].format(torch=TORCH))
    lines = [f"{name}=={version}\n" for name, version in sorted(lock.items())]
    (HERE / file).write_text(header + "".join(lines))
    print(f"requirements/{file}: {len(lock)} packages")


def main() -> None:
    """Resolve once and write both locks."""
    found = (sys.version_info[:2], sys.platform, platform.machine())
    if found != ((3, 11), "linux", "x86_64"):
        sys.exit(f"run this with CPython 3.11 on Linux x86_64 (PYTHON=…), not {found}")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    cuda = pins(resolve(roots(project)))
    by_hand = resolve([f"{n}=={v}" for n, v in WITHOUT_NEEDS.items()], "--no-deps")
    cuda |= {name: v for name, v in pins(by_hand).items() if name != "fbgemm-gpu-cpu"}
    cpu = {name: v for name, v in cuda.items() if not name.startswith(CUDA_LIBRARIES)}
    cpu["fbgemm-gpu-cpu"] = cpu.pop("fbgemm-gpu")
    for metadata in by_hand:
        if metadata["name"] != "recbole" and (missing := unmet(metadata, cuda)):
            sys.exit(f"{metadata['name']} also needs {missing}: add them to NEEDS")
    write("cpu.txt", cpu)
    write("cuda.txt", cuda)


if __name__ == "__main__":
    main()
