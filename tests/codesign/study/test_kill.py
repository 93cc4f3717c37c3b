"""Studies whose loop or workers are killed, whose disk is full, whose clock is set back.

`make kill-test` does the same 100 times and more; what came of it last is checked in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from codesign import api
from codesign.contracts import LaunchRequest
from codesign.registry import plugin
from codesign.spec.problem import load_problem
from codesign.study.adopt import adopt_spec
from codesign.study.folder import StudyFolder
from codesign.study.lock import hold
from codesign.study.loop import StudyLoop
from codesign.study.restore import open_store
from codesign.study.snapshot import recorded_events
from tests.support.kills import Disturbed
from tests.support.studies import essence, run, state_of
from tests.support.toy_spec import write_spec

SECTIONS = {
    "search": {"trials": 16, "proposer": "random", "confirm": {"top": 1, "seeds": 2}},
    "launch": {"workers": 2, "attempts": 100},
}


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    return Disturbed(tmp_path_factory.mktemp("disturbed"), np.random.default_rng(7), SECTIONS)


def test_a_loop_killed_at_random_moments_loses_nothing(disturbed: Disturbed) -> None:
    result = disturbed.kill_loops(8)
    assert (result.hits, result.faults) == (8, 0)


def test_workers_killed_at_random_moments_change_nothing(disturbed: Disturbed) -> None:
    result = disturbed.kill_workers(4)
    assert (result.hits, result.faults) == (4, 0)


def test_a_full_disk_ends_the_loop_with_an_error_and_loses_nothing(disturbed: Disturbed) -> None:
    result = disturbed.fill_disk([100, 17_000, 30_000])
    assert (result.hits, result.faults) == (3, 0)
    assert result.recorded_at_hit[0] == 0 < result.recorded_at_hit[-1]


def test_the_long_form_was_run_and_found_nothing_wrong() -> None:
    found = json.loads(Path("benchmarks/results/kills.json").read_text())["found"]
    assert {name: each["faults"] for name, each in found.items()} == dict.fromkeys(
        ("loop killed", "worker killed", "disk full"), 0
    )
    assert found["loop killed"]["hits"] >= 100
    assert len(set(found["loop killed"]["recorded_at_hit"])) > 20


def backwards() -> Iterator[float]:
    """A clock that is set back by an hour all the time."""
    yield from (1e9 - 3600 * number for number in range(10**6))


def test_a_clock_set_back_changes_nothing(tmp_path: Path) -> None:
    sections = {"search": {"trials": 6, "proposer": "random"},
                "budgets": {"gflop_per_example": 0.04, "wall_hours": 1}}  # fmt: skip
    expected = run(tmp_path, "undisturbed", **sections)
    problem = load_problem(write_spec(tmp_path, **sections))
    folder, clock = StudyFolder(tmp_path / "study"), backwards()
    with hold(folder.path):
        adopt_spec(problem.spec, folder, data={})
        store = open_store(folder, say=print)
        executor = plugin("executor", "local").make(LaunchRequest(workers=1))
        try:
            loop = StudyLoop(
                problem, folder, store, executor, api.make_proposer(problem.spec),
                watch=lambda _: None, now=lambda: next(clock),
            )  # fmt: skip
            loop.run({})
            loop.save()
        finally:
            executor.close()
            store.close()
    times = [event.time for event in recorded_events(folder)]
    assert times == sorted(times, reverse=True)
    assert essence(state_of(folder.path)) == essence(expected)
    assert 0 < state_of(folder.path).wall_s < 3600
    assert len(api.report(folder.path).content.front) == len(
        api.report(tmp_path / "undisturbed").content.front
    )
