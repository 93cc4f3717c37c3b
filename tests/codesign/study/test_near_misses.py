"""Near misses: a small share of trials that predicted budgets may rule out, never exact ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from scipy.stats import binom

from codesign import api
from codesign.designs import as_columns, as_designs
from codesign.errors import SpecError
from codesign.spec.problem import Problem, load_problem
from codesign.study.proposals import explores
from tests.support.predicted_task import RATE, every_design
from tests.support.studies import essence, rewind, run, state_of
from tests.support.toy_spec import write_spec

# Within a factor of 2: sure of 10,000 / (width × depth) / 2 ≥ 1,000, or width × depth ≤ 5; a near
# miss up to 20. Of the exact budget 0.04, less the 5 that all but width 4 pay, up to 35.
LEAST_RATE = 1000.0
SECTIONS: dict[str, Any] = {
    "model": {"name": "tests.support.predicted_task"},
    "hardware": {"name": "abacus"},
    "space": {"width": {"low": 1, "high": 16}, "depth": {"low": 1, "high": 4}, "lr": [0.01, 0.1]},
    "budgets": {"examples_per_s": LEAST_RATE, "gflop_per_example": 0.02},
    "search": {"trials": 8, "proposer": "random", "explore_infeasible": 0.5},
}


def problem(tmp_path: Path, **changed: Any) -> Problem:
    return load_problem(write_spec(tmp_path, **{**SECTIONS, **changed}))


def is_near(design: dict[str, Any]) -> bool:
    rate = RATE / (design["width"] * design["depth"])
    return rate / 2 < LEAST_RATE <= 2 * rate


def test_near_misses_are_all_designs_between_the_ends_and_within_every_exact_budget(
    tmp_path: Path,
) -> None:
    found = problem(tmp_path)
    every = every_design(found.space)
    gflop = found.task.costs(as_columns(every))["gflop_per_example"]
    expected = [d for d, g in zip(every, gflop, strict=True) if is_near(d) and g <= 0.02]
    rng = np.random.default_rng(0)
    drawn = as_designs(found.near_misses.sample(1000, rng))
    assert sorted(map(str, drawn)) == sorted(map(str, expected))
    assert (found.near_misses.size.count, found.near_misses.size.exact) == (len(expected), True)
    assert not found.feasible.contains(as_columns(drawn)).any()
    around = as_designs(found.near_misses.neighbours(drawn[0]))
    assert around
    assert all(is_near(design) for design in around)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_the_share_that_explores_is_the_one_asked_for(share: float) -> None:
    hits = sum(explores(share, seed, number) for seed in range(50) for number in range(100))
    low, high = binom.ppf([1e-6, 1 - 1e-6], 5000, share)
    assert low <= hits <= high


def test_near_misses_are_trained_and_marked_yet_never_on_the_front(tmp_path: Path) -> None:
    state = run(tmp_path, **SECTIONS, train={"bias": 0.4})
    missing = {t.number for t in state.trials.values() if is_near(dict(t.design))}
    assert missing == {n for n in range(8) if explores(0.5, 3, n)}
    assert 0 < len(missing) < 8
    for trial in state.trials.values():
        expected = {"examples_per_s": "maximize"} if trial.number in missing else {}
        assert trial.misses == expected
        assert trial.observations[-1].metrics
    content = api.report(tmp_path / "study").content
    assert not missing & {trial.number for trial in content.front}
    for number in missing:
        assert "near miss: predicted to keep examples_per_s" in content.trial(number).reason
    table = api.export(tmp_path / "study")
    marked = table.filter(polars.col("misses") == "examples_per_s")["trial"]
    assert set(marked) == missing


def test_a_near_miss_whose_measured_figure_keeps_the_budget_stands_on_the_front(
    tmp_path: Path,
) -> None:
    # Three times as fast as predicted, so that every near miss from 1,000 / 3 on is feasible.
    state = run(tmp_path, **SECTIONS, train={"bias": 3.0})
    front = {trial.number for trial in api.report(tmp_path / "study").content.front}
    found = [t for t in state.trials.values() if t.misses]
    kept = {t.number for t in found if t.metrics["examples_per_s"] >= LEAST_RATE}
    best = min(state.trials.values(), key=lambda t: t.metrics["log_loss"])
    assert best.number in kept
    assert best.number in front


def test_a_study_cut_off_explores_where_it_would_have(tmp_path: Path) -> None:
    whole = run(tmp_path, "whole", **SECTIONS)
    run(tmp_path, "cut", **SECTIONS)
    rewind(tmp_path / "cut", lambda event: (event.trial or 0) < 3)
    assert essence(run(tmp_path, "cut", **SECTIONS)) == essence(whole)


def test_a_small_share_is_the_default_where_a_budget_is_predicted_and_only_there(
    tmp_path: Path,
) -> None:
    search = {"trials": 2}
    assert problem(tmp_path, search=search).spec.search.explore_infeasible == 0.05
    exact = {"gflop_per_example": 0.02}
    counted = problem(tmp_path, search=search, budgets=exact).spec
    assert counted.search.explore_infeasible == 0
    assert "explore_infeasible" not in json.dumps(counted.identity())
    with pytest.raises(SpecError, match=r"explore_infeasible is 0\.1, and no budget is predicted"):
        problem(tmp_path, budgets=exact, search={"explore_infeasible": 0.1})
    with pytest.raises(SpecError, match=r"explore_infeasible is 0\.6; must be ≤ 0.5"):
        problem(tmp_path, search={"explore_infeasible": 0.6})


def test_the_state_that_readers_see_holds_what_was_missed(tmp_path: Path) -> None:
    assert run(tmp_path, **SECTIONS) == state_of(tmp_path / "study")
