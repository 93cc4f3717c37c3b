"""`hardware.system: planned`: each design is judged, and trained, under its own best system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from codesign import api
from codesign.designs import as_columns, as_designs
from codesign.errors import InfeasibleError
from codesign.report.columns import trial_columns
from codesign.spec.problem import Problem, load_problem
from tests.support.command import codesign
from tests.support.predicted_task import RATE, every_design
from tests.support.studies import essence, rewind, run
from tests.support.toy_spec import write_spec

LEAST_RATE = 1000.0
SECTIONS: dict[str, Any] = {
    "model": {"name": "tests.support.predicted_task"},
    "hardware": {"name": "abacus", "system": "planned"},
    "space": {"width": {"low": 1, "high": 16}, "depth": {"low": 1, "high": 4}, "lr": [0.01, 0.1]},
    "budgets": {"examples_per_s": LEAST_RATE, "gflop_per_example": 0.04},
    "objectives": [{"metric": "log_loss"}, {"metric": "examples_per_s"}],
    "search": {"trials": 6, "explore_infeasible": 0,
               "options": {"initial": 3, "candidates": 64, "mc_samples": 32}},
}  # fmt: skip


def problem(tmp_path: Path, **changed: Any) -> Problem:
    return load_problem(write_spec(tmp_path, **{**SECTIONS, **changed}))


def best_rate(design: dict[str, Any]) -> float:
    """Turbo doubles what has depth 1, and is left off elsewhere."""
    return RATE / (design["width"] * design["depth"]) * (2 if design["depth"] == 1 else 1)


def trained_with(study: Path, number: int) -> dict[str, Any]:
    payload = json.loads((study / f"trials/{number:04d}/attempt-1/trial.json").read_text())
    train: dict[str, Any] = payload["task"]["train"]
    return train


def test_feasible_is_what_the_best_system_keeps_within_the_budgets(tmp_path: Path) -> None:
    planned = problem(tmp_path)
    given = problem(tmp_path, hardware={"name": "abacus"})
    drawn = as_designs(planned.feasible.sample(1000, np.random.default_rng(0)))
    every = every_design(planned.space)
    gflop = planned.task.costs(as_columns(every))["gflop_per_example"]
    expected = [
        d for d, g in zip(every, gflop, strict=True) if best_rate(d) / 2 >= LEAST_RATE and g <= 0.04
    ]
    assert sorted(map(str, drawn)) == sorted(map(str, expected))
    wide = {"width": 8, "depth": 1, "lr": 0.1}  # 1,250 ± a factor of 2; with turbo 2,500
    assert planned.feasible.contains(as_columns([wide]))[0]
    assert not given.feasible.contains(as_columns([wide]))[0]
    assert planned.feasible.predicted(as_columns([wide]))["examples_per_s"].median[0] == 2500


def test_a_budget_that_no_system_keeps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="no system was found under which a design keeps"):
        problem(tmp_path, budgets={"examples_per_s": 1e9})


def test_trials_record_and_train_under_the_system_chosen_for_them(tmp_path: Path) -> None:
    state, study = run(tmp_path, **SECTIONS), tmp_path / "study"
    assert {t.system["train"].get("turbo", False) for t in state.trials.values()} == {True, False}
    for trial in state.trials.values():
        turbo = trial.design["depth"] == 1
        # What the study's own settings say already is not repeated.
        assert trial.system == {"devices": 1, "train": {"turbo": turbo}}
        assert trained_with(study, trial.number)["turbo"] is turbo
        assert trial.predictions["examples_per_s"]["value"] == best_rate(dict(trial.design))
        assert trial.metrics["examples_per_s"] == pytest.approx(best_rate(dict(trial.design)))
    best = yaml.safe_load((study / "best.yaml").read_text())
    assert best["system"] == state.trials[best["trial"]].system
    assert best["train"]["turbo"] is best["system"]["train"]["turbo"]
    assert set(api.export(study)["system.turbo"]) == {True, False}
    shown = codesign("status", study).stdout
    turbo = state.trials[best["trial"]].system["train"]["turbo"]
    assert f"system   chosen for devices 1: turbo {turbo}" in shown
    columns = {(c.group, c.name): c for c in trial_columns(api.report(study).content)}
    assert set(columns["system", "turbo"].values) == {True, False}


def test_a_system_of_more_devices_than_train_a_trial_is_recorded_and_not_trained_on(
    tmp_path: Path,
) -> None:
    hardware = {**SECTIONS["hardware"], "devices": 8}
    state = run(tmp_path, **{**SECTIONS, "hardware": hardware, "search": {"trials": 1}})
    assert state.trials[0].system["devices"] == 8
    assert "turbo" not in trained_with(tmp_path / "study", 0)


def test_a_study_cut_off_plans_and_proposes_what_it_would_have(tmp_path: Path) -> None:
    whole = run(tmp_path, "whole", **SECTIONS)
    run(tmp_path, "cut", **SECTIONS)
    rewind(tmp_path / "cut", lambda event: (event.trial or 0) < 4)
    assert essence(run(tmp_path, "cut", **SECTIONS)) == essence(whole)
