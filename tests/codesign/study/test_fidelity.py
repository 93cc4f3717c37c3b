"""Studies whose designs pause at rungs, and of which the best train on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign import api
from codesign.errors import SpecError
from codesign.spec.problem import load_problem
from codesign.study.folder import StudyFolder
from codesign.study.halving import last_resort, promotion
from codesign.study.proposals import next_design
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState, apply
from codesign.study.store import Event
from tests.support.command import codesign
from tests.support.kills import Disturbed
from tests.support.studies import essence, rewind, run, state_of, write_store
from tests.support.toy_spec import write_spec
from tests.support.toy_task import LEFT

RUNGS = [0.25, 0.5]
FIDELITY = {"rungs": RUNGS, "keep": 0.5}
SEARCH: dict[str, Any] = {"trials": 12, "proposer": "random", "fidelity": FIDELITY}
BASELINE = {"width": 2, "depth": 1, "lr": 0.1}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fidelity")
    run(folder, baseline=BASELINE, search={**SEARCH, "confirm": {"top": 1, "seeds": 2}})
    return folder / "study"


@pytest.fixture(scope="module")
def state(study: Path) -> StudyState:
    return state_of(study)


def test_the_baseline_and_confirming_runs_train_in_full(state: StudyState) -> None:
    [baseline], confirming = state.of_kind("baseline"), state.of_kind("confirm")
    assert (baseline.status, sorted(baseline.reached)) == ("completed", RUNGS)
    assert len(confirming) >= 1
    assert all((t.status, t.reached, t.attempt) == ("completed", {}, 1) for t in confirming)


def test_a_design_that_trains_on_continues_from_where_it_paused(state: StudyState) -> None:
    for trial in state.of_kind("baseline", "search"):
        # What the last attempt found of the one before.
        before = sorted(s for s in RUNGS if s < trial.share)
        assert trial.facts.get("from", []) == before[-1:]
        assert trial.attempt == len(before) + 1


def test_about_the_kept_share_of_each_rung_trains_on(state: StudyState) -> None:
    searched = state.of_kind("baseline", "search")
    at = [sum(rung in t.reached for t in searched) for rung in RUNGS]
    assert at[0] == 12
    assert len({json.dumps(t.design) for t in searched}) == 12
    # At least the best half (whoever joined it early stays promoted), and the baseline.
    assert 6 <= at[1] < 12
    completed = sum(t.status == "completed" for t in searched)
    assert at[1] // 2 <= completed < at[1]
    assert {t.status for t in searched} == {"completed", "paused"}


def test_only_full_trainings_are_ranked(study: Path, state: StudyState) -> None:
    content = api.report(study).content
    paused = {t.number for t in state.trials.values() if t.status == "paused"}
    shown = {t.number: t for t in content.trials}
    assert paused
    assert not paused & {t.number for t in content.front}
    for number in paused:
        assert shown[number].metrics == {}
        assert "of its training" in shown[number].reason
    assert content.best not in paused
    completed = sum(t.status == "completed" and t.kind != "confirm" for t in content.trials)
    assert len(content.hypervolume) == completed


def test_what_pausing_saved_is_counted_from_what_each_design_trained(
    study: Path, state: StudyState
) -> None:
    searched = state.of_kind("baseline", "search")
    # The toy task sees ten rows as many times as a design is deep.
    full = sum(10 * t.design["depth"] for t in searched)
    trained = sum(
        10 * t.design["depth"] * (1 if t.status == "completed" else max(t.reached))
        for t in searched
    )
    savings = api.report(study).content.savings
    assert (savings.trained_examples, savings.full_examples) == (trained, full)
    told = f"{trained:,.0f} examples trained of {full:,.0f}"
    status = codesign("status", study).stdout
    assert told in status
    assert f"{100 * (1 - trained / full):.0f}%" in status
    assert told in (study / "report.html").read_text()
    assert told in (study / "report.md").read_text()
    again = codesign("optimize", study.parent / "toy.yaml", "--study", study, "--json")
    assert json.loads(again.stdout)["savings"]["trained_examples"] == trained


def test_the_table_says_how_far_each_trained_and_what_it_measured_there(
    study: Path, state: StudyState
) -> None:
    rows = api.export(study).to_dicts()
    for row in rows:
        trial = state.trials[row["trial"]]
        assert row["share"] == trial.share
        assert row["measured_at_0.25.log_loss"] == trial.reached.get(0.25, {}).get("log_loss")


def test_what_paused_designs_left_goes_when_the_study_is_over(study: Path) -> None:
    assert list(study.rglob(LEFT)) == []


def test_a_study_made_longer_goes_on_with_paused_designs(tmp_path: Path) -> None:
    short = {**SEARCH, "trials": 4}
    first = run(tmp_path, search=short, seed=4)
    longer = run(tmp_path, search=SEARCH, seed=4)
    whole = run(tmp_path, "whole", search=SEARCH, seed=4)
    assert [dict(t.design) for t in longer.trials.values()] == [
        dict(t.design) for t in whole.trials.values()
    ]
    assert any(longer.trials[n].share > t.share for n, t in first.trials.items()), (
        "more designs make room for more promotions"
    )


def test_a_search_too_short_for_a_promotion_trains_its_best_in_full(tmp_path: Path) -> None:
    search = {"trials": 3, "proposer": "random", "fidelity": {"rungs": RUNGS, "keep": 0.1}}
    state = run(tmp_path, search=search, objectives=[{"metric": "log_loss"}])
    losses = {n: t.reached[0.25]["log_loss"] for n, t in state.trials.items()}
    best = min(losses, key=losses.__getitem__)
    assert {n for n, t in state.trials.items() if t.status == "completed"} == {best}


def test_where_the_last_resort_diverges_the_next_best_trains_on(tmp_path: Path) -> None:
    search = {"trials": 2, "proposer": "random", "fidelity": {"rungs": [0.25], "keep": 0.1}}
    space = {"width": {"low": 1, "high": 16}, "depth": 1, "fate": "diverges_late"}
    state = run(tmp_path, search=search, space=space)
    assert [t.failure for t in state.trials.values()] == ["diverged"] * 2
    assert all(list(t.reached) == [0.25] for t in state.trials.values())
    assert list((tmp_path / "study").rglob(LEFT)) == []


def test_a_proposer_sees_every_point_of_every_curve_and_what_trains_now(
    tmp_path: Path, study: Path, state: StudyState
) -> None:
    problem = load_problem(write_spec(tmp_path, search=SEARCH, baseline=BASELINE))
    seen: dict[str, Any] = {}

    class Recorder:
        def ask(self, feasible, observed, pending, n, rng):
            seen.update(observed=observed, pending=pending)
            return []

    next_design(problem, Recorder(), state)
    expected = [
        (t.design, share, metrics["log_loss"])
        for t in state.of_kind("baseline", "search")
        for share, metrics in [*t.reached.items(), *([(1.0, t.metrics)] * (t.share == 1))]
    ]
    found = [(o.design, o.fidelity, o.metrics["log_loss"]) for o in seen["observed"]]
    assert found == expected
    assert all("gflop_per_example" in o.metrics for o in seen["observed"])
    assert seen["pending"] == []


@pytest.mark.parametrize("kind", ["kill_loops", "kill_workers"])
def test_kills_change_no_promotion(tmp_path: Path, kind: str) -> None:
    sections = {"search": {**SEARCH, "trials": 8}, "launch": {"workers": 1, "attempts": 100}}
    disturbed = Disturbed(tmp_path, np.random.default_rng(7), sections)
    result = getattr(disturbed, kind)(2)
    assert result.hits == 2
    assert result.faults == 0


def test_with_several_workers_each_decision_follows_from_the_events_before_it(
    tmp_path: Path,
) -> None:
    run(tmp_path, search={**SEARCH, "trials": 20}, launch={"workers": 3})
    problem = load_problem(tmp_path / "toy.yaml")
    state, promoted, begun = StudyState(), 0, 0
    for event in recorded_events(StudyFolder(tmp_path / "study")):
        before, state = state, apply(state, event)
        if event.kind == "created":
            assert promotion(before, problem.spec) is None
            begun += 1
        elif event.kind == "submitted" and before.trials[event.trial].reached:
            expected = promotion(before, problem.spec) or last_resort(before, problem.spec)
            assert expected is before.trials[event.trial]
            promoted += 1
    assert (begun, promotion(state, problem.spec)) == (20, None)
    assert promoted > 5


def test_a_result_at_a_rung_that_no_loop_saw_is_collected(tmp_path: Path) -> None:
    undisturbed = run(tmp_path, "undisturbed", search=SEARCH)
    run(tmp_path, search=SEARCH)
    reached = [e for e in recorded_events(StudyFolder(tmp_path / "study")) if e.kind == "reached"]
    cut = reached[4].number
    rewind(tmp_path / "study", lambda event: event.number < cut)
    again = run(tmp_path, search=SEARCH)
    assert essence(again) == essence(undisturbed)
    later = [
        e.kind
        for e in recorded_events(StudyFolder(tmp_path / "study"))
        if e.number >= cut and e.trial == reached[4].trial
    ]
    assert later[0] == "reached", "no attempt was needed for it"


def test_a_paused_trial_can_be_cancelled_and_never_trains_on(tmp_path: Path) -> None:
    run(tmp_path, search={**SEARCH, "trials": 4})
    events = list(recorded_events(StudyFolder(tmp_path / "study")))
    paused = [n for n, t in state_of(tmp_path / "study").trials.items() if t.status == "paused"]
    request = {"id": "x", "ask": "cancel", "trials": paused, "total": 0}
    last = events[-1]
    events.append(
        Event(number=last.number + 1, time=last.time, kind="requested", trial=None, payload=request)
    )
    folder = StudyFolder(tmp_path / "study")
    folder.store.unlink()
    folder.snapshot.unlink()
    write_store(folder.store, events)
    longer = run(tmp_path, search=SEARCH)
    assert {longer.trials[n].status for n in paused} == {"cancelled"}
    assert {longer.trials[n].attempt for n in paused} <= {1, 2}


def test_a_study_from_before_rungs_goes_on(tmp_path: Path) -> None:
    plain = {"trials": 4, "proposer": "random"}
    run(tmp_path, search=plain)
    study = tmp_path / "study"
    known = json.loads((study / "spec.json").read_text())
    assert "fidelity" not in known["identity"]["search"]
    folder = StudyFolder(study)
    events = recorded_events(folder)
    for event in events:
        if event.kind == "created":
            del event.payload["examples"]
    folder.store.unlink()
    folder.snapshot.unlink()
    write_store(folder.store, events)
    longer = run(tmp_path, search={**plain, "trials": 6})
    assert [t.status for t in longer.trials.values()] == ["completed"] * 6
    assert api.report(study).content.savings is None


@pytest.mark.parametrize(
    ("fidelity", "model", "said"),
    [
        ({"rungs": [0.5, 0.25]}, None, r"search\.fidelity\.rungs is \[0\.5, 0\.25\]; must rise"),
        ({"rungs": [0.0, 0.5]}, None, r"rungs.* is 0\.0; must be"),
        ({"rungs": [0.5, 1.0]}, None, r"rungs.* is 1\.0; must be"),
        ({"rungs": [0.5, 0.5]}, None, "rungs"),
        ({"rungs": []}, None, "rungs"),
        ({"rungs": [0.5], "keep": 1.5}, None, r"search\.fidelity\.keep is 1\.5"),
        ({"keep": 0.5}, None, "rungs"),
        ({"rungs": [0.5], "kept": 0.5}, None, "kept"),
        ({"rungs": [0.5]}, "tests.support.whole_task", "trains in full only"),
    ],
)
def test_rungs_that_cannot_be_are_refused_with_their_line(
    tmp_path: Path, fidelity: dict[str, Any], model: str | None, said: str
) -> None:
    sections = {"model": {"name": model}} if model else {}
    spec = write_spec(tmp_path, search={"trials": 2, "fidelity": fidelity}, **sections)
    with pytest.raises(SpecError, match=said) as caught:
        load_problem(spec)
    assert "toy.yaml:" in str(caught.value)


def test_an_estimate_takes_the_kept_share_to_train_on() -> None:
    from codesign.spec.model import FidelitySpec

    rng = np.random.default_rng(0)
    fidelity = FidelitySpec(rungs=(0.1, 0.4), keep=0.3)
    designs = 200_000
    # Each design survives each rung by chance.
    survived = rng.random((designs, 2)) < fidelity.keep
    share = np.where(survived[:, 0], np.where(survived[:, 1], 1.0, 0.4), 0.1)
    assert fidelity.expected_share == pytest.approx(share.mean(), abs=5 / math.sqrt(designs))
