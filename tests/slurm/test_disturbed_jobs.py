"""Jobs that a real cluster preempts, loses, cancels or ends: what becomes of their trials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.study.folder import StudyFolder
from codesign.study.queue import read_queue
from codesign.study.state import StudyState
from tests.slurm.cluster import Cluster
from tests.slurm.studies import (
    SLURM,
    WITHIN_S,
    assert_each_ended_once,
    begin,
    complete,
    job_of,
    outcomes,
    take_all_nodes,
    until,
)
from tests.support import studies
from tests.support.studies import state_of
from tests.support.toy_spec import TOY_SPEC, write_spec


def sections(fate: str, *, trials: int = 2, workers: int = 2, **launch: Any) -> dict[str, Any]:
    """Sections of a study whose trials all end in one way."""
    slurm = {**SLURM, **launch.pop("slurm", {})}
    return {
        "space": {**TOY_SPEC["space"], "fate": fate},
        "search": {"trials": trials, "proposer": "random"},
        "launch": {"executor": "slurm", "workers": workers, "slurm": slurm, **launch},
    }


def undisturbed(folder: Path, spec: dict[str, Any]) -> dict[int, Any]:
    """What the same trials come to where they complete at once; their fate is left out."""
    folder.mkdir()
    space = {**spec["space"], "fate": "completes"}
    here = {**spec, "space": space, "launch": {"workers": 1}}
    return without_fate(studies.run(folder, "local", **here))


def without_fate(state: StudyState) -> dict[int, Any]:
    """Return the outcomes, by trial."""
    found = outcomes(state)
    for _, design, *_ in found.values():
        design.pop("fate", None)
    return found


@contextlib.contextmanager
def under_way(cluster: Cluster, folder: Path, spec: dict[str, Any]) -> Iterator[Path]:
    """Disturb a study in the block, once all its first trials hang; then it must end well."""
    study = folder / "study"
    waiting = min(spec["search"]["trials"], spec["launch"]["workers"])
    with begin(cluster, write_spec(folder, **spec), study) as loop:
        until(lambda: len(list(study.glob("trials/*/attempt-1/began.txt"))) == waiting)
        yield study
        output, _ = loop.communicate(timeout=WITHIN_S)
    assert loop.returncode == 0, output
    (folder / "output.txt").write_text(output)
    assert_each_ended_once(study)


def test_a_preempted_job_saves_what_it_has_and_goes_on_in_its_own_folder(
    idle: Cluster, tmp_path: Path
) -> None:
    spec = sections("hangs_once")
    with under_way(idle, tmp_path, spec) as study:
        jobs = {job_of(study, trial) for trial in (0, 1)}
        take_all_nodes(idle, 3)
    assert without_fate(state_of(study)) == undisturbed(tmp_path / "local", spec)
    assert len(list(study.glob("trials/*/attempt-1/stopped.txt"))) == 2
    assert not list(study.glob("trials/*/attempt-2"))
    assert {job_of(study, trial) for trial in (0, 1)} == jobs


def test_a_job_that_is_preempted_for_good_is_followed_by_another_attempt(
    idle: Cluster, tmp_path: Path
) -> None:
    spec = sections("hangs_once", slurm={"partition": "spare"})
    with under_way(idle, tmp_path, spec) as study:
        jobs = {job_of(study, trial) for trial in (0, 1)}
        take_all_nodes(idle, 1)
    assert without_fate(state_of(study)) == undisturbed(tmp_path / "local", spec)
    assert len(list(study.glob("trials/*/attempt-2"))) == 2
    assert not {job_of(study, trial) for trial in (0, 1)} & jobs


def test_jobs_of_a_lost_node_begin_again_on_another(idle: Cluster, tmp_path: Path) -> None:
    spec = sections("hangs_once", trials=2)
    try:
        with under_way(idle, tmp_path, spec) as study:
            lost = idle.nodes_of(job_of(study, 0))[0]
            others = {t for t in (0, 1) if idle.nodes_of(job_of(study, t)) != [lost]}
            idle.lose(lost)
            for trial in others:  # They would wait for ever.
                idle.run("scontrol", "requeue", job_of(study, trial))
    finally:
        idle.restore(lost)
    assert without_fate(state_of(study)) == undisturbed(tmp_path / "local", spec)


def test_a_controller_that_is_away_is_waited_for_and_told_of_once(
    idle: Cluster, tmp_path: Path
) -> None:
    spec = sections("hangs_once")
    with under_way(idle, tmp_path, spec) as study:
        idle.stop_controller()
        until(lambda: bool(read_queue(StudyFolder(study)).outage))
        idle.start_controller()
        take_all_nodes(idle, 1)  # Lets the trials that hang go on.
    output = (tmp_path / "output.txt").read_text()
    assert output.count("does not answer") == 1
    assert output.count("answers again") == 1
    found = without_fate(state_of(tmp_path / "study"))
    assert found == undisturbed(tmp_path / "local", spec)


def test_a_time_limit_of_slurm_makes_a_trial_pause_and_one_of_the_study_ends_it(
    idle: Cluster, tmp_path: Path
) -> None:
    spec = sections("hangs_once", trials=1, slurm={"time_min": 1, "signal_s": 55})
    with under_way(idle, tmp_path, spec) as study:
        pass
    assert without_fate(state_of(study)) == undisturbed(tmp_path / "local", spec)
    assert not list(study.glob("trials/*/attempt-2"))
    (tmp_path / "late").mkdir()
    late = sections("hangs", trials=1, timeout_min=0.05)
    complete(idle, write_spec(tmp_path / "late", **late), tmp_path / "late/study")
    trial = state_of(tmp_path / "late/study").trials[0]
    assert (trial.failure, trial.attempt) == ("timeout", 1)
    assert trial.reason == "took longer than 3 s"


def test_a_job_that_somebody_cancelled_is_not_begun_again(idle: Cluster, tmp_path: Path) -> None:
    spec = sections("hangs_once", trials=1)
    with under_way(idle, tmp_path, spec) as study:
        idle.run("scancel", job_of(study, 0))
    trial = state_of(study).trials[0]
    assert (trial.failure, trial.attempt) == ("cancelled", 1)
    assert job_of(study, 0) in trial.reason


@pytest.mark.parametrize(
    ("slurm", "says"),
    [
        ({"setup": ["echo no such module >&2", "exit 3"]}, "no such module"),
        ({"partition": "gpus"}, "partition"),
        ({"sbatch": {"reservation": "ads"}}, "reservation"),
    ],
)
def test_what_no_trial_survives_ends_the_study_with_the_words_of_the_cluster(
    slurm: dict[str, Any], says: str, idle: Cluster, tmp_path: Path
) -> None:
    spec = write_spec(tmp_path, **sections("completes", trials=6, slurm=slurm))
    with begin(idle, spec, tmp_path / "study") as loop:
        output, _ = loop.communicate(timeout=WITHIN_S)
    assert loop.returncode == 6, output
    assert says in output
    assert "Traceback" not in output


def test_a_full_disk_ends_the_loop_and_costs_no_trial(idle: Cluster, tmp_path: Path) -> None:
    spec = sections("completes", trials=12, workers=3)
    path = write_spec(tmp_path, **spec)
    study = tmp_path / "study"
    with begin(idle, path, study, limit_bytes=24 * 1024) as loop:
        output, _ = loop.communicate(timeout=WITHIN_S)
    assert loop.returncode not in (0, -9)
    assert "error:" in output
    assert "Traceback" not in output
    complete(idle, path, study)
    assert without_fate(state_of(study)) == undisturbed(tmp_path / "local", spec)
    assert_each_ended_once(study)
