"""Train Wukong on Frappe in a study on a SLURM of this machine, undisturbed and disturbed; compare.

    python -m tests.support.cluster_campaign --data FOLDER --out benchmarks/results/cluster.json

FOLDER holds Frappe's train.csv, valid.csv and test.csv. Each trial is a job of two nodes with two
ranks each. The loop is killed five times, jobs are preempted, for good and requeued, one goes on at
two ranks, a node is lost, and the controller is away for a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from codesign.study.folder import StudyFolder
from codesign.study.queue import read_queue
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState
from tests.slurm.cluster import Cluster, cluster
from tests.slurm.studies import ENDED, SLURM, begin, job_of, outcomes, take_all_nodes, until
from tests.support.studies import state_of

WITHIN_S = 600.0
OUTAGE_S = 60.0
RANKS = 4
ROUNDING = 1e-4  # Of a metric, relative, where ranks add up in another order.
ON_TWO_NODES = {**SLURM, "nodes": 2, "tasks_per_node": 2, "gpus_per_node": 2}
# Batches so large that a trial takes seconds.
SECTIONS: dict[str, Any] = {
    "model": {"name": "wukong", "layers": 1, "n_F": 4, "n_L": 4, "mlp_depth": 1,
              "head_depth": 1, "head_width": 32, "d": 16, "dropout": 0.0},
    "train": {"batch_size": 8192, "passes": 4, "dense_lr": 0.003, "table_lr": 0.01, "threads": 1,
              "table_backend": "fused", "table_optimizer": "rowwise_adagrad",
              "table_shard_columns": 8, "dense_shard_ranks": 2, "checkpoint_min": 0.05,
              "device": "cpu"},
    "space": {"k": [2, 3, 4], "mlp_width": [8, 16, 32], "bottom_width": [16, 32, 64]},
    "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
    "seed": 0,
}  # fmt: skip


class Disturbed:
    """A study whose loop runs until it is disturbed.

    Args:
        cluster: of two nodes.
        folder: for the spec and the study.
        data: prepared columns.
        trials: of the study.
    """

    def __init__(self, cluster: Cluster, folder: Path, data: Path, trials: int) -> None:
        self.study = folder / "disturbed"
        self.hits: Counter[str] = Counter()
        self._cluster, self._folder, self._data, self._trials = cluster, folder, data, trials
        self._loop = self._begin(partition="spare")

    def run(self) -> None:
        """Disturb the study evenly over its trials, then let it end."""
        hits = [
            self.go_on_at_two_ranks, self.kill_loop, self.kill_loop, self.lose_node,
            self.kill_loop, self.preempt, self.kill_loop, self.kill_loop, self.stop_controller,
        ]  # fmt: skip
        for number, hit in enumerate(hits):
            hit(self._training_trial(ended=number * self._trials // (len(hits) + 1)))
            self.hits[hit.__name__] += 1
            _say(f"{hit.__name__}: {len(_ended(self.study))} trials have ended")
        _complete(self._loop)

    def close(self) -> None:
        """End the loop where it still runs."""
        if self._loop.poll() is None:
            self._loop.kill()
            self._loop.communicate()

    def go_on_at_two_ranks(self, trial: int) -> None:
        """Preempt a trial for good while no loop runs; its next attempt has one node."""
        self._interrupt()
        take_all_nodes(self._cluster, 1)
        self._loop = self._begin(nodes=1)
        attempt = self.study / f"trials/{trial:04d}/attempt-2"
        until((attempt / "progress.json").exists, within_s=WITHIN_S)
        self._interrupt()
        self._loop = self._begin()

    def kill_loop(self, _: int) -> None:
        """End the loop with SIGKILL; its jobs run on."""
        self.close()
        self._loop = self._begin()

    def lose_node(self, trial: int) -> None:
        """End all that runs on one of a trial's nodes, and bring the node back."""
        (node, *_) = self._cluster.nodes_of(job_of(self.study, trial))
        self._cluster.lose(node)
        time.sleep(2)
        self._cluster.restore(node)

    def preempt(self, _: int) -> None:
        """Make running jobs give way; SLURM queues them again."""
        take_all_nodes(self._cluster, 1)

    def stop_controller(self, _: int) -> None:
        """Take the controller away; jobs run on."""
        self._cluster.stop_controller()
        time.sleep(OUTAGE_S)
        self._cluster.start_controller()

    def _begin(self, **slurm: Any) -> subprocess.Popen[str]:
        spec = write(self._folder, self._data, self._trials, **slurm)
        self._began = time.time()
        return begin(self._cluster, spec, self.study)

    def _interrupt(self) -> None:
        self._loop.send_signal(signal.SIGINT)
        self._loop.communicate(timeout=WITHIN_S)

    def _training_trial(self, *, ended: int) -> int:
        """Wait until the loop sees its jobs, so many trials have ended and another one trains."""
        found: list[int] = []

        def trains() -> bool:
            if self._loop.poll() is not None:
                raise AssertionError(self._loop.communicate()[0])
            seen = read_queue(StudyFolder(self.study)).time or 0.0
            done = _ended(self.study)
            begun = {int(f.parts[-3]) for f in self.study.glob("trials/*/*/progress.json")}
            found[:] = sorted(begun - done)
            return seen > self._began and len(done) >= ended and bool(found)

        until(trains, within_s=WITHIN_S)
        return found[0]


