"""Studies on a cluster: begun, disturbed and checked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from codesign.study.folder import StudyFolder
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState
from tests.slurm.cluster import NODES, Cluster
from tests.support import loops
from tests.support.studies import state_of

ENDED = ("completed", "failed")
until = partial(loops.until, within_s=90.0)
WITHIN_S = 120.0
SLURM: dict[str, Any] = {"partition": "main", "cpus_per_task": 1, "time_min": 30, "signal_s": 20}


def begin(
    cluster: Cluster,
    spec: Path,
    study: Path,
    *,
    path: Path | None = None,
    limit_bytes: int | None = None,
) -> subprocess.Popen[str]:
    """Start `codesign optimize` on a cluster; its output is one text.

    Args:
        path: a folder whose programs come before all others of the same name.
        limit_bytes: no file grows beyond it, as on a full disk; jobs inherit it.
    """
    environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    limit = [] if limit_bytes is None else ["prlimit", f"--fsize={limit_bytes}"]
    return subprocess.Popen(
        [*limit, sys.executable, "-m", "codesign", "optimize", str(spec), "--study", str(study)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def complete(cluster: Cluster, spec: Path, study: Path) -> str:
    """Run a study to its end, or continue it; return what it printed."""
    with begin(cluster, spec, study) as loop:
        output, _ = loop.communicate(timeout=WITHIN_S)
    assert loop.returncode == 0, output
    return output


def outcomes(state: StudyState) -> dict[int, tuple[Any, ...]]:
    """What must not depend on how often a study was disturbed, by trial."""
    return {
        t.number: (t.kind, dict(t.design), t.seed, t.status, of_training(t.metrics))
        for t in state.trials.values()
    }


def of_training(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out what the machine decides."""
    of_machine = {"examples_per_s", "train_seconds", "memory_per_device_gib"}
    return {name: value for name, value in metrics.items() if name not in of_machine}


def assert_each_ended_once(study: Path) -> None:
    """One end for each trial in the record, and one job for each attempt."""
    ends = Counter(e.trial for e in recorded_events(StudyFolder(study)) if e.kind in ENDED)
    assert set(ends) == set(state_of(study).trials)
    assert set(ends.values()) == {1}
    claims = [json.loads(file.read_text())["job"] for file in study.glob("trials/*/*/claim.json")]
    begun = [job for job in claims if job != "nobody"]
    assert len(begun) == len(set(begun))


def take_all_nodes(cluster: Cluster, seconds: int) -> None:
    """Submit a job that all others must make room for."""
    cluster.run("sbatch", "--partition=urgent", f"--nodes={len(NODES)}", "--exclusive",
                "--output=/dev/null", f"--wrap=sleep {seconds}")  # fmt: skip


def job_of(study: Path, trial: int) -> str:
    """Return the id of the job that a trial's latest attempt has; empty: none yet."""
    files = sorted(study.glob(f"trials/{trial:04d}/attempt-*/job.json"))
    return (json.loads(files[-1].read_text())["job"] or "") if files else ""
