"""Train designs of a space at random, and append a line for each that ended to a table.

    python benchmarks/record_table.py tables/frappe-wukong.yaml --data FOLDER [--rows 1000]

Which design is number i, and its seed, follow from the spec alone; numbers that the table holds
are left out, so the command goes on where it was stopped, on any machine. Several processes share
the work by `--part 0/2` and `--part 1/2`; each appends whole lines.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codesign.contracts import Outcome
from codesign.designs import as_columns, as_designs
from codesign.provenance import provenance
from codesign.spec.problem import Problem, load_problem

MOST_ROWS = 4096  # drawn at once, so that the order does not depend on how many are asked for
DIGITS = 6
CURVE = ("examples", "train_log_loss", "validation_log_loss", "validation_auc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spec", type=Path)
    parser.add_argument("--data", required=True, help="the folder of the data files")
    parser.add_argument("--rows", type=int, default=1000, help="numbers 0 … ROWS - 1")
    parser.add_argument("--part", default="0/1", help="K/N: numbers that leave K divided by N")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    table = arguments.spec.with_suffix(".jsonl")
    problem = load_problem(arguments.spec, data_path=arguments.data)
    drawn = as_designs(problem.feasible.sample(MOST_ROWS, np.random.default_rng(problem.spec.seed)))
    order = np.random.default_rng(problem.spec.seed).permutation(len(drawn))[: arguments.rows]
    due = [n for n in range(part, len(order), parts) if n not in numbers(table)]
    for done, number in enumerate(due, start=1):
        row = recorded(problem, drawn[order[number]], number)
        append(table, row)
        loss = row["metrics"].get("log_loss", row["failure"])
        print(f"[{done}/{len(due)}] {number}: {loss}, {row['seconds']} s", flush=True)


def numbers(table: Path) -> set[int]:
    """Return which rows the table holds."""
    return {json.loads(line)["number"] for line in table.open()} if table.exists() else set()


def recorded(problem: Problem, design: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Train one design, and describe the run in plain values."""
    seed = int(np.random.SeedSequence([problem.spec.seed, number]).generate_state(1)[0])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome: Outcome = problem.task.run(
            design, seed=seed, folder=Path(folder), earlier=(), report=lambda _: None
        )
        seconds = time.perf_counter() - began
        points = (Path(folder) / "curve.jsonl").read_text().splitlines()
    costs = problem.task.costs(as_columns([dict(design)]))
    about = provenance()
    return {
        "number": number,
        "design": dict(design),
        "seed": seed,
        "failure": outcome.failure,
        "metrics": rounded(outcome.metrics),
        "costs": {name: float(values[0]) for name, values in costs.items()},
        "curve": [[rounded(json.loads(point))[name] for name in CURVE] for point in points],
        "seconds": round(seconds, 1),
        "made_by": {name: about[name] for name in ("commit", "uncommitted changes", "torch")},
    }


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep as many digits as a run repeats on another machine, and more than it means."""
    return {n: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for n, v in values.items()}


def append(table: Path, row: Mapping[str, Any]) -> None:
    """Add one line by a single write, so that processes do not mix theirs."""
    line = json.dumps(row, separators=(",", ":")) + "\n"
    descriptor = os.open(table, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
