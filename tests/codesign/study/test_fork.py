"""A study that begins with the trials of another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from codesign import api
from codesign.errors import StudyError
from codesign.study.state import StudyState
from tests.support.studies import state_of
from tests.support.toy_spec import TOY_SPEC, write_spec

SPACE: dict[str, Any] = TOY_SPEC["space"]


def run(folder: Path, name: str, fork: Path | None = None, **sections: Any) -> StudyState:
    api.optimize(write_spec(folder, **sections), study=folder / name, fork=fork)
    return state_of(folder / name)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyState]:
    folder = tmp_path_factory.mktemp("origin")
    baseline = {"width": 4, "depth": 2, "lr": 0.01}
    return folder / "old", run(folder, "old", baseline=baseline)


def test_trials_that_fit_are_taken_over_with_their_results_and_files(
    tmp_path: Path, origin: tuple[Path, StudyState]
) -> None:
    old, known = origin
    space = {**SPACE, "width": {"low": 1, "high": 8}}
    fitting = [t for t in known.trials.values() if t.design["width"] <= 8]  # type: ignore[operator]
    assert 0 < len(fitting) < len(known.trials)
    search = {"trials": len(fitting) + 2, "proposer": "random"}
    baseline = {"width": 4, "depth": 2, "lr": 0.01}
    state = run(tmp_path, "new", fork=old, space=space, search=search, baseline=baseline)
    taken = [t for t in state.trials.values() if "forked_from" in t.facts]
    assert [(t.design, t.seed, t.metrics) for t in taken] == [
        (t.design, t.seed, t.metrics) for t in fitting
    ]
    assert [t.number for t in state.of_kind("baseline")] == [0]
    assert len(state.trials) == len(fitting) + 2
    designs = [tuple(t.design.values()) for t in state.trials.values()]
    assert len(set(designs)) == len(designs)
    assert (tmp_path / "new/trials/0000/attempt-1/result.json").exists()


def test_a_knob_may_become_a_fixed_setting_and_back(
    tmp_path: Path, origin: tuple[Path, StudyState]
) -> None:
    old, known = origin
    space = {name: entry for name, entry in SPACE.items() if name != "depth"}
    model = {**TOY_SPEC["model"], "depth": 2}
    state = run(tmp_path, "fixed", fork=old, space=space, model=model)
    taken = {t.design["width"] for t in state.trials.values() if "forked_from" in t.facts}
    assert taken == {t.design["width"] for t in known.trials.values() if t.design["depth"] == 2}
    back = run(tmp_path, "back", fork=tmp_path / "fixed")
    again = [t for t in back.trials.values() if "forked_from" in t.facts]
    assert len(again) == len(state.trials)
    assert {t.design["depth"] for t in again} == {2}


def test_a_default_that_becomes_a_knob_or_a_setting_is_the_same_setting(
    tmp_path: Path, origin: tuple[Path, StudyState]
) -> None:
    old, known = origin
    knob = run(tmp_path, "knob", fork=old, space={**SPACE, "form": ["a", "b"]})
    taken = [t for t in knob.trials.values() if "forked_from" in t.facts]
    assert [t.design["form"] for t in taken] == ["a"] * len(known.trials)
    fixed = run(tmp_path, "fixed", fork=old, train={"fate": "completes"})
    assert len([t for t in fixed.trials.values() if "forked_from" in t.facts]) == len(known.trials)


def test_where_no_trial_fits_or_files_are_missing_nothing_is_taken_over(
    tmp_path: Path, origin: tuple[Path, StudyState]
) -> None:
    space = {name: entry for name, entry in SPACE.items() if name != "lr"}
    with pytest.raises(StudyError, match="has no trial that the new spec could have trained"):
        run(tmp_path, "new", fork=origin[0], space=space, train={"lr": 0.5})
    shutil.copytree(origin[0], tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken/trials/0003")
    with pytest.raises(StudyError, match="0003/attempt-1: cannot be copied"):
        run(tmp_path, "next", fork=tmp_path / "broken")
    state = run(tmp_path, "next", fork=origin[0])
    assert any("forked_from" in t.facts for t in state.trials.values())


def test_a_study_that_has_begun_and_a_folder_without_study_are_refused(
    tmp_path: Path, origin: tuple[Path, StudyState]
) -> None:
    run(tmp_path, "new", search={"trials": 1, "proposer": "random"})
    with pytest.raises(StudyError, match="has begun already"):
        run(tmp_path, "new", fork=origin[0], search={"trials": 1, "proposer": "random"})
    with pytest.raises(StudyError, match="holds no study to fork"):
        run(tmp_path, "other", fork=tmp_path / "nothing")
