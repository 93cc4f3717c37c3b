"""What the shell says of trials on a real cluster, and what it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

from codesign import api
from codesign.study.status import StudyStatus
from tests.slurm.cluster import Cluster
from tests.slurm.studies import SLURM, begin, job_of, until
from tests.support.studies import state_of
from tests.support.toy_spec import write_spec

HANGING = {"width": {"low": 1, "high": 16}, "depth": 1, "fate": "hangs"}


def shell(cluster: Cluster, *arguments: object) -> CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codesign", *map(str, arguments)],
        env=cluster.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def at_work(study: Path) -> int:
    """How many trials run on a node and have said something."""
    if not (study / "snapshot.jsonl").exists():
        return 0
    found: StudyStatus = api.status(study)
    return sum(not trial.waits and trial.share is not None for trial in found.running)


def attempts(study: Path) -> list[int]:
    return [trial.attempt for trial in state_of(study).trials.values()]


def states(cluster: Cluster, study: Path) -> set[str]:
    """Return the states of the jobs of the study's latest attempts."""
    known = cluster.jobs()
    return {known[job_of(study, trial)] for trial in range(3)}


def test_jobs_are_told_followed_left_and_ended(idle: Cluster, tmp_path: Path) -> None:
    study = tmp_path / "study"
    launch = {"executor": "slurm", "workers": 3, "slurm": {**SLURM, "sbatch": {"exclusive": True}}}
    spec = write_spec(tmp_path, space=HANGING, search={"trials": 3, "proposer": "random"},
                      launch=launch)  # fmt: skip
    with begin(idle, spec, study) as loop:
        until(lambda: at_work(study) == 2)
        until(lambda: "2 RUNNING, 1 PENDING (" in shell(idle, "status", study).stdout)
        loop.send_signal(signal.SIGINT)
        output, _ = loop.communicate(timeout=60)
    assert loop.returncode == 130
    assert "3 jobs go on in the queue" in output
    told = json.loads(shell(idle, "logs", study, "0", "--json").stdout)
    job = job_of(study, 0)
    assert (told["queued"]["job"], told["queued"]["state"]) == (job, "RUNNING")
    names = [Path(file["path"]).name for file in told["files"]]
    assert names[0] == "log.txt"
    assert names[1:]
    assert all(name.startswith(job) for name in names[1:])
    assert states(idle, study) == {"RUNNING", "PENDING"}
    assert "3 jobs were ended" in shell(idle, "stop", study, "--now").stdout
    until(lambda: states(idle, study) == {"CANCELLED"})
    with begin(idle, spec, study) as loop:
        until(lambda: attempts(study) == [2, 2, 2] and at_work(study) == 2)
        assert shell(idle, "stop", study, "--now").returncode == 0
        assert loop.wait(60) == 130
    assert {trial.status for trial in state_of(study).trials.values()} == {"running"}
    until(lambda: states(idle, study) == {"CANCELLED"})
