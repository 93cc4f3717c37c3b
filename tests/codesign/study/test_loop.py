"""Whole studies with real worker processes over the toy task."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign import api
from codesign.errors import LaunchError, StudyError
from codesign.study.state import StudyState, fold
from codesign.study.store import Event
from codesign.study.view import View
from tests.support.studies import essence, rewind, run, state_of
from tests.support.toy_spec import TOY_SPEC, write_spec

ONE_KNOB = {"width": {"low": 1, "high": 16}, "depth": 1}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> StudyState:
    return run(tmp_path_factory.mktemp("undisturbed"), search={"trials": 12, "proposer": "random"})


def test_a_study_trains_its_trials_within_budget_and_writes_page_and_best(tmp_path: Path) -> None:
    state = run(tmp_path)
    assert [t.status for t in state.trials.values()] == ["completed"] * 6
    assert all(t.costs["gflop_per_example"] <= 0.04 for t in state.trials.values())
    designs = [json.dumps(t.design, sort_keys=True) for t in state.trials.values()]
    assert len(set(designs)) == 6
    assert (tmp_path / "study/report.html").stat().st_size > 10_000
    assert "selected_by: minimize log_loss" in (tmp_path / "study/best.yaml").read_text()


def test_the_same_seed_gives_the_same_study(tmp_path: Path, undisturbed: StudyState) -> None:
    again = run(tmp_path, search={"trials": 12, "proposer": "random"})
    assert essence(again) == essence(undisturbed)


def test_running_again_continues_where_the_study_stood(
    tmp_path: Path, undisturbed: StudyState
) -> None:
    run(tmp_path, search={"trials": 5, "proposer": "random"})
    longer = run(tmp_path, search={"trials": 12, "proposer": "random"})
    assert essence(longer) == essence(undisturbed)
    events_before = len(longer.trials)
    assert len(run(tmp_path, search={"trials": 12, "proposer": "random"}).trials) == events_before


@pytest.mark.parametrize("after_events", [2, 7, 20])
def test_a_loop_killed_at_any_event_loses_nothing(
    tmp_path: Path, undisturbed: StudyState, after_events: int
) -> None:
    spec = write_spec(tmp_path, search={"trials": 12, "proposer": "random"})
    program = (
        "import os, sys\n"
        "from codesign import api\n"
        "from codesign.study import store\n"
        "append, seen = store.Store.append, []\n"
        "def append_and_die(self, *a, **k):\n"
        "    event = append(self, *a, **k)\n"
        "    seen.append(event)\n"
        f"    if len(seen) == {after_events}: os.kill(os.getpid(), 9)\n"
        "    return event\n"
        "store.Store.append = append_and_die\n"
        "api.optimize(sys.argv[1], study=sys.argv[2])\n"
    )
    study = tmp_path / "study"
    killed = subprocess.run([sys.executable, "-c", program, str(spec), str(study)], check=False)
    assert killed.returncode == -signal.SIGKILL
    state = run(tmp_path, search={"trials": 12, "proposer": "random"})
    assert essence(state) == essence(undisturbed)


def test_a_result_that_was_written_while_no_loop_ran_is_collected(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    rewind(tmp_path / "study", lambda event: event.kind != "completed")
    state = run(tmp_path, search={"trials": 1, "proposer": "random"})
    assert (state.trials[0].status, state.trials[0].attempt) == ("completed", 1)


@pytest.mark.parametrize(
    ("fate", "failure", "attempts"),
    [
        ("diverges", "diverged", 1),
        ("out_of_memory", "out_of_memory", 1),
        ("dies", "node", 3),
        ("dies_once", None, 2),
        ("hangs", "timeout", 1),
        ("nan", "diverged", 1),
        ("forgets", "bug", 1),
    ],
)
def test_each_way_to_fail_has_its_kind(
    tmp_path: Path, fate: str, failure: str | None, attempts: int
) -> None:
    state = run(
        tmp_path,
        space={**ONE_KNOB, "fate": fate},
        search={"trials": 1, "proposer": "random"},
        launch={"workers": 1, "timeout_min": 0.05},
    )
    assert (state.trials[0].failure, state.trials[0].attempt) == (failure, attempts)


def test_a_trial_of_several_processes_that_lost_them_is_tried_again(tmp_path: Path) -> None:
    state = run(
        tmp_path,
        space={**ONE_KNOB, "fate": "dies_once"},
        search={"trials": 1, "proposer": "random"},
        launch={"workers": 1, "processes": 2},
    )
    assert (state.trials[0].failure, state.trials[0].attempt) == (None, 2)
    attempts = tmp_path / "study/trials/0000"
    lost = json.loads((attempts / "attempt-1/result.json").read_text())
    assert lost["failure"] == "node"
    assert "of 2 ended with signal 9" in lost["reason"]
    assert (attempts / "attempt-2/log-rank1.txt").exists()


def test_bugs_stop_the_study_with_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="2 trials failed with a bug") as caught:
        run(
            tmp_path,
            space={**ONE_KNOB, "fate": "bug"},
            launch={"workers": 1, "max_bugs": 2},
        )
    assert "ZeroDivisionError: a toy bug" in str(caught.value)
    assert "ZeroDivisionError" in (tmp_path / "study/trials/0000/attempt-1/log.txt").read_text()


def test_a_refusal_stops_the_study_without_a_traceback_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="toy: 7 does not divide 2\n  hint: choose 1") as caught:
        run(
            tmp_path,
            space={**ONE_KNOB, "fate": "refused"},
            launch={"workers": 1, "max_bugs": 1},
        )
    assert "Traceback" not in str(caught.value)


def test_a_space_smaller_than_the_trials_ends_early(tmp_path: Path) -> None:
    state = run(tmp_path, space={"width": [1, 2, 4], "depth": 1})
    assert len(state.trials) == 3


def test_the_baseline_is_trained_first_and_the_front_is_confirmed(tmp_path: Path) -> None:
    state = run(
        tmp_path,
        baseline={"width": 2, "depth": 2, "lr": 0.01},
        search={"trials": 6, "proposer": "random", "confirm": {"top": 2, "seeds": 3}},
        launch={"workers": 2},
    )
    kinds = [trial.kind for trial in state.trials.values()]
    assert kinds == ["baseline"] + ["search"] * 5 + ["confirm"] * 6
    confirmed = [t for t in state.trials.values() if t.kind == "confirm"]
    assert len({t.of for t in confirmed}) == 2
    assert len({t.seed for t in state.trials.values()}) == 12
    best = yaml.safe_load((tmp_path / "study/best.yaml").read_text())
    assert len(best["confirmed"]["seeds"]) == 3
    assert best["confirmed"]["measured_mean"].keys() == best["measured_with_this_seed"].keys()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    strange = tmp_path / "study"
    strange.mkdir()
    (strange / "spec.yaml").write_text("precious: 1\n")
    with pytest.raises(StudyError, match=r"is no study folder, yet it holds spec\.yaml"):
        run(tmp_path)
    assert (strange / "spec.yaml").read_text() == "precious: 1\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be used as a study folder"):
        run(tmp_path, "file")


def test_interruptions_of_the_loop_do_not_use_up_the_attempts_of_a_trial(tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "space": {**ONE_KNOB, "fate": "dies"},
        "search": {"trials": 1, "proposer": "random"},
        "launch": {"workers": 1, "attempts": 2},
    }
    run(tmp_path, **sections)
    rewind(tmp_path / "study", lambda event: event.number <= 3)
    trial = run(tmp_path, **sections).trials[0]
    # The folder of the second attempt was there already: none is used twice.
    assert (trial.failure, trial.attempt, trial.lost) == ("node", 4, 1)


def test_another_spec_in_the_same_folder_is_refused_with_the_difference(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    with pytest.raises(StudyError, match=r"seed: 3 → 4"):
        run(tmp_path, search={"trials": 1, "proposer": "random"}, seed=4)


def test_interrupting_leaves_a_study_that_continues(
    tmp_path: Path, undisturbed: StudyState
) -> None:
    spec = write_spec(tmp_path, search={"trials": 12, "proposer": "random"})
    study = str(tmp_path / "study")
    loop = subprocess.Popen(
        [sys.executable, "-m", "codesign", "optimize", str(spec), "--study", study],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert loop.stderr is not None
    for line in loop.stderr:
        if line.startswith("[2/"):
            loop.send_signal(signal.SIGINT)
            break
    _, errors = loop.communicate(timeout=60)
    assert loop.returncode == 130
    assert "run the same command again to continue" in errors
    state = run(tmp_path, search={"trials": 12, "proposer": "random"})
    assert essence(state) == essence(undisturbed)


def test_known_cost_search_inside_ax_repeats_itself_and_stays_feasible(tmp_path: Path) -> None:
    search = {"trials": 8, "proposer": "known_cost", "options": {"initial": 4, "candidates": 64}}
    first, second = run(tmp_path, "a", search=search), run(tmp_path, "b", search=search)
    assert essence(first) == essence(second)
    assert all(t.costs["gflop_per_example"] <= 0.04 for t in first.trials.values())


def test_the_report_is_made_again_from_the_record_alone(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    first = api.optimize(spec, study=tmp_path / "study", overrides=["search.trials=3", "name=mine"])
    page = tmp_path / "study/report.html"
    page.unlink()
    again = api.report(tmp_path / "study")
    assert page.exists()
    assert again.content == first.content
    assert (again.content.study, len(again.content.trials)) == ("mine", 3)
    assert again.content.spec_yaml.endswith("# --set search.trials=3\n# --set name=mine")
    with pytest.raises(StudyError, match="holds no study"):
        api.report(tmp_path)


def test_a_study_that_is_removed_while_it_runs_is_not_begun_again_by_its_loop(
    tmp_path: Path,
) -> None:
    study = tmp_path / "study"

    def remove(view: View) -> None:
        if len(view.state.trials) == 2:
            shutil.rmtree(study)

    with pytest.raises(StudyError):
        api.optimize(write_spec(tmp_path), study=study, watch=remove)
    assert not study.exists()


def test_no_thread_or_process_outlives_a_study(tmp_path: Path) -> None:
    before = threading.active_count()
    run(tmp_path)
    assert threading.active_count() == before
    assert TOY_SPEC["launch"] == {"workers": 1}


def test_a_bound_on_trials_is_kept_whatever_the_search_asks_for(tmp_path: Path) -> None:
    budgets = {"gflop_per_example": 0.04, "trials": 2}
    assert len(run(tmp_path, budgets=budgets).trials) == 2


def test_nothing_starts_once_the_wall_hours_are_used_up(tmp_path: Path) -> None:
    budgets = {"gflop_per_example": 0.04, "wall_hours": 1e-9}
    said: list[str] = []
    spec = write_spec(tmp_path, budgets=budgets)
    api.optimize(spec, study=tmp_path / "study", say=said.append)
    state = state_of(tmp_path / "study")
    assert not any(trial.open for trial in state.trials.values())
    assert len(state.trials) < 6
    assert any("wall_hours is used up" in line for line in said)
    more = run(tmp_path, budgets={"gflop_per_example": 0.04, "wall_hours": 1})
    assert len(more.trials) == 6
    assert 0 < more.wall_s < 3600


def test_time_between_runs_and_a_clock_set_back_do_not_count_as_wall_time() -> None:
    events = [
        Event(number=i, time=time, elapsed_s=elapsed_s, kind=kind, trial=None, payload={})
        for i, (time, elapsed_s, kind) in enumerate(
            [(100.0, 0.0, "opened"), (110.0, 10.0, "exhausted"), (900.0, 0.0, "opened"),
             (905.0, 5.0, "exhausted"), (5.0, 5.0, "exhausted"), (6.0, 6.0, "exhausted")],
            start=1,
        )
    ]  # fmt: skip
    assert fold(events).wall_s == 10 + 6


def test_knobs_that_sleep_are_not_shown_but_stand_in_the_design_file(tmp_path: Path) -> None:
    space = {"form": ["a", "b"], "width": {"low": 2, "high": 4, "when": {"form": "b"}}, "depth": 2}
    result = api.optimize(
        write_spec(tmp_path, space=space, search={"trials": 4, "proposer": "random"}),
        study=tmp_path / "study",
    )
    shown = {trial.number: trial.design for trial in result.content.trials}
    for number, trial in state_of(tmp_path / "study").trials.items():
        sleeps = trial.design["form"] == "a"
        assert ("width" in shown[number]) is not sleeps
        assert "width" in trial.design
    assert "width:" in (tmp_path / "study/best.yaml").read_text()
