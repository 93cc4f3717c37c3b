"""How confirming runs change what a study found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import Metric, Objective
from codesign.report.columns import trial_columns
from codesign.report.figures import label, sd_of
from codesign.report.front import best_design
from codesign.spec.model import ConfirmSpec, DataSpec, LaunchSpec, SearchSpec, StudySpec
from codesign.study.findings import (
    Finding,
    best_finding,
    findings,
    planned_trials,
    to_confirm,
)
from codesign.study.folder import StudyFolder
from codesign.study.results import report_content
from codesign.study.state import StudyState, Trial

AUC = Objective(metric="auc", goal="maximize")
GFLOP = Objective(metric="gflop", goal="minimize")


def spec(*objectives: Objective, top: int = 2, seeds: int = 2) -> StudySpec:
    return StudySpec(
        name="s",
        data=DataSpec(source="toy"),
        model={"name": "toy"},
        train={},
        space={},
        budgets={},
        objectives=objectives or (AUC, GFLOP),
        baseline=None,
        search=SearchSpec(trials=6, confirm=ConfirmSpec(top=top, seeds=seeds)),
        launch=LaunchSpec(),
        seed=0,
    )


def trial(number: int, auc: float, gflop: float, **fields: Any) -> Trial:
    return Trial(
        **{
            "number": number,
            "kind": "search",
            "design": {"width": int(gflop)},
            "seed": number,
            "costs": {"gflop": gflop},
            "status": "completed",
            "metrics": {"auc": auc, "test_auc": auc - 0.01},
            **fields,
        }
    )


def state(*trials: Trial) -> StudyState:
    return StudyState(trials={t.number: t for t in trials})


SEARCHED = (
    trial(0, 0.70, 1.0),
    trial(1, 0.80, 2.0),
    trial(2, 0.79, 3.0),
    trial(3, 0.82, 4.0),
    trial(4, 0.0, 0.5, status="failed", metrics={}, failure="diverged"),
    trial(5, 0.90, 0.1, status="running", metrics={}),
)
CONFIRMED = (
    trial(6, 0.74, 4.0, kind="confirm", of=3),
    trial(7, 0.78, 4.0, kind="confirm", of=3),
    trial(8, 0.795, 2.0, kind="confirm", of=1),
    trial(9, 0.797, 2.0, kind="confirm", of=1),
)


def by_number(*trials: Trial, **fields: Any) -> dict[int, Finding]:
    return {f.trial.number: f for f in findings(state(*trials), spec(**fields))}


def test_the_front_holds_completed_trials_that_no_other_dominates() -> None:
    found = by_number(*SEARCHED, top=0)
    assert {n: f.on_front for n, f in found.items()} == {0: True, 1: True, 2: False, 3: True}
    assert {f.confirmed for f in found.values()} == {None}


def test_the_best_of_the_front_by_quality_are_confirmed_first() -> None:
    def chosen(*objectives: Objective, top: int) -> list[int]:
        return [t.number for t in to_confirm(state(*SEARCHED), spec(*objectives, top=top))]

    assert chosen(top=2) == [3, 1]
    assert chosen(top=9) == [3, 1, 0]
    assert chosen(GFLOP, AUC, top=1) == [3]  # a cost that is counted says nothing of quality


def test_the_baseline_is_always_among_the_confirmed() -> None:
    given = trial(0, 0.70, 5.0, kind="baseline")
    chosen = to_confirm(state(given, *SEARCHED[1:]), spec(top=2))
    assert [t.number for t in chosen] == [3, 0]


def test_a_confirmed_design_stands_for_the_mean_of_its_fresh_seeds_alone() -> None:
    found = by_number(*SEARCHED, *CONFIRMED)
    assert found[3].metrics["auc"] == pytest.approx(0.76)
    assert found[3].metrics["test_auc"] == pytest.approx(0.75)
    assert found[3].spread["auc"] == pytest.approx(0.0282842712)
    assert found[3].on_front is False
    assert found[1].metrics["auc"] == pytest.approx(0.796)
    assert [n for n, f in found.items() if f.confirmed] == [1, 3]


def test_a_design_counts_as_confirmed_only_when_all_its_seeds_have_trained() -> None:
    found = by_number(*SEARCHED, *CONFIRMED[:1])
    assert found[3].confirmed is False
    assert found[3].metrics["auc"] == 0.82


def test_a_design_that_diverges_on_a_fresh_seed_leaves_the_front() -> None:
    diverged = trial(7, 0.0, 4.0, kind="confirm", of=3, status="failed", failure="diverged")
    found = by_number(*SEARCHED, CONFIRMED[0], diverged)
    assert (found[3].confirmed, found[3].on_front) == (False, False)


def test_the_best_design_is_a_confirmed_one_where_some_are() -> None:
    lucky = trial(10, 0.99, 9.0)
    found = findings(state(*SEARCHED, *CONFIRMED, lucky), spec())
    best = best_finding(found, spec())
    assert best is not None
    assert best.trial.number == 1
    best = best_finding(found, spec(GFLOP, AUC))
    assert best is not None
    assert best.trial.number == 1


def test_a_lucky_single_run_takes_no_confirmed_design_off_the_front() -> None:
    lucky = trial(10, 0.99, 0.1)
    found = by_number(*SEARCHED, *CONFIRMED, lucky)
    assert {n for n, f in found.items() if f.on_front} == {1, 10}
    assert (found[1].confirmed, found[10].confirmed) == (True, False)
    best = best_finding(list(found.values()), spec())
    assert best is not None
    assert best.trial.number == 1


def test_figures_of_one_task_have_their_noise_and_say_what_they_are(tmp_path: Path) -> None:
    figures = {"auc": 0.8, "auc_sd": 0.3, "auc.cvr": 0.9, "auc_sd.cvr": 0.2, "test_auc.cvr": 0.7}
    cvr = Objective(metric="auc.cvr", goal="maximize")
    table = {"auc": Metric(name="auc", unit="", goal="maximize", source="learned", meaning="AUC")}
    found = report_content(
        spec(cvr, GFLOP, top=0),
        table,
        state(trial(0, 0.8, 1.0, metrics=figures)),
        StudyFolder(tmp_path),
    )
    assert found.trials[0].spread == {"auc": 0.3, "auc.cvr": 0.2}
    assert found.noise_sd["auc.cvr"] == 0.2
    meanings = {name: metric.meaning for name, metric in found.metrics.items()}
    assert meanings == {
        "auc": "AUC, mean over the tasks",
        "test_auc": "AUC, mean over the tasks",
        "auc.cvr": "AUC, of the task cvr",
        "test_auc.cvr": "AUC, of the task cvr",
    }
    assert found.quality.metric == "auc.cvr"
    assert label("test_auc.cvr") == "test AUC of cvr"
    relative = [c for c in trial_columns(found) if c.name == "test_auc.cvr"]
    assert [(c.label, c.texts) for c in relative] == [("test AUC of cvr", ("0.7000",))]


def test_one_fresh_seed_has_no_spread_and_sampling_noise_does_not_pass_for_it(
    tmp_path: Path,
) -> None:
    runs = [
        trial(0, 0.8, 1.0, metrics={"auc": 0.8, "auc_sd": 0.03}),
        trial(1, 0.7, 1.0, metrics={"auc": 0.7, "auc_sd": 0.03}, kind="confirm", of=0),
    ]
    found = report_content(spec(top=1, seeds=1), {}, state(*runs), StudyFolder(tmp_path))
    assert (found.trials[0].confirmed, found.trials[0].metrics["auc"]) == (True, 0.7)
    assert sd_of(found, found.trials[0], "auc") is None
    shown = best_design(found)
    assert "one run on a fresh seed" in shown
    assert "±" not in shown


def test_a_study_without_completed_trials_has_no_best() -> None:
    assert findings(state(*SEARCHED[4:]), spec()) == []
    assert best_finding([], spec()) is None


def test_planned_trials_count_what_is_still_to_come() -> None:
    ended = state(*SEARCHED[:5], trial(5, 0.5, 9.0))
    assert planned_trials(ended, spec(top=2, seeds=2)) == 6 + 4
    assert planned_trials(state(*SEARCHED[:2]), spec(top=2, seeds=2)) == 6 + 4
    exhausted = StudyState(trials=state(*SEARCHED[:1]).trials, exhausted=True)
    assert planned_trials(exhausted, spec(top=2, seeds=2)) == 1 + 2


@pytest.mark.parametrize(
    ("facts", "metrics", "on_front"),
    [
        ({}, {}, False),
        ({"memory": {"measured_gib": 2.1}}, {}, False),
        ({"memory": {"measured_gib": 2.0}}, {}, True),
        ({}, {"latency_ms": 1.0}, False),
    ],
)
def test_a_near_miss_is_feasible_by_the_measured_figure_of_the_very_budget_it_may_break(
    facts: dict[str, Any], metrics: dict[str, float], on_front: bool
) -> None:
    bounded = dataclasses.replace(spec(), budgets={"memory_per_device_gib": 2.0})
    missing = trial(0, 0.9, 1.0, misses={"memory_per_device_gib": "minimize"}, facts=facts)
    missing = dataclasses.replace(missing, metrics={**missing.metrics, **metrics})
    found = findings(state(missing, trial(1, 0.5, 2.0)), bounded)
    assert [f.on_front for f in found] == [on_front, not on_front]
