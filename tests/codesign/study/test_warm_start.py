"""A study that learns from the trials of earlier ones."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign import api
from codesign.errors import StudyError
from codesign.study.folder import StudyFolder
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState
from codesign.study.store import Store
from tests.support.command import codesign
from tests.support.recorder import told
from tests.support.studies import essence, state_of, write_store
from tests.support.toy_spec import TOY_SPEC, write_spec

SPACE: dict[str, Any] = TOY_SPEC["space"]


def run(folder: Path, study: str, *earlier: Path, **sections: Any) -> StudyState:
    sections = {"search": {"trials": 2, "proposer": "random"}, **sections}
    api.optimize(write_spec(folder, **sections), study=folder / study, warm_start=earlier)
    return state_of(folder / study)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyState]:
    folder = tmp_path_factory.mktemp("old")
    search = {"trials": 8, "proposer": "random", "confirm": {"top": 1, "seeds": 2}}
    state = run(folder, "old", name="first", search=search)
    return folder / "old", state


def test_the_proposer_is_told_each_trial_of_the_search_as_one_of_a_related_task(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    folder, known = old
    budgets = {"gflop_per_example": 0.02}
    state = run(tmp_path, "new", folder, budgets=budgets, train={"fate": "completes"})
    observed = told(tmp_path / "toy.yaml", tmp_path / "new").observed
    related = [o for o in observed if o.task]
    searched = known.of_kind("search")
    assert {o.task for o in related} == {"first"}
    assert [dict(o.design) for o in related] == [dict(t.design) for t in searched]
    assert len(known.of_kind("confirm")) == 2
    for observation, trial in zip(related, searched, strict=True):
        assert observation.metrics["log_loss"] == trial.metrics["log_loss"]
        assert observation.metrics["gflop_per_example"] == trial.costs["gflop_per_example"]
        assert (observation.failure, observation.fidelity) == (None, 1.0)
    own = [o for o in observed if not o.task]
    assert [o.design for o in own] == [t.design for t in state.trials.values()]
    assert len(state.trials) == 2, "no trial is taken over"


def test_values_go_to_the_nearest_level_within_half_a_step_or_the_trial_is_left_out(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    folder, known = old
    levels = [1, 4, 6]  # Half a step: up to 2.5 there, 5 between, 7 at the end.
    state = run(tmp_path, "new", folder, space={**SPACE, "width": levels})
    fitting: list[tuple[int, int]] = []
    for trial in known.of_kind("search"):
        width = int(trial.design["width"])
        if width <= 7:
            fitting.append((width, min(levels, key=lambda level: abs(level - width))))
    assert 0 < len(fitting) < 8
    [earlier] = state.earlier
    assert [o.design["width"] for o in earlier.observations] == [level for _, level in fitting]
    assert earlier.left_out == {"width is at no level of this space": 8 - len(fitting)}
    for observation in earlier.observations:
        width, depth = float(observation.design["width"]), float(observation.design["depth"])
        assert observation.metrics["parameters"] == width * width * depth, "counted anew"


def test_knobs_that_one_study_fixes_are_read_from_its_settings(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    folder, known = old
    less = {name: entry for name, entry in SPACE.items() if name != "depth"}
    fixed = {"space": less, "model": {**TOY_SPEC["model"], "depth": 2}}
    state = run(tmp_path, "fixed", folder, **fixed)
    widths = [t.design["width"] for t in known.of_kind("search") if t.design["depth"] == 2]
    [earlier] = state.earlier
    assert [o.design["width"] for o in earlier.observations] == widths
    assert earlier.left_out == {"depth is fixed here at another value": 8 - len(widths)}
    more = {**SPACE, "form": ["a", "b"]}
    back = run(tmp_path, "back", tmp_path / "fixed", space=more)
    designs = [o.design for o in back.earlier[0].observations]
    assert [(d["depth"], d["form"]) for d in designs] == [(2, "a")] * len(state.trials)


def test_settings_that_neither_searches_may_differ(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    space = {**SPACE, "form": "b"}
    state = run(tmp_path, "new", old[0], space=space, train={"fate": "completes"})
    designs = [o.design for o in state.earlier[0].observations]
    assert [d["form"] for d in designs] == ["b"] * 8
    costs = [o.metrics["gflop_per_example"] for o in state.earlier[0].observations]
    before = [t.costs["gflop_per_example"] for t in old[1].of_kind("search")]
    assert all(cost > other for cost, other in zip(costs, before, strict=True))


def test_a_design_that_diverged_or_ran_out_of_memory_is_told_and_other_failures_are_not(
    tmp_path: Path,
) -> None:
    fates = ["completes", "diverges", "out_of_memory", "dies"]
    one = {"width": 2, "depth": 1, "fate": fates}
    search = {"trials": 4, "proposer": "random"}
    run(tmp_path, "failing", space=one, search=search, launch={"workers": 1, "attempts": 1})
    state = run(tmp_path, "new", tmp_path / "failing", space=one)
    failures = {str(o.design["fate"]): o.failure for o in state.earlier[0].observations}
    expected = {"completes": None, "diverges": "diverged", "out_of_memory": "out_of_memory"}
    assert failures == expected
    assert all(not o.metrics for o in state.earlier[0].observations if o.failure)


def test_a_study_goes_on_as_it_began_when_the_earlier_one_is_gone(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(old[0], earlier)
    whole = run(tmp_path, "whole", earlier, search={"trials": 6, "proposer": "sobol"})
    run(tmp_path, "halves", earlier, search={"trials": 3, "proposer": "sobol"})
    shutil.rmtree(earlier)
    halves = run(tmp_path, "halves", earlier, search={"trials": 6, "proposer": "sobol"})
    assert essence(halves) == essence(whole)
    assert halves.earlier == whole.earlier
    with pytest.raises(StudyError, match=r"search.warm_start: .*earlier.* → null"):
        run(tmp_path, "halves", search={"trials": 6, "proposer": "sobol"})


def test_the_command_line_says_what_was_read_and_that_random_search_ignores_it(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    said: list[str] = []
    again = tmp_path / "again"
    shutil.copytree(old[0], again)
    spec = write_spec(tmp_path, search={"trials": 1, "proposer": "random"})
    study = tmp_path / "new"
    content = api.optimize(spec, study=study, warm_start=[old[0], again], say=said.append).content
    assert [line for line in said if line.startswith("warm start")] == [
        "warm start: 8 trials of first",
        "warm start: 8 trials of first (2)",
    ]
    ignored = "warning: the proposer random does not learn from other studies: they are ignored"
    assert said.count(ignored) == 1
    assert content.warm_start == {"first": 8, "first (2)": 8}
    assert content.provenance["warm start"] == "8 trials of first; 8 trials of first (2)"
    assert "8 trials of first; 8 trials of first (2)" in (study / "report.html").read_text()
    assert api.status(study).warm_start == content.warm_start
    said.clear()
    api.optimize(spec, study=study, warm_start=[old[0], again], say=said.append)
    assert not [line for line in said if "warm start" in line or "ignored" in line]


def test_a_study_that_tells_nothing_is_refused_by_name_and_nothing_is_recorded(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(StudyError, match="missing: holds no study"):
        run(tmp_path, "new", old[0], missing)
    with pytest.raises(StudyError, match=r"old: has no trial near a design .*8: width is at no"):
        run(tmp_path, "far", old[0], space={"width": [40, 41], "depth": 1}, budgets=None)
    with pytest.raises(StudyError, match="itself: is this very study"):
        run(tmp_path, "itself", tmp_path / "itself")
    unmeasured = tmp_path / "unmeasured"
    run(tmp_path, "unmeasured", space={"width": [1, 2], "depth": 1, "fate": "diverges"})
    with pytest.raises(StudyError, match="unmeasured: has no trial that measured log_loss"):
        run(tmp_path, "next", unmeasured)
    run(tmp_path, "stranger", model={"name": "tests.support.predicted_task"})
    other = "searches tests.support.predicted_task, and this study tests.support.toy_task"
    with pytest.raises(StudyError, match=f"stranger: {other}"):
        run(tmp_path, "next", tmp_path / "stranger")
    with Store(tmp_path / "new/study.sqlite") as store:
        assert not list(store.events())
    state = run(tmp_path, "new", old[0])
    assert len(state.earlier[0].observations) == 8


def test_of_very_many_trials_a_part_enters_spread_over_all_of_them(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    many = tmp_path / "many"
    shutil.copytree(old[0], many)
    *_, opened = [e for e in recorded_events(StudyFolder(many)) if e.kind == "opened"]
    of_one = [e for e in recorded_events(StudyFolder(many)) if e.trial == 0]
    events = [opened]
    for number in range(700):
        for event in of_one:
            payload = {**event.payload, "metrics": {"log_loss": number, "auc": 0.5}}
            payload = payload if event.kind == "completed" else event.payload
            events.append(dataclasses.replace(event, trial=number, payload=payload))
    (many / "study.sqlite").unlink()
    (many / "snapshot.jsonl").unlink()
    write_store(many / "study.sqlite", events)
    [earlier] = run(tmp_path, "new", many).earlier
    losses = np.array([o.metrics["log_loss"] for o in earlier.observations])
    assert len(losses) == 300
    assert (losses[0], losses[-1]) == (0, 697)
    assert set(np.diff(losses)) == {2, 3}
    assert earlier.left_out == {"more than 300": 400}


def test_the_command_takes_several_earlier_studies(
    tmp_path: Path, old: tuple[Path, StudyState]
) -> None:
    again = tmp_path / "again"
    shutil.copytree(old[0], again)
    spec = write_spec(tmp_path, search={"trials": 1, "proposer": "random"})
    given = ["--warm-start", old[0], "--warm-start", again]
    done = codesign("optimize", spec, "--study", tmp_path / "new", *given, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["warm_start"] == {"first": 8, "first (2)": 8}
    lines = codesign("status", tmp_path / "new").stdout.splitlines()
    assert "warm     start with 8 trials of first" in lines
    assert "warm start: 8 trials of first (2)" in codesign("report", tmp_path / "new").stdout
    wrong = codesign("optimize", spec, "--study", tmp_path / "x", "--warm-start", tmp_path / "no")
    assert (wrong.returncode, "no: holds no study" in wrong.stderr) == (5, True)
