"""Device-hours: every attempt counts, whichever way it ended and however often the loop died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codesign import api
from codesign.spec.model import StudyBudgets
from codesign.study.spending import gpu_hours, used_up
from codesign.study.state import StudyState, fold
from codesign.study.store import Event
from tests.support.command import codesign
from tests.support.studies import run, state_of
from tests.support.toy_spec import write_spec

CREATED = {"kind": "search", "design": {}, "seed": 0, "costs": {}}


def state(*rows: tuple[float, str, int | None, dict[str, Any]]) -> StudyState:
    """Fold events of (seconds since the loop began, kind, trial, payload)."""
    return fold(
        Event(number=i, time=0.0, elapsed_s=elapsed_s, kind=kind, trial=trial, payload=payload)  # type: ignore[arg-type]
        for i, (elapsed_s, kind, trial, payload) in enumerate(rows, start=1)
    )


def submitted(attempt: int, processes: int = 1) -> dict[str, Any]:
    return {"attempt": attempt, "token": "t", "lost": attempt - 1, "processes": processes}


def ended(seconds: float | None) -> dict[str, Any]:
    return {"token": "t", "metrics": {}, "failure": None, "reason": "", "facts": {},
            "seconds": seconds}  # fmt: skip


OPENED = (0.0, "opened", None, {})
DISTURBED = (
    OPENED,
    (0.0, "created", 0, CREATED),
    (10.0, "submitted", 0, submitted(1, processes=4)),
    (40.0, "submitted", 0, submitted(2, processes=4)),  # its first attempt was lost: 4 × 30 s
    (45.0, "exhausted", None, {}),  # then its loop dies: 4 × 5 s
    OPENED,  # now with two processes
    (1.0, "submitted", 0, submitted(3, processes=2)),  # 4 × 1 s until it was seen to be gone
    (21.0, "completed", 0, ended(19.0)),  # 2 × 19 s, as its worker says
    (30.0, "created", 1, CREATED),
    (30.0, "submitted", 1, submitted(1, processes=2)),
    (36.0, "requested", None, {"id": "r", "ask": "cancel", "trials": [1]}),  # 2 × 6 s
    (40.0, "created", 2, CREATED),
    (40.0, "submitted", 2, submitted(1, processes=2)),  # and runs
    (50.0, "exhausted", None, {}),
)


def test_lost_failed_cancelled_and_running_attempts_all_count_times_their_processes() -> None:
    found = state(*DISTURBED)
    by_hand_s = 4 * 30 + 4 * 5 + 4 * 1 + 2 * 19 + 2 * 6
    assert gpu_hours(found) == pytest.approx((by_hand_s + 2 * 10) / 3600)
    later_s = found.wall_s + 100
    assert gpu_hours(found, later_s) == pytest.approx((by_hand_s + 2 * 110) / 3600)


def test_a_trial_taken_over_from_another_study_costs_nothing() -> None:
    rows = (OPENED, (0.0, "created", 0, CREATED), (0.0, "submitted", 0, submitted(1, processes=0)),
            (0.0, "completed", 0, ended(5000.0)))  # fmt: skip
    assert gpu_hours(state(*rows)) == 0


def test_a_trial_that_pauses_needs_as_much_as_its_share() -> None:
    rows = [OPENED]
    for number, (kind, seconds) in enumerate(
        (("reached", 60.0), ("reached", 80.0), ("reached", 70.0), ("completed", 3600.0))
    ):
        share = {"share": 0.25} if kind == "reached" else {}
        rows += [
            (0.0, "created", number, CREATED),
            (0.0, "submitted", number, submitted(1)),
            (0.0, kind, number, {**ended(seconds), **share}),
        ]
    typical_s = (70.0 + 80.0) / 2
    used_s = 60.0 + 80.0 + 70.0 + 3600.0
    enough = StudyBudgets(study_gpu_hours=(used_s + typical_s + 1) / 3600)
    assert not used_up(state(*rows), enough, 0.0)
    short = StudyBudgets(study_gpu_hours=(used_s + typical_s - 1) / 3600)
    assert "a trial takes 0.0208" in used_up(state(*rows), short, 0.0)


def test_what_runs_and_what_would_start_are_taken_to_need_the_median_of_those_completed() -> None:
    rows = [OPENED]
    for number, seconds in enumerate((600.0, 900.0, 3600.0)):
        rows += [
            (0.0, "created", number, CREATED),
            (0.0, "submitted", number, submitted(1)),
            (0.0, "completed", number, ended(seconds)),
        ]
    rows += [(0.0, "created", 3, CREATED), (0.0, "submitted", 3, submitted(1))]
    found = state(*rows)
    used_s = 600 + 900 + 3600 + 300  # five minutes later
    needed_hours = (used_s + 600 + 900) / 3600  # what is left of the one that runs, and the next
    enough, less = needed_hours + 1e-6, needed_hours - 1e-6
    assert used_up(found, StudyBudgets(study_gpu_hours=enough), 300.0) == ""
    assert "study_gpu_hours is used up" in used_up(found, StudyBudgets(study_gpu_hours=less), 300.0)


def test_a_study_stops_at_its_device_hours_and_the_count_outlives_the_loop(tmp_path: Path) -> None:
    budgets = {"gflop_per_example": 0.04, "study_gpu_hours": 1e-9}
    spec, study = write_spec(tmp_path, budgets=budgets), tmp_path / "study"
    said: list[str] = []
    api.optimize(spec, study=study, say=said.append)
    first = state_of(study)
    assert [trial.status for trial in first.trials.values()] == ["completed"]
    assert any("stopped: budgets.study_gpu_hours is used up" in line for line in said)
    assert gpu_hours(first) == pytest.approx(first.trials[0].seconds / 3600)
    api.optimize(spec, study=study)
    assert len(state_of(study).trials) == 1
    assert "of 1e-09 GPU-hours" in codesign("status", study).stdout
    assert "of 1e-09 used" in (study / "report.md").read_text()
    more = run(tmp_path, budgets={**budgets, "study_gpu_hours": 1.0})
    assert len(more.trials) == 6
    assert gpu_hours(more) > gpu_hours(first)


def test_a_study_that_trained_all_it_planned_was_not_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    budgets = {"gflop_per_example": 0.04, "study_gpu_hours": 1e-9}
    spec = write_spec(tmp_path, budgets=budgets, search={"trials": 1, "proposer": "random"})
    api.optimize(spec, study=tmp_path / "study", say=said.append)
    assert not any("stopped" in line for line in said)


def test_other_names_of_the_budget_are_refused_with_this_one(tmp_path: Path) -> None:
    done = codesign("validate", write_spec(tmp_path, budgets={"gpu_hours": 5}))
    assert done.returncode == 2
    assert "did you mean 'study_gpu_hours'?" in done.stderr
