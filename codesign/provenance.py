"""What it takes to explain a result later: commit, versions, host."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from codesign import __version__

# The packages of this project: what a checkout is compared on.
PACKAGES = ("codesign", "cost_models", "launch", "wukong")

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
        **git_state(Path(__file__).parents[1], PACKAGES),
        "python": platform.python_version(),
        **versions,
        "host": socket.gethostname(),
        "machine": platform.machine(),
    }


def git_state(root: Path, packages: Sequence[str]) -> dict[str, str]:
    """Return the commit of a checkout, and a hash of how its packages differ from it.

    The hash is the first 12 digits of the SHA-256 of `git diff --binary HEAD -- PACKAGES`, each
    file that git neither knows nor ignores appended as its name and its bytes.

    Args:
        root: the folder that holds the packages.
    """

    def git(*arguments: str) -> bytes:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, check=True).stdout

    try:
        # A checkout of something else may lie around an installed copy.
        git("ls-files", "--error-unmatch", "--", f"{packages[0]}/__init__.py")
        commit = git("rev-parse", "--short=12", "HEAD").decode().strip()
        changes = git("diff", "--binary", "HEAD", "--", *packages)
        new = git("ls-files", "-z", "--others", "--exclude-standard", "--", *packages).split(b"\0")
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "not in a git checkout"}
    changes += b"".join(name + (root / os.fsdecode(name)).read_bytes() for name in new if name)
    differ = f"SHA-256 {hashlib.sha256(changes).hexdigest()[:12]}" if changes else "none"
    return {"commit": commit, "uncommitted changes": differ}
