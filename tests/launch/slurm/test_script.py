from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from codesign.contracts import Job
from launch.slurm import Options
from launch.slurm.batch import Batch
from launch.slurm.script import jobs_of_size, loop_script, trial_script

STUDY = Path("/shared/my study")


def jobs(*processes: int) -> list[Job]:
    return [
        Job(trial=i, attempt=1, folder=STUDY / f"trials/{i}", processes=n)
        for i, n in enumerate(processes)
    ]


def asked(script: str) -> dict[str, str]:
    """Return what the script asks sbatch for."""
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if "#SBATCH" in line]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_a_script_asks_for_what_the_spec_says_and_for_nothing_else() -> None:
    options = Options(
        partition="gpu,long", account="ads", qos="high", constraint="h100&nvlink", nodes=4,
        gpus_per_node=8, cpus_per_task=12, memory_gib=1.5, time_min=90.5, signal_s=60,
        setup=("module load cuda",), sbatch={"reservation": "r 1", "exclusive": True, "x11": False},
    )  # fmt: skip
    script = trial_script(options, Batch(key="k1", jobs=tuple(jobs(16))), study=STUDY, name="s")
    assert asked(script) == {
        "partition": "gpu,long", "account": "ads", "qos": "high", "constraint": "'h100&nvlink'",
        "nodes": "2", "ntasks-per-node": "8", "gpus-per-node": "8", "cpus-per-task": "12",
        "mem": "1536M", "time": "90:30", "signal": "USR2@60", "reservation": "'r 1'",
        "exclusive": "", "requeue": "", "comment": "codesign:k1", "job-name": "s.0.k1",
        "open-mode": "append", "output": "'/shared/my study/slurm/%j_0_log.out'",
        "error": "'/shared/my study/slurm/%j_0_log.err'",
    }  # fmt: skip
    plain = asked(
        trial_script(Options(), Batch(key="k", jobs=tuple(jobs(1))), study=STUDY, name="")
    )
    left = {"partition", "account", "qos", "time", "mem", "gpus-per-node", "cpus-per-task", "wckey"}
    assert not left & plain.keys(), "the cluster's defaults"


def test_jobs_of_one_size_share_an_array_with_its_own_limit() -> None:
    groups = jobs_of_size(jobs(2, 1, 2, 2, 1, 2), most=3)
    assert [[job.trial for job in group] for group in groups] == [[0, 2, 3], [5], [1, 4]]
    options = Options(tasks_per_node=2, array_parallelism=2)
    script = trial_script(options, Batch(key="k", jobs=tuple(groups[0])), study=STUDY, name="s")
    assert (asked(script)["array"], asked(script)["job-name"]) == ("0-2%2", "s.0-3.k")


def test_the_tasks_have_their_cores_and_the_python_of_the_container() -> None:
    options = Options(cpus_per_task=4, python="/opt/python", srun_args=("--container-image=a b",))
    script = trial_script(options, Batch(key="k", jobs=tuple(jobs(1))), study=STUDY, name="s")
    srun = next(line for line in script.splitlines() if line.startswith("srun"))
    assert "--cpus-per-task=4" in srun
    assert "'--container-image=a b'" in srun
    assert srun.endswith("/opt/python -u -m launch.slurm.job '/shared/my study/slurm/k.json'")
    assert "PYTHONPATH" not in script


@pytest.mark.parametrize("kind", ["trial", "loop"])
def test_bash_can_read_a_script(kind: str) -> None:
    options = Options(setup=("if true; then :; fi",), gpus_per_node=2)
    script = (
        loop_script(options, ["optimize", "a b.yaml"], study=STUDY, name="s")
        if kind == "loop"
        else trial_script(options, Batch(key="k", jobs=tuple(jobs(2))), study=STUDY, name="s")
    )
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_loop_is_one_small_task_that_bash_interrupts_before_its_time_is_over() -> None:
    options = Options(
        partition="gpu", constraint="h100", nodes=16, gpus_per_node=8, account="ads",
        loop={"partition": "cpu", "time_min": 60, "cpus": 3},
    )  # fmt: skip
    found = asked(loop_script(options, ["optimize", "s.yaml"], study=STUDY, name="s"))
    assert found["partition"] == "cpu"
    assert (found["nodes"], found["ntasks-per-node"], found["cpus-per-task"]) == ("1", "1", "3")
    assert (found["signal"], found["account"]) == ("B:USR2@90", "ads")
    assert not {"gpus-per-node", "constraint"} & found.keys()
