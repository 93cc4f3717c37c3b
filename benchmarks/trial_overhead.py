"""What a trial costs besides its training: hand-out, bookkeeping, proposal, report.

Runs twenty small Wukong shapes on MovieLens-100k with one worker, once with random proposals and
once with Bayesian optimization inside Ax, and takes the time of each trial that no training took.
The first trial, which loads torch and the data, is shown apart; with one worker nothing hides a
proposal, with more the others train meanwhile.

    python benchmarks/trial_overhead.py
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from codesign import api
from codesign.study.folder import StudyFolder
from codesign.study.snapshot import recorded_events

TRIALS = 20
SPEC = """
data: {source: movielens-100k}
model: {name: wukong, head_depth: 1, head_width: 32, bottom_depth: 0}
train: {passes: 1, batch_size: 4096}
space: {layers: [1, 2], n_F: [2, 4, 8], n_L: [2, 4, 8], k: [2, 4, 8], mlp_width: [16, 32, 64],
        mlp_depth: 1, d: [4, 8, 16]}
objectives: [{metric: log_loss}, {metric: gflop_per_example}]
search: {trials: 20}
launch: {workers: 1}
"""


def measure(folder: Path, proposer: str) -> dict[str, Any]:
    """Run the study; return seconds per trial that were not training."""
    spec, study = folder / "spec.yaml", folder / proposer
    spec.write_text(SPEC)
    api.optimize(spec, study=study, overrides=[f"search.proposer={proposer}"])
    events = recorded_events(StudyFolder(study))
    created = {e.trial: e.time for e in events if e.kind == "created"}
    ended = {e.trial: e for e in events if e.kind == "completed"}
    assert len(ended) == TRIALS
    overhead = [
        ended[t].time - created[t] - ended[t].payload["metrics"]["train_seconds"] for t in ended
    ]
    between = [created[t + 1] - ended[t].time for t in range(TRIALS - 1)]
    per_trial = [inside + gap for inside, gap in zip(overhead[1:], between, strict=True)]
    trained = [ended[t].payload["metrics"]["train_seconds"] for t in ended]
    return {
        "first_trial_s": round(overhead[0], 3),
        "median_s": round(sorted(per_trial)[len(per_trial) // 2], 3),
        "worst_s": round(max(per_trial), 3),
        "median_training_s": round(sorted(trained)[len(trained) // 2], 3),
    }


def main() -> None:
    """Measure and write `benchmarks/results/trial_overhead.json`."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(Path(folder), name) for name in ("random", "known_cost")}
    result = {
        "what": "seconds a trial besides its training, one worker, eager, MovieLens-100k",
        "overhead_per_trial": found,
        "trials": TRIALS,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "trial_overhead.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
