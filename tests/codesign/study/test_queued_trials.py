"""Loops whose trials are jobs of a cluster, which go on without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codesign import api
from codesign.api.studies import StudyResult
from codesign.contracts import Outcome
from codesign.study.folder import StudyFolder
from codesign.study.queue import read_queue
from codesign.study.requests import Request, send
from codesign.study.view import View
from tests.support.command import codesign
from tests.support.studies import essence, run, state_of
from tests.support.toy_cluster import Cluster, cluster
from tests.support.toy_spec import write_spec

RANDOM = {"trials": 6, "proposer": "random"}
LAUNCH = {"executor": "tests.support.toy_cluster", "workers": 3}


class Watched:
    """Runs a study on its cluster; at each view the cluster does what a test says."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.study = folder / "study"
        self.spec = write_spec(folder, **{"search": RANDOM, "launch": LAUNCH, **sections})
        self.cluster: Cluster = cluster(self.study)
        self.said: list[str] = []

    def run(self, *steps: Callable[[View], object], then: Callable[[View], object]) -> StudyResult:
        """Run the loop; each step is for one view with new events, `then` for all views after."""
        left = list(steps)

        def watch(view: View) -> None:
            if left and len(self.cluster.submitted) >= min(3, view.planned):
                left.pop(0)(view)
            elif not left:
                then(view)

        return api.optimize(self.spec, study=self.study, watch=watch, say=self.said.append)

    def finish_all(self, _: View) -> None:
        """Train all that are in the queue."""
        for trial in list(self.cluster.open):
            self.cluster.finish(trial)


def interrupt(_: View) -> None:
    raise KeyboardInterrupt


