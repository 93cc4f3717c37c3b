"""Loops that die while their jobs run on a real cluster: no trial is lost, none runs twice."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.slurm.cluster import SEARCH, Cluster
from tests.slurm.studies import (
    SLURM,
    assert_each_ended_once,
    begin,
    complete,
    job_of,
    outcomes,
    until,
)
from tests.support import studies
from tests.support.studies import state_of
from tests.support.toy_spec import write_spec

TRIALS = 20
# What becomes of a loop that calls sbatch: killed once sbatch has told it the job, before sbatch is
# called at all, or while sbatch is still on its way.
FATES = ("after", "before", "meanwhile")
SBATCH = """\
#!/bin/bash
# The programs before this one on the path are put back, for the job inherits it.
export PATH={path}
number=$(ls {folder}/calls | wc -l)
touch {folder}/calls/$number
fates=({fates})
case ${{fates[$number]}} in
    after) sbatch "$@"; kill -9 $PPID ;;
    before) kill -9 $PPID ;;
    meanwhile) kill -9 $PPID; sleep 1.5; sbatch "$@" ;;
    *) exec sbatch "$@" ;;
esac
"""


def expected(folder: Path, trials: int) -> dict[int, object]:
    """What a study of the same spec comes to on this machine, undisturbed."""
    folder.mkdir()
    return outcomes(
        studies.run(
            folder, "local", search={"trials": trials, "proposer": "random"}, launch={"workers": 2}
        )
    )


def test_a_study_on_a_cluster_comes_to_what_it_comes_to_on_one_machine(
    idle: Cluster, tmp_path: Path
) -> None:
    launch = {"executor": "slurm", "workers": 4, "slurm": SLURM}
    spec = write_spec(tmp_path, search={"trials": 9, "proposer": "random"}, launch=launch)
    complete(idle, spec, tmp_path / "study")
    assert outcomes(state_of(tmp_path / "study")) == expected(tmp_path / "local", 9)
    assert_each_ended_once(tmp_path / "study")
    # Trials that are created together go out as one array.
    arrays = [job_of(tmp_path / "study", trial).split("_")[0] for trial in range(9)]
    assert max(map(arrays.count, arrays)) == 4


@pytest.mark.parametrize("kind", ["accounted", "forgetful"])
def test_loops_killed_around_sbatch_leave_every_trial_with_one_job(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cluster: Cluster = request.getfixturevalue(kind)
    cluster.clear()
    kills = TRIALS if kind == "accounted" else len(FATES)
    search = {"trials": TRIALS, "proposer": "random"}
    launch = {"executor": "slurm", "workers": 1, "attempts": 3, "slurm": SLURM}
    spec = write_spec(tmp_path, search=search, launch=launch)
    (tmp_path / "calls").mkdir()
    killing = tmp_path / "bin"
    killing.mkdir()
    fates = " ".join(FATES[number % len(FATES)] for number in range(kills))
    wrapper = killing / "sbatch"
    wrapper.write_text(SBATCH.format(path=SEARCH, folder=tmp_path, fates=fates))
    wrapper.chmod(0o755)
    killed = 0
    while True:
        with begin(cluster, spec, tmp_path / "study", path=killing) as loop:
            output, _ = loop.communicate(timeout=120)
        assert loop.returncode in (0, -9), output
        if loop.returncode == 0:
            break
        killed += 1
    assert killed == kills
    assert outcomes(state_of(tmp_path / "study")) == expected(tmp_path / "local", TRIALS)
    assert_each_ended_once(tmp_path / "study")


def test_a_study_whose_loop_is_killed_five_times_goes_on_with_the_same_jobs(
    idle: Cluster, tmp_path: Path
) -> None:
    search = {"trials": 24, "proposer": "random"}
    launch = {"executor": "slurm", "workers": 4, "slurm": SLURM}
    spec = write_spec(tmp_path, search=search, launch=launch)
    study = tmp_path / "study"
    for kill in range(5):
        with begin(idle, spec, study) as loop:
            until(lambda seen=4 * kill: len(list(study.glob("trials/*/*/claim.json"))) > seen)
            time.sleep(0.3 * kill)  # Not always at the same moment of a trial.
            assert loop.poll() is None
            loop.kill()
    complete(idle, spec, study)
    assert outcomes(state_of(study)) == expected(tmp_path / "local", 24)
    assert_each_ended_once(study)
    # Nobody lost a job, so nobody began a second attempt.
    assert not list(study.glob("trials/*/attempt-2"))


def test_what_ended_while_no_loop_ran_is_collected_where_slurm_has_forgotten_it(
    tmp_path: Path, forgetful: Cluster
) -> None:
    forgetful.clear()
    launch = {"executor": "slurm", "workers": 3, "slurm": SLURM}
    spec = write_spec(tmp_path, search={"trials": 3, "proposer": "random"}, launch=launch)
    study = tmp_path / "study"
    with begin(forgetful, spec, study) as loop:
        until(lambda: len(list(study.glob("trials/*/*/claim.json"))) == 3)
        loop.kill()
    until(lambda: len(list(study.glob("trials/*/*/result.json"))) == 3)
    tickets = list(study.glob("trials/*/*/job.json"))
    for ticket in tickets:  # As ids that the controller has forgotten.
        said = json.loads(ticket.read_text())
        ticket.write_text(json.dumps({**said, "job": f"1_{said['index']}"}))
    complete(forgetful, spec, study)
    assert outcomes(state_of(study)) == expected(tmp_path / "local", 3)
    assert_each_ended_once(study)
