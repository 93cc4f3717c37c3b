"""The command line for a bare machine; `codesign profile` is the same where all is installed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from codesign.errors import CodesignError
from cost_models.profile.plan import SECTIONS
from cost_models.profile.runner import run

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code, which tells the kind of error (see `codesign.errors`)."""
    parser = argparse.ArgumentParser("cost_models.profile", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv",
                        help="where rows go; a file of this device is continued")  # fmt: skip
    parser.add_argument("--ops", action="store_true", help="operations only (flags add up)")
    parser.add_argument("--steps", action="store_true", help="training steps only")
    parser.add_argument("--tables", action="store_true", help="lookups only")
    parser.add_argument("--minutes", type=float, default=20.0, help="most minutes (default 20)")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    parser.add_argument("--shapes", type=Path, metavar="SHAPES.csv",
                        help="own operations, measured first: op,B,M,N,K,dtype")  # fmt: skip
    given = parser.parse_args(arguments)
    chosen = [name for name in SECTIONS if getattr(given, f"{name}s")]
    try:
        summary = run(
            given.out,
            minutes=given.minutes,
            sections=chosen or SECTIONS,
            device_name=given.device,
            shapes=given.shapes,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except CodesignError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
