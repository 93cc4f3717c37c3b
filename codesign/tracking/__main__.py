"""`python -m codesign.tracking STUDY TRACKER`: follow a study until standard input ends.

Lines for a person go to standard output, everything else to standard error.
"""

from __future__ import annotations

import select
import sys
from pathlib import Path

from codesign.errors import CodesignError
from codesign.tracking.follower import Follower
from codesign.tracking.logged import FOLDER, alone
from codesign.tracking.process import say_once
from codesign.tracking.trackers import connect


def _ended(wait_s: float) -> bool:
    """Wait for the loop, which holds the other end of standard input and never writes there."""
    return bool(select.select([sys.stdin], [], [], wait_s)[0])


def main(study: Path, tracker: str) -> int:
    """Follow; return 0 where all was logged."""
    say = say_once()
    try:
        with alone(study / FOLDER, wait=True):
            return 0 if Follower(study, connect(study, tracker), trouble=say).follow(_ended) else 1
    except CodesignError as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