def attempts(study: Path) -> list[int]:
    return [trial.attempt for trial in state_of(study).trials.values()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What comes of the study with three local workers' worth of trials at a time."""
    watched = Watched(tmp_path_factory.mktemp("undisturbed"))
    watched.run(then=watched.finish_all)
    return essence(state_of(watched.study))


def test_jobs_outlive_an_interrupted_loop_and_are_collected_by_the_next(
    tmp_path: Path, undisturbed: list[Any]
) -> None:
    watched = Watched(tmp_path)
    assert watched.run(interrupt, then=interrupt).interrupted
    assert any(line.startswith("3 jobs go on in the queue") for line in watched.said)
    assert sorted(read_queue(StudyFolder(watched.study)).jobs) == [0, 1, 2]
    watched.cluster.finish(1)  # While no loop runs.
    assert not watched.run(then=watched.finish_all).interrupted
    assert len(watched.cluster.submitted) == 6, "none was submitted twice"
    assert attempts(watched.study) == [1] * 6
    assert essence(state_of(watched.study)) == undisturbed
    assert read_queue(StudyFolder(watched.study)).jobs == {}


def test_a_job_that_the_cluster_lost_runs_again_in_another_attempt(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.run(interrupt, then=interrupt)
    del watched.cluster.open[2]
    watched.run(then=watched.finish_all)
    assert watched.said[-1].endswith("are not found; their trials run again: 1002")
    assert attempts(watched.study) == [1, 1, 2, 1, 1, 1]
    assert [t.status for t in state_of(watched.study).trials.values()] == ["completed"] * 6


def test_a_study_goes_on_with_other_workers(tmp_path: Path, undisturbed: list[Any]) -> None:
    """Its jobs are the business of the executor that has them: local workers train them again."""
    watched = Watched(tmp_path)
    watched.run(interrupt, then=interrupt)
    watched.cluster.finish(0)
    state = run(tmp_path, search=RANDOM, launch={"workers": 1})
    assert [t.attempt for t in state.trials.values()] == [1, 2, 2, 1, 1, 1]
    of_knobs = [(number, design) for number, _, design, *_ in undisturbed[:3]]
    assert [(number, design) for number, _, design, *_ in essence(state)[:3]] == of_knobs


def test_stop_now_ends_the_jobs_which_run_again_later(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    folder = StudyFolder(watched.study)
    stop = Request(ask="stop now")
    assert watched.run(lambda _: send(folder, stop), then=lambda _: None).interrupted
    assert watched.cluster.cancelled == [0, 1, 2]
    watched.run(then=watched.finish_all)
    assert attempts(watched.study) == [2, 2, 2, 1, 1, 1]
    assert {t.status for t in state_of(watched.study).trials.values()} == {"completed"}


def test_cancelled_trials_end_on_the_cluster_and_cost_what_they_ran(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    folder = StudyFolder(watched.study)
    watched.run(
        lambda _: watched.cluster.start(1, seconds=90.0),
        lambda _: send(folder, Request(ask="cancel", trials=(0, 1))),
        then=lambda view: 0 in view.queue.jobs or watched.finish_all(view),
    )
    trials = state_of(watched.study).trials
    assert watched.cluster.cancelled == [0, 1]
    assert [trials[i].status for i in (0, 1, 2)] == ["cancelled", "cancelled", "completed"]
    assert (trials[0].device_s, trials[1].device_s) == (0.0, 90.0), "one waited, one ran"


def test_a_trial_cancelled_by_somebody_on_the_cluster_has_failed_and_is_not_retried(
    tmp_path: Path,
) -> None:
    watched = Watched(tmp_path)
    ended = Outcome(failure="cancelled", reason="its job was cancelled on the cluster")
    watched.run(lambda _: watched.cluster.end(0, ended), then=watched.finish_all)
    trial = state_of(watched.study).trials[0]
    assert (trial.status, trial.failure, trial.attempt) == ("failed", "cancelled", 1)
    assert [each.failure for each in trial.observations] == ["preempted"], "says nothing of it"


def test_starts_of_a_job_count_among_the_attempts(tmp_path: Path) -> None:
    watched = Watched(tmp_path, launch={**LAUNCH, "attempts": 4})

    def preempted(_: View) -> None:
        facts = {"starts": 2}
        outcome = Outcome(failure="preempted", reason="told to stop", facts=facts, seconds=50.0)
        watched.cluster.end(0, outcome)

    watched.run(preempted, lambda _: None, preempted, then=watched.finish_all)
    first = [job for job in watched.cluster.submitted if job.trial == 0]
    assert [(job.attempt, job.starts) for job in first] == [(1, 4), (2, 2)]
    trial = state_of(watched.study).trials[0]
    assert (trial.failure, trial.lost, trial.device_s) == ("preempted", 2, 100.0)


def test_a_trial_that_waits_uses_nothing_of_the_budget(tmp_path: Path) -> None:
    watched = Watched(tmp_path, budgets={"gflop_per_example": 0.04, "study_gpu_hours": 0.05})
    seen: list[float] = []

    def look(view: View) -> None:
        seen.append(api.status(watched.study).gpu_hours)
        if len(seen) == 1:
            for trial in view.queue.jobs:
                watched.cluster.start(trial, seconds=36.0)
        elif seen[-1] > 0:
            watched.finish_all(view)

    watched.run(then=lambda view: look(view) if len(watched.cluster.submitted) >= 3 else None)
    assert seen[0] == 0.0
    assert next(filter(None, seen)) == pytest.approx(0.03), "three devices, 36 s each"
    assert len(watched.cluster.submitted) == 6, "1 s each is what they took in the end"


def test_a_batch_reaches_the_cluster_together_and_readers_see_where_it_stands(
    tmp_path: Path,
) -> None:
    watched = Watched(tmp_path)
    told: list[dict[str, Any]] = []

    def read(_: View) -> None:
        told.append(json.loads(StudyFolder(watched.study).queue.read_text()))

    def start_and_lose_touch(_: View) -> None:
        watched.cluster.start(0)
        watched.cluster.answers = False

    def wait(view: View) -> None:
        if view.queue.outage and read_queue(StudyFolder(watched.study)).outage:
            read(view)
            watched.cluster.answers = True
        elif watched.cluster.answers:
            watched.finish_all(view)

    watched.run(read, start_and_lose_touch, then=wait)
    assert watched.cluster.batches[0] == 3
    before, after = told
    assert before["jobs"]["0"] == {
        "job": "1000", "state": "PENDING", "reason": "Priority", "nodes": "", "starts": 0,
        "seconds": 0.0,
    }  # fmt: skip
    assert (before["outage"], after["outage"]) == ("", "the cluster does not answer")
    assert (after["jobs"]["0"]["state"], after["jobs"]["0"]["nodes"]) == ("RUNNING", "n1")
    assert before["time"] < after["time"]


def test_the_status_of_jobs_that_go_on_without_a_loop(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.run(
        lambda _: watched.cluster.start(1, seconds=5.0),
        lambda _: None,
        then=lambda _: read_queue(StudyFolder(watched.study)).jobs[1].nodes and interrupt(_),
    )
    lines = codesign("status", watched.study).stdout.splitlines()
    assert lines[0] == "toy: nothing runs"
    assert "queue    2 PENDING (Priority), 1 RUNNING" in lines
    assert "running  trial 1: has said nothing yet, job 1001 RUNNING on n1" in lines
    found = api.status(watched.study)
    assert [trial.waits for trial in found.running] == [True, False, True]
    told = json.loads(codesign("status", watched.study, "--json").stdout)
    assert told["running"][1]["queued"]["job"] == "1001"


def test_jobs_without_a_loop_can_be_ended_too(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.run(interrupt, then=interrupt)
    assert api.stop(watched.study).jobs == 3
    assert watched.cluster.cancelled == [], "only with --now"
    assert api.stop(watched.study, now=True).jobs == 3
    assert watched.cluster.cancelled == [0, 1, 2]
    assert read_queue(StudyFolder(watched.study)).jobs == {}
    watched.run(then=watched.finish_all)
    assert attempts(watched.study) == [2, 2, 2, 1, 1, 1]


def test_a_result_of_another_attempt_does_not_count(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.run(interrupt, then=interrupt)
    del watched.cluster.open[0]
    left = watched.study / "trials/0000/attempt-1/result.json"
    left.write_text(json.dumps({"token": "of an orphan", "metrics": {"log_loss": -1.0}}))
    watched.run(then=watched.finish_all)
    trial = state_of(watched.study).trials[0]
    assert (trial.attempt, trial.status) == (2, "completed")
    assert trial.metrics["log_loss"] > 0
