"""What it takes to explain a result later: commit, versions, host."""

from __future__ import annotations

import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

from codesign import __version__

# The packages whose versions stand with every result.
RECORDED_PACKAGES = ("torch", "torchrec", "ax-platform", "botorch", "numpy")


def provenance() -> dict[str, str]:
    """Collect it, label → value."""
    versions = {}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "codesign": __version__,
        "commit": _git_commit(),
        "python": platform.python_version(),
        **versions,
        "host": socket.gethostname(),
        "machine": platform.machine(),
    }


def _git_commit() -> str:
    """The commit this code is of, `+` appended where files differ from it."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", str(here))
            )
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"
    return commit + ("+" if changes else "")
