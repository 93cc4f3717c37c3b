"""The command line, run as a person or a script runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def codesign(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command on one thread; its output and exit code come back.

    Args:
        path: a folder whose modules can be imported, too.
    """
    folders = [str(path)] if path else []
    folders += filter(None, [os.environ.get("PYTHONPATH")])
    return subprocess.run(
        [sys.executable, "-m", "codesign", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)},
    )
