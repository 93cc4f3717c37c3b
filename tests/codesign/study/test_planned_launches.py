"""`launch.system: planned`: each trial has devices and a system of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign import api
from codesign.report.columns import trial_columns
from codesign.study.folder import StudyFolder
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState
from tests.support.memory_task import ROOM_MIB, memory_mib, rate
from tests.support.studies import essence, rewind, run, state_of

BIAS = 2.0
WIDTHS = (2, 6, 12, 24)
# Cheapest in GPU-hours first: one device, two, one that is thrifty, two that are.
SYSTEMS = ((1, False), (2, False), (1, True), (2, True))
SECTIONS: dict[str, Any] = {
    "model": {"name": "tests.support.memory_task"},
    "train": {"bias": BIAS},
    "hardware": {"name": "abacus"},
    "space": {"width": list(WIDTHS), "depth": [1], "lr": [0.1]},
    "budgets": {"memory_per_device_gib": 1.2},
    "search": {"trials": len(WIDTHS), "proposer": "random", "explore_infeasible": 0},
    "launch": {"workers": 1, "processes": 2, "system": "planned", "attempts": 1},
}


def next_system(width: int, most_gib: float) -> tuple[int, bool] | None:
    """The one with the fewest GPU-hours that is predicted to hold so much at most."""
    within = [each for each in SYSTEMS if memory_mib(width, *each) / 1024 * 1.05 <= most_gib]
    return max(within, key=lambda each: rate(*each) / each[0], default=None)


def expected(width: int) -> tuple[list[tuple[int, bool]], bool]:
    """The systems that a design runs under, one after the other, and whether it completes."""
    first = next_system(width, 1.2)
    assert first is not None
    if BIAS * memory_mib(width, *first) <= ROOM_MIB:
        return [first], True
    second = next_system(width, 0.8 * memory_mib(width, *first) / 1024 * 1.05)
    if second is None:
        return [first], False
    return [first, second], BIAS * memory_mib(width, *second) <= ROOM_MIB


def systems_run(study: Path, number: int) -> list[tuple[int, bool]]:
    """What the attempts of a trial were told, and how many processes the loop asked for."""
    told = [
        json.loads(path.read_text())
        for path in sorted((study / "trials" / f"{number:04d}").glob("attempt-*/trial.json"))
    ]
    asked = [
        event.payload["processes"]
        for event in recorded_events(StudyFolder(study))
        if event.kind == "submitted" and event.trial == number
    ]
    thrifty = [each["task"]["train"].get("thrifty", False) for each in told]
    assert [each["system"]["devices"] for each in told] == asked
    return list(zip(asked, thrifty, strict=True))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planned")
    run(folder, **SECTIONS)
    return folder / "study"


@pytest.fixture
def state(study: Path) -> StudyState:
    return state_of(study)


def test_a_trial_that_runs_out_of_memory_runs_once_more_under_the_next_plan(
    study: Path, state: StudyState
) -> None:
    assert sorted(int(t.design["width"]) for t in state.trials.values()) == list(WIDTHS)
    ends = set()
    for trial in state.trials.values():
        systems, completes = expected(int(trial.design["width"]))
        assert systems_run(study, trial.number) == systems
        assert (trial.status == "completed") is completes
        assert trial.failure == (None if completes else "out_of_memory")
        ends.add((len(systems), completes))
    # Of each kind there is one: none other would fit, two would, nothing does.
    assert ends == {(1, True), (2, True), (2, False)}


def test_the_record_holds_both_systems_and_the_proposer_is_told_the_end_alone(
    state: StudyState,
) -> None:
    again = [trial for trial in state.trials.values() if trial.outgrown is not None]
    for trial in again:
        first, second = expected(int(trial.design["width"]))[0]
        assert trial.outgrown is not None
        before, now = trial.outgrown["system"], trial.system
        assert [each["devices"] for each in (before, now)] == [first[0], second[0]]
        gib = [
            each["memory_per_device_gib"]["value"]
            for each in (trial.outgrown["predictions"], trial.predictions)
        ]
        width = int(trial.design["width"])
        assert gib == pytest.approx([memory_mib(width, *each) / 1024 for each in (first, second)])
        assert "out of memory" in trial.outgrown["reason"]
        assert "ran out of memory under another plan before" in trial.rerun
    assert len(again) > 1
    for trial in state.trials.values():
        assert [each.failure for each in trial.observations] == [trial.failure]


def test_measured_and_predicted_stand_side_by_side_for_each_number_of_devices(
    study: Path, state: StudyState
) -> None:
    table = api.export(study)
    for row in table.iter_rows(named=True):
        trial = state.trials[row["trial"]]
        assert row["system.devices"] == trial.processes == trial.system["devices"]
        if trial.status == "completed":
            assert row["measured.examples_per_s"] == pytest.approx(row["predicted.examples_per_s"])
    columns = {(c.group, c.name): c for c in trial_columns(api.report(study).content)}
    assert set(columns["system", "devices"].values) == {1, 2}
    best = yaml.safe_load((study / "best.yaml").read_text())
    assert best["system"] == dict(state.trials[best["trial"]].system)


def test_a_loop_that_dies_before_it_reruns_a_trial_reruns_it_later(
    study: Path, state: StudyState, tmp_path: Path
) -> None:
    reruns = {t.number for t in state.trials.values() if t.outgrown is not None}
    run(tmp_path, **SECTIONS)
    cut = min(
        event.number
        for event in recorded_events(StudyFolder(tmp_path / "study"))
        if event.kind == "submitted" and event.trial in reruns and "outgrown" in event.payload
    )
    rewind(tmp_path / "study", lambda event: event.number < cut)
    again = run(tmp_path, **SECTIONS)
    assert essence(again) == essence(state)
    assert {t.number: t.outgrown for t in again.trials.values()} == {
        t.number: t.outgrown for t in state.trials.values()
    }
