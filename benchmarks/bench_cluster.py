"""What the loop spends on a trial whose job runs on a cluster.

Trials that train nothing run as jobs of a SLURM of two nodes on this machine, submitted as arrays.
The loop's CPU time counts, squeue's and sbatch's with it; the jobs' does not, for they are not its
children. Jobs share the machine with the loop, so that wall time says little.

    python -m benchmarks.bench_cluster [--trials 1000]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import tempfile
from pathlib import Path
from typing import Any

from codesign import api
from codesign.study.view import View
from tests.slurm.cluster import cluster
from tests.support.toy_spec import write_spec

PARTS = 10  # Of a study's trials; so many are in the queue at a time as one part has.
SECTIONS: dict[str, Any] = {
    "space": {"width": {"low": 1, "high": 1000}, "depth": {"low": 1, "high": 100}},
    "budgets": {"gflop_per_example": 100.0},
    "launch": {
        "executor": "slurm",
        "slurm": {"partition": "main", "cpus_per_task": 1, "time_min": 30},
    },
}


def cpu_seconds() -> float:
    """Return what this process and its children that ended have spent."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def measure(folder: Path, trials: int) -> dict[str, Any]:
    """Run a study in this process; return milliseconds a trial.

    Of all trials, with what the loop spends before the first; and of an early and a late part,
    while each of which as many trials are submitted as end.
    """
    part = trials // PARTS
    sections = {**SECTIONS, "launch": {**SECTIONS["launch"], "workers": part}}
    spec = write_spec(folder, search={"trials": trials, "proposer": "random"}, **sections)
    # Trials that had ended, CPU seconds spent until then.
    seen: list[tuple[int, float]] = [(0, cpu_seconds())]

    def watch(view: View) -> None:
        ended = sum(not trial.open for trial in view.state.trials.values())
        seen.append((ended, cpu_seconds()))

    api.optimize(spec, study=folder / "study", watch=watch)

    def per_trial_ms(low: int, high: int) -> float:
        begin = [point for point in seen if point[0] <= low][-1]
        end = next(point for point in seen if point[0] >= high)
        return round(1000 * (end[1] - begin[1]) / (end[0] - begin[0]), 1)

    assert seen[-1][0] == trials
    return {
        "all": round(1000 * (seen[-1][1] - seen[0][1]) / trials, 1),
        "second_part": per_trial_ms(part, 2 * part),
        "last_part_but_one": per_trial_ms(trials - 2 * part, trials - part),
    }


def main() -> None:
    """Measure and write `benchmarks/results/cluster-loop.json`."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--trials", type=int, default=1000)
    trials = arguments.parse_args().trials
    with cluster(accounting=True) as running, tempfile.TemporaryDirectory() as folder:
        os.environ.update(running.environment)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        found = measure(Path(folder), trials)
    result = {
        "what": "CPU milliseconds a trial that the loop and the commands it calls spend",
        "cpu_ms_per_trial": found,
        "trials": trials,
        "workers": trials // PARTS,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "cluster-loop.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
