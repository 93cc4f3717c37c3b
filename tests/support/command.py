"""The command line, run as a person or a script runs it."""

from __future__ import annotations

import os
import subprocess
import sys


def codesign(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one command on one thread; its output and exit code come back."""
    return subprocess.run(
        [sys.executable, "-m", "codesign", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