def write(folder: Path, data: Path, trials: int, **slurm: Any) -> Path:
    """Write the campaign's spec; `slurm` replaces options of the jobs."""
    sections = {
        **SECTIONS,
        "data": {"source": "prepared", "path": str(data)},
        "search": {"trials": trials, "proposer": "random"},
        "launch": {
            "executor": "slurm", "workers": 2, "attempts": 10, "slurm": {**ON_TWO_NODES, **slurm}
        },
    }  # fmt: skip
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def campaign(running: Cluster, folder: Path, data: Path, trials: int) -> dict[str, Any]:
    """Run both studies; return what they came to."""
    undisturbed = folder / "undisturbed"
    began = time.monotonic()
    _complete(begin(running, write(folder, data, trials), undisturbed))
    undisturbed_s = time.monotonic() - began
    _say(f"undisturbed: {undisturbed_s:.0f} s")
    began = time.monotonic()
    disturbed = Disturbed(running, folder, data, trials)
    try:
        disturbed.run()
    finally:
        disturbed.close()
    return {
        "trials": trials,
        "disturbances": dict(disturbed.hits),
        **compare(state_of(undisturbed), disturbed.study),
        "attempts": len(list(disturbed.study.glob("trials/*/attempt-*"))),
        "starts": _starts(running, disturbed.study),
        "undisturbed_s": round(undisturbed_s),
        "disturbed_s": round(time.monotonic() - began),
    }


def compare(undisturbed: StudyState, study: Path) -> dict[str, Any]:
    """Compare each trial of a disturbed study with the same one of an undisturbed study."""
    found, expected = outcomes(state_of(study)), outcomes(undisturbed)
    ends = Counter(e.trial for e in recorded_events(StudyFolder(study)) if e.kind in ENDED)
    moved = {n for n in found if _ranks(study, n) != {RANKS}}
    differences = {
        n: _difference(found[n][-1], expected[n][-1]) for n in found.keys() & expected.keys()
    }
    return {
        "trials_not_ended_once": sum(ends[n] != 1 for n in found.keys() | expected.keys()),
        "designs_or_ends_differing": sum(
            found.get(n, ())[:-1] != expected.get(n, ())[:-1] for n in found.keys() | expected
        ),
        "trials_completed": sum(each[3] == "completed" for each in found.values()),
        "trials_at_another_rank_count": len(moved),
        "metrics_differing_at_the_same_ranks": sum(
            difference != 0 for n, difference in differences.items() if n not in moved
        ),
        "largest_relative_difference_at_other_ranks": max(
            (differences[n] for n in moved & differences.keys()), default=None
        ),
    }


def _difference(found: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """Return the largest relative difference of a metric; of which one lacks, infinity."""
    if found.keys() != expected.keys():
        return float("inf")
    pairs = [(found[name], expected[name]) for name in found if found[name] != expected[name]]
    return max((abs(a - b) / max(abs(a), abs(b)) for a, b in pairs), default=0.0)


def _ranks(study: Path, trial: int) -> set[int]:
    """Return how many ranks the attempts of a trial had that began: each writes a log."""
    attempts = (file.parent for file in study.glob(f"trials/{trial:04d}/*/claim.json"))
    return {len(list(attempt.glob("log*.txt"))) for attempt in attempts} - {0}


def _starts(running: Cluster, study: Path) -> int:
    """Return how often jobs of a study began, those included that SLURM queued again."""
    jobs = {json.loads(file.read_text())["job"] for file in study.glob("trials/*/*/claim.json")}
    shown = [running.run("scontrol", "--oneliner", "show", "job", job) for job in jobs - {"nobody"}]
    words = [word for text in shown for word in text.split() if word.startswith("Restarts=")]
    return len(words) + sum(int(word.partition("=")[2]) for word in words)


def _ended(study: Path) -> set[int]:
    return {int(file.parts[-3]) for file in study.glob("trials/*/*/result.json")}


def _complete(loop: subprocess.Popen[str]) -> None:
    output, _ = loop.communicate()
    if loop.returncode:
        raise AssertionError(output)


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def main() -> int:
    """Run, print and write what came of it; the exit code tells whether all was well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    with cluster(accounting=True) as running, tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "frappe"
        prepare = [sys.executable, "-m", "codesign", "data", "prepare", "frappe"]
        subprocess.run(
            [*prepare, "--data", str(options.data), "--out", str(data)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        found = campaign(running, Path(folder), data, options.trials)
        slurm = running.run("sinfo", "--version").split()[1]
    result = {
        "what": "Wukong on Frappe, two nodes with two ranks each, undisturbed and disturbed",
        **found,
        "study": {**SECTIONS, "slurm": ON_TWO_NODES},
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "versions": {
            "slurm": slurm,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "torchrec", "submitit")},
        },
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    faults = ("trials_not_ended_once", "designs_or_ends_differing",
              "metrics_differing_at_the_same_ranks")  # fmt: skip
    apart = found["largest_relative_difference_at_other_ranks"]
    rounded = apart is not None and apart <= ROUNDING
    return 0 if rounded and not any(found[name] for name in faults) else 1


if __name__ == "__main__":
    sys.exit(main())
