"""A study whose loop is killed proposes what an undisturbed one does, whoever proposes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import Design
from codesign.registry import PROPOSERS
from tests.support.killed_loops import KilledLoops, killed_loops
from tests.support.studies import essence, run, state_of
from tests.support.toy_spec import write_spec

TRIALS = 7
INITIAL = 4
# Events that each loop records before it is killed. Opening is one, and three make a trial: the
# first loop ends when the fifth design, the first from a model, is created; the second collects
# it, and ends when the sixth has trained.
KILLED_AFTER = (14, 6)
OPTIONS: dict[str, dict[str, Any]] = {"known_cost": {"initial": INITIAL, "candidates": 64}}
# Some designs diverge, so that proposers that learn from failures are held to it, too.
SPACE = {
    "width": {"low": 1, "high": 16},
    "depth": {"low": 1, "high": 4},
    "lr": {"low": 0.001, "high": 0.1, "log": True, "points": 5},
    "fate": ["completes", "diverges"],
}


@pytest.fixture(scope="module")
def loops() -> Iterator[KilledLoops]:
    with killed_loops() as found:
        yield found


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    run(folder, search={"trials": 6, "proposer": "random"}, seed=11)
    return folder / "study"


def designs_with_and_without_kills(
    loops: KilledLoops, folder: Path, search: dict[str, Any], warm_start: Sequence[Path] = ()
) -> list[Design]:
    """Check that both studies are the same, and return the designs in order."""
    spec = write_spec(folder, space=SPACE, search={"trials": TRIALS, **search})
    whole, killed = folder / "whole", folder / "killed"
    assert loops.run(spec, whole, events=None, warm_start=warm_start) == 0
    for events in KILLED_AFTER:
        code = loops.run(spec, killed, events=events, warm_start=warm_start)
        assert code == -signal.SIGKILL
    assert loops.run(spec, killed, events=None, warm_start=warm_start) == 0
    assert essence(state_of(killed)) == essence(state_of(whole))
    return [trial.design for trial in state_of(whole).trials.values()]


@pytest.mark.parametrize("proposer", PROPOSERS)
def test_a_killed_study_has_the_designs_of_an_undisturbed_one(
    loops: KilledLoops, tmp_path: Path, proposer: str
) -> None:
    search = {"proposer": proposer, "options": OPTIONS.get(proposer, {})}
    designs = designs_with_and_without_kills(loops, tmp_path, search)
    assert len({tuple(design.items()) for design in designs}) == TRIALS


def test_so_has_one_that_learns_from_an_earlier_study(
    loops: KilledLoops, tmp_path: Path, earlier: Path
) -> None:
    search = {"proposer": "known_cost", "options": OPTIONS["known_cost"]}
    designs_with_and_without_kills(loops, tmp_path, search, [earlier])
    assert len(state_of(tmp_path / "killed").earlier[0].observations) == 6
