"""Which trial trains on, against rules written out by hand, over random orders of events."""

from __future__ import annotations

import dataclasses
import math
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign import pareto
from codesign.contracts import Objective
from codesign.spec.model import FidelitySpec, StudySpec
from codesign.spec.problem import load_spec
from codesign.study.halving import next_share, promotion
from codesign.study.state import StudyState, Trial, apply
from codesign.study.store import Event
from tests.support.toy_spec import write_spec

QUALITY = Objective(metric="log_loss", goal="minimize")
COST = Objective(metric="gflop_per_example", goal="minimize")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StudySpec:
    return load_spec(write_spec(tmp_path_factory.mktemp("spec"))).spec


class Simulated:
    """A study as its events: created, begun, paused at a rung, failed or completed."""

    def __init__(self) -> None:
        self.state = StudyState()
        self._numbers = count(1)

    def event(self, happened: Any, trial: int, **payload: Any) -> None:
        number = next(self._numbers)
        event = Event(number=number, time=0.0, kind=happened, trial=trial, payload=payload)
        self.state = apply(self.state, event)

    def begin(self, cost: float, kind: str = "search") -> None:
        number = len(self.state.trials)
        costs = {"gflop_per_example": cost}
        self.event("created", number, kind=kind, design={}, seed=0, costs=costs)
        self.submit(number)

    def submit(self, trial: int) -> None:
        attempt = self.state.trials[trial].attempt + 1
        self.event("submitted", trial, attempt=attempt, token=f"{trial} {attempt}", lost=0)

    def end(self, trial: int, share: float, loss: float, *, fails: bool) -> None:
        kind = "failed" if fails else "completed" if share == 1 else "reached"
        self.event(
            kind, trial,
            token=self.state.trials[trial].token, metrics={} if fails else {"log_loss": loss},
            failure="diverged" if fails else None, reason="", facts={}, seconds=1.0,
            **({"share": share} if kind == "reached" else {}),
        )  # fmt: skip


def best_first(points: list[tuple[float, ...]]) -> list[int]:
    """Sort by fronts, peeled by definition, and within a front by crowding distance."""

    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    def crowding(i: int, front: list[int]) -> float:
        total = 0.0
        for d in range(len(points[0])):
            order = sorted(front, key=lambda j: (points[j][d], j))
            span = points[order[-1]][d] - points[order[0]][d]
            at = order.index(i)
            if not span:
                continue
            if at in (0, len(order) - 1):
                return math.inf
            total += (points[order[at + 1]][d] - points[order[at - 1]][d]) / span
        return total

    left, found = list(range(len(points))), []
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        distance = {i: crowding(i, front) for i in front}
        found += sorted(front, key=lambda i: (-distance[i], i))
        left = [i for i in left if i not in front]
    return found


def expected(state: StudyState, fidelity: FidelitySpec, objectives: list[str]) -> int | None:
    """The rule of the algorithm, trial by trial."""
    trials = list(state.trials.values())
    for trial in trials:
        if trial.kind == "baseline" and trial.status == "paused":
            return trial.number
    for rung in sorted(fidelity.rungs, reverse=True):
        there = [t for t in trials if rung in t.reached]
        points = [tuple({**t.costs, **t.reached[rung]}[o] for o in objectives) for t in there]
        most = sum(i <= fidelity.keep * len(there) + 1e-9 for i in range(1, len(there) + 1))
        for i in best_first(points)[:most] if points else []:
            trial = there[i]
            if trial.status == "paused" and max(trial.reached) == rung:
                return trial.number
    return None


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rungs=st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.8]), min_size=1, max_size=3, unique=True),
    keep=st.sampled_from([0.25, 0.33, 0.5, 0.7]),
    workers=st.integers(1, 4),
    objectives=st.sampled_from([(QUALITY,), (QUALITY, COST)]),
    digits=st.sampled_from([1, 6]),
)
def test_promotions_are_those_of_the_rule_in_any_order_of_events(
    spec: StudySpec,
    seed: int,
    rungs: list[float],
    keep: float,
    workers: int,
    objectives: tuple[Objective, ...],
    digits: int,
) -> None:
    rng = np.random.default_rng(seed)
    fidelity = FidelitySpec(rungs=tuple(sorted(rungs)), keep=keep)
    search = dataclasses.replace(spec.search, fidelity=fidelity)
    spec = dataclasses.replace(spec, search=search, objectives=objectives)
    study, names = Simulated(), [o.metric for o in objectives]
    for _ in range(60):
        running = [t for t in study.state.trials.values() if t.open]
        found = promotion(study.state, spec)
        assert (None if found is None else found.number) == expected(study.state, fidelity, names)
        if running and (len(running) == workers or rng.random() < 0.3):
            trial: Trial = running[rng.integers(len(running))]
            share = next_share(trial, fidelity)
            loss = round(float(rng.random()), digits)
            study.end(trial.number, share, loss, fails=bool(rng.random() < 0.1))
        elif found is not None:
            study.submit(found.number)
        else:
            kind = "baseline" if not study.state.trials and rng.random() < 0.5 else "search"
            study.begin(round(float(rng.random()), digits), kind)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(st.tuples(*[st.integers(0, 6)] * d), min_size=1, max_size=14)
    )
)
def test_points_are_sorted_by_peeled_fronts_and_crowding(points: list[tuple[int, ...]]) -> None:
    values_ND = np.array(points, dtype=float)
    goals = ["minimize", "maximize", "minimize"][: len(points[0])]
    signs = np.array([1.0, -1.0, 1.0])[: len(points[0])]
    order = pareto.nondominated_order(values_ND * signs, goals)
    assert order.tolist() == best_first([tuple(map(float, point)) for point in points])
    for most in range(len(points) + 2):
        first = pareto.nondominated_order(values_ND * signs, goals, most=most)
        assert first.tolist() == order[:most].tolist()


def test_points_with_a_value_that_is_not_known_come_last() -> None:
    values_ND = np.array([[np.nan, 0.0], [1.0, 1.0], [0.0, 2.0]])
    order = pareto.nondominated_order(values_ND, ["minimize", "minimize"])
    assert sorted(order[:2].tolist()) == [1, 2]
    assert order[2] == 0
