"""Jobs of several ranks on a real cluster, one attempt each, and what sbatch says to requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import Job, LaunchRequest, Outcome
from codesign.errors import LaunchError
from launch import slurm
from launch.slurm import Options
from launch.slurm.batch import Batch, claimed_by
from launch.slurm.executor import STILLBORN, SlurmExecutor
from launch.slurm.script import trial_script
from tests.slurm.cluster import Cluster
from tests.slurm.studies import until
from tests.support.studies import state_of
from tests.support.toy_spec import write_spec

TASK = {"name": "tests.support.toy_task", "model": {}, "train": {}, "source": "toy", "path": None}
TWO_BY_TWO = {"nodes": 2, "tasks_per_node": 2, "time_min": 5, "signal_s": 10}


def attempt(study: Path, trial: int, design: Mapping[str, Any], **fields: Any) -> Job:
    folder = study / "trials" / f"{trial:04d}" / "attempt-1"
    folder.mkdir(parents=True)
    payload = {"token": f"t{trial}", "task": TASK, "design": design, "seed": 1}
    (folder / "trial.json").write_text(json.dumps(payload))
    return Job(trial=trial, attempt=1, folder=folder, token=f"t{trial}", **fields)


@contextmanager
def executor(
    study: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, **options: Any
) -> Iterator[SlurmExecutor]:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    request = LaunchRequest(workers=8, options=options, study=study, name="toy")
    made = slurm.make(request)
    yield made
    made.close()


def ended(made: SlurmExecutor, count: int) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}

    def all_ended() -> bool:
        found.update({job.trial: outcome for job, outcome in made.poll(0.2)})
        return len(found) >= count

    until(all_ended, within_s=120)
    return found


def test_ranks_on_two_nodes_end_as_the_one_with_a_reason_of_its_own(
    idle: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    designs: list[dict[str, Any]] = [
        {"fate": "tells_rank"},
        {"fate": "out_of_memory", "only_rank": 2},
        {"fate": "dies", "only_rank": 3},
        {"fate": "bug", "only_rank": 0},
        {"fate": "hangs"},
    ]
    with executor(tmp_path, monkeypatch, idle, **TWO_BY_TWO) as made:
        for trial, design in enumerate(designs):
            limit = 5.0 if design["fate"] == "hangs" else None
            made.submit(attempt(tmp_path, trial, design, processes=4, timeout_s=limit))
        made.submit(attempt(tmp_path, 5, {"fate": "tells_rank"}, processes=1))
        found = ended(made, 6)
    assert dict(found[0].facts) == {"rank": 0, "world": 4}
    assert dict(found[5].facts) == {"rank": 0, "world": 1}
    kinds = {trial: outcome.failure for trial, outcome in found.items()}
    assert kinds == {0: None, 1: "out_of_memory", 2: "node", 3: "bug", 4: "timeout", 5: None}
    assert found[1].reason.startswith("rank 2 of 4")
    assert found[2].reason == "rank 3 of 4 ended with signal 9 and no result"
    assert "a toy bug" in found[3].facts["log_tail"]
    assert not idle.run("squeue", "--noheader").strip(), "a rank that failed ends the others"


def test_sbatch_accepts_a_script_with_every_option(idle: Cluster, tmp_path: Path) -> None:
    options = Options(
        partition="main", nodes=2, gpus_per_node=2, cpus_per_task=2, memory_gib=1.5, time_min=90.5,
        array_parallelism=1, setup=("module() { :; }", "module load x"), srun_args=("--label",),
        sbatch={"exclusive": True, "nice": 10, "hold": False},
    )  # fmt: skip
    (tmp_path / "slurm").mkdir()
    jobs = tuple(Job(trial=i, attempt=1, folder=tmp_path, processes=4) for i in range(3))
    trials = trial_script(options, Batch.of(jobs), study=tmp_path, name="a b")
    loop = slurm.loop_script(LaunchRequest(study=tmp_path, name="a"), ["optimize", "spec.yaml"])
    for text in (trials, loop):
        (tmp_path / "script.sh").write_text(text)
        idle.run("sbatch", "--test-only", str(tmp_path / "script.sh"))


def test_a_partition_that_is_not_there_is_named_with_its_field(
    idle: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with executor(tmp_path, monkeypatch, idle, partition="nowhere") as made:
        made.submit(attempt(tmp_path, 0, {"fate": "completes"}))
        with pytest.raises(LaunchError, match="invalid partition specified: nowhere") as raised:
            made.poll()
    assert raised.value.where == "launch.slurm.partition"


def test_jobs_that_die_before_their_trials_begin_stop_the_study_with_the_log(
    idle: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with executor(tmp_path, monkeypatch, idle, setup=("exit 3",), partition="main") as made:
        broken = [attempt(tmp_path, trial, {"fate": "completes"}) for trial in range(STILLBORN)]
        for job in broken:
            made.submit(job)
        with pytest.raises(LaunchError, match="failed before their trials began"):
            ended(made, STILLBORN)
    with executor(tmp_path, monkeypatch, idle, partition="main") as mended:
        assert list(mended.adopt(broken)) == [], "what never began begins anew"
        assert {claimed_by(job.folder) for job in broken} == {"nobody"}


def test_a_loop_that_is_a_job_itself_ends_its_study(idle: Cluster, tmp_path: Path) -> None:
    launch = {
        "executor": "slurm",
        "workers": 4,
        "slurm": {"partition": "main", "loop": {"cpus": 1}},
    }
    spec = write_spec(tmp_path, search={"trials": 4, "proposer": "random"}, launch=launch)
    study = tmp_path / "study"
    command = [sys.executable, "-m", "codesign", "launch", str(spec), "--study", str(study)]

    def run(*more: str) -> str:
        return subprocess.run(
            [*command, *more], env={**os.environ, **idle.environment}, check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip

    shown = run("--dry-run")
    assert not study.exists(), "nothing is created"
    job = json.loads(run("--json"))["job"]
    assert json.loads(run("--json"))["job"] == job, "one loop is enough"
    until(lambda: idle.jobs()[job] == "COMPLETED")
    assert [trial.status for trial in state_of(study).trials.values()] == ["completed"] * 4
    (loop,) = study.glob("slurm/loop.sh")
    assert loop.read_text() in shown
