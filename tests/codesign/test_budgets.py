"""The feasible set against brute force over the whole lattice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.axes import make_axes
from codesign.budgets import FeasibleSet
from codesign.designs import design_at
from codesign.errors import InfeasibleError
from codesign.space import Space
from codesign.spec.model import Choice, Parameter, Range
from tests.support.toy_task import KNOBS, ToyTask

TASK: Any = ToyTask()


def space(**parameters: Any) -> Space:
    axes = []
    for name, entry in parameters.items():
        parameter = entry if isinstance(entry, Parameter) else Parameter(levels=entry)
        found, wrong = make_axes(name, parameter, KNOBS[name])
        assert found, wrong
        axes += found
    return Space(tuple(axes))


FULL: dict[str, Any] = {
    "width": Range(low=1, high=16),
    "form": Choice(values=("a", "b")),
    "lr": Choice(values=(0.01, 0.1, 0.2)),
    "depth": Range(low=1, high=4),
    "wide": Choice(values=(False, True)),
}


def all_designs(lattice: Space) -> np.ndarray[Any, Any]:
    counts = [len(axis.values) for axis in lattice.axes]
    return np.stack(np.unravel_index(np.arange(lattice.size), counts), axis=1)


def brute_force(lattice: Space, budgets: dict[str, float]) -> set[tuple[int, ...]]:
    rows = all_designs(lattice)
    costs = TASK.costs(lattice.columns(rows))
    inside = np.ones(len(rows), dtype=bool)
    for name, limit in budgets.items():
        inside &= costs[name] <= limit
    return set(map(tuple, rows[inside].tolist()))


def drawn(feasible: FeasibleSet, n: int, seed: int = 0) -> list[tuple[int, ...]]:
    columns = feasible.sample(n, np.random.default_rng(seed))
    return list(map(tuple, feasible.space.indices(columns).tolist()))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.001, 0.3), st.floats(1, 1100))
def test_sampling_all_gives_exactly_the_feasible_designs_once(
    gflop: float, parameters: float
) -> None:
    lattice = space(**FULL)
    budgets = {"gflop_per_example": gflop, "parameters": parameters}
    expected = brute_force(lattice, budgets)
    feasible = FeasibleSet(lattice, TASK, budgets)
    assert (feasible.size.count, feasible.size.exact) == (len(expected), True)
    if expected:
        found = drawn(feasible, lattice.size)
        assert len(found) == len(expected)
        assert set(found) == expected
    else:
        with pytest.raises(InfeasibleError, match="budgets"):
            feasible.require_some()


def test_a_smaller_sample_is_distinct_feasible_and_uniform() -> None:
    lattice = space(**FULL)
    budgets = {"gflop_per_example": 0.03}
    expected = sorted(brute_force(lattice, budgets))
    counts = dict.fromkeys(expected, 0)
    feasible = FeasibleSet(lattice, TASK, budgets)
    draws = 400
    for seed in range(draws):
        found = drawn(feasible, 20, seed)
        assert len(set(found)) == 20
        for row in found:
            counts[row] += 1
    share = 20 / len(expected)
    sd = np.sqrt(draws * share * (1 - share))
    observed = np.array(list(counts.values()))
    assert np.abs(observed - draws * share).max() < 5 * sd


def test_thinned_enumeration_stays_feasible_and_estimates_the_count() -> None:
    lattice = space(**{**FULL, "width": Range(low=1, high=400), "depth": Range(low=1, high=100)})
    budgets = {"gflop_per_example": 2.0}
    expected = brute_force(lattice, budgets)
    feasible = FeasibleSet(lattice, TASK, budgets, max_children=15_000)
    assert not feasible.size.exact
    assert feasible.size.count == pytest.approx(len(expected), rel=0.1)
    found = drawn(feasible, 500)
    assert len(found) == len(set(found)) == 500
    assert set(found) <= expected
    # Every corner is reached: each level of each word, cheap and dear designs alike.
    costs = TASK.costs(lattice.columns(np.array(found)))["gflop_per_example"]
    every = TASK.costs(lattice.columns(np.array(sorted(expected))))["gflop_per_example"]
    assert np.median(costs) == pytest.approx(np.median(every), rel=0.15)


def test_a_thinned_sample_has_all_the_designs_asked_for() -> None:
    lattice = space(width=Range(low=1, high=1000), depth=Range(low=1, high=100), form=FULL["form"])
    feasible = FeasibleSet(lattice, TASK, {"gflop_per_example": 50.0}, max_children=15_000)
    assert not feasible.size.exact
    found = drawn(feasible, 5000)
    assert len(found) == len(set(found)) == 5000


def test_designs_that_most_draws_miss_are_drawn_all_the_same() -> None:
    lattice = space(width=Range(low=1, high=1000), depth=Range(low=1, high=100))

    class Corner(ToyTask):
        """Two budgets against each other, which no setting of the depth alone rules out."""

        def cost_floor(self, low: Any, high: Any) -> dict[str, Any]:
            return {
                "parameters": 5.0 * low["depth"] + low["width"],
                "gflop_per_example": 1000.0 - 5.15 * high["depth"] - high["width"],
            }

    # 500 + 0.15 depth must reach 514.6: depths 98 and 99, and 64 of 99 depths are looked at.
    budgets = {"parameters": 500.0, "gflop_per_example": 1000.0 - 514.6}
    feasible = FeasibleSet(lattice, Corner(), budgets, max_children=64)
    feasible.require_some()
    for seed in range(20):
        found = drawn(feasible, 1, seed)
        assert found
        assert set(found) <= {(width, depth) for depth in (97, 98) for width in range(11)}


def test_a_share_of_one_in_a_hundred_thousand_is_found_exactly() -> None:
    lattice = space(
        width=Range(low=1, high=1000), depth=Range(low=1, high=100), form=FULL["form"],
        wide=FULL["wide"],
    )  # fmt: skip
    feasible = FeasibleSet(lattice, TASK, {"gflop_per_example": 0.0045}, max_children=500_000)
    expected = brute_force(lattice, {"gflop_per_example": 0.0045})
    assert 0 < len(expected) / lattice.size < 1e-4
    assert set(drawn(feasible, 100)) == expected


def test_neighbours_are_the_feasible_designs_one_step_away() -> None:
    lattice = space(**FULL)
    budgets = {"gflop_per_example": 0.03}
    feasible = FeasibleSet(lattice, TASK, budgets)
    inside = brute_force(lattice, budgets)
    words = {1, 4}
    for row in sorted(inside)[::17]:
        design = design_at(lattice.columns(np.array([row])), 0)
        found = set(map(tuple, lattice.indices(feasible.neighbours(design)).tolist()))
        expected = set()
        for other in inside:
            changed = [k for k in range(len(row)) if row[k] != other[k]]
            if len(changed) == 1:
                (k,) = changed
                if k in words or abs(row[k] - other[k]) == 1:
                    expected.add(other)
        assert found == expected


def test_the_cheapest_design_is_the_cheapest_of_all() -> None:
    lattice = space(**FULL)
    for cost in ("gflop_per_example", "parameters"):
        every = TASK.costs(lattice.columns(all_designs(lattice)))[cost]
        design, least = FeasibleSet(lattice, TASK, {}).cheapest(cost)
        assert least == every.min()
        columns = {name: np.array([value]) for name, value in design.items()}
        assert TASK.costs(columns)[cost][0] == least


def test_the_cheapest_design_is_found_at_once_among_endless_ties() -> None:
    lattice = space(width=Range(low=1, high=400), depth=Range(low=1, high=100), wide=FULL["wide"])
    bounded = 0

    class Counting(ToyTask):
        """Only width matters for `parameters`: every depth ties."""

        def cost_floor(self, low: Any, high: Any) -> dict[str, Any]:
            nonlocal bounded
            bounded += 1
            return {"parameters": np.asarray(low["width"], dtype=float)}

    assert FeasibleSet(lattice, Counting(), {}).cheapest("parameters")[1] == 1.0
    assert bounded < 10


def test_budgets_that_only_together_exclude_everything_say_so() -> None:
    lattice = space(
        width=Choice(values=(4, 8)), form=Choice(values=("a",)), depth=Choice(values=(1,))
    )
    alone = TASK.costs(lattice.columns(all_designs(lattice)))
    assert alone["gflop_per_example"].min() == pytest.approx(0.004)

    class Opposed(ToyTask):
        """Parameters fall as GFLOP grow."""

        def cost_floor(self, low: Any, high: Any) -> dict[str, Any]:
            base = super().cost_floor(low, high)
            base["parameters"] = 100.0 - super().cost_floor(high, high)["gflop_per_example"] * 1e3
            return base

    feasible = FeasibleSet(lattice, Opposed(), {"gflop_per_example": 0.005, "parameters": 90.0})
    with pytest.raises(InfeasibleError, match="no design meets all budgets together"):
        feasible.require_some()


WHEN: dict[str, dict[str, Any]] = {
    "no condition": {},
    "one knob woken": {"lr": Parameter(levels=FULL["lr"], when={"form": ("b",)})},
    "a chain, and two woken at once": {
        "width": Choice(values=(1, 2, 5)),
        "form": Parameter(levels=FULL["form"], when={"wide": (True,)}),
        "depth": Parameter(levels=FULL["depth"], when={"form": ("b",)}),
        "lr": Parameter(levels=FULL["lr"], when={"wide": (True,), "form": ("b",)}),
    },
}


@pytest.mark.parametrize("entries", WHEN.values(), ids=WHEN.keys())
def test_redrawing_knobs_keeps_a_uniform_sample_uniform(entries: dict[str, Any]) -> None:
    lattice = space(**{**FULL, **entries})
    feasible = FeasibleSet(lattice, TASK, {"gflop_per_example": 0.03})
    expected = sorted(set(drawn(feasible, lattice.size)))
    repeats = 300
    rows = np.repeat(np.array(expected), repeats, axis=0)
    stirred = feasible._stirred(rows, np.random.default_rng(0))
    found, counts = np.unique(stirred, axis=0, return_counts=True)
    assert set(map(tuple, found.tolist())) == set(expected)
    assert np.abs(counts - repeats).max() < 5 * np.sqrt(repeats)


def test_draws_reach_what_a_condition_looks_at_and_no_known_design_has() -> None:
    form = Parameter(levels=FULL["form"], when={"depth": tuple(range(50, 101))})
    lattice = space(width=Range(low=1, high=50), depth=Range(low=1, high=100), form=form)
    feasible = FeasibleSet(lattice, TASK, {"gflop_per_example": 0.3}, max_children=200)
    known, weight = feasible._all_prefixes
    assert weight > 1.0
    assert len(set(known[:, 1].tolist())) < 80
    found = {row[1] for seed in range(100) for row in drawn(feasible, 200, seed)}
    assert found == set(range(100))


def test_all_of_a_small_set_that_is_not_listed_is_drawn_where_more_is_asked_for() -> None:
    lattice = space(width=Range(low=1, high=1000), depth=Range(low=1, high=100), form=FULL["form"])
    budgets = {"gflop_per_example": 0.1}
    feasible = FeasibleSet(lattice, TASK, budgets, max_children=64)
    assert not feasible.size.exact
    bounds = 0
    contains = feasible.contains

    def counting(columns: Any) -> Any:
        nonlocal bounds
        bounds += 1
        return contains(columns)

    feasible.contains = counting  # type: ignore[method-assign]
    assert set(drawn(feasible, 20_000)) == brute_force(lattice, budgets)
    assert bounds < 100


def test_draws_leave_the_thinned_share_that_is_known() -> None:
    lattice = space(width=Range(low=1, high=50), depth=Range(low=1, high=100), form=FULL["form"])
    feasible = FeasibleSet(lattice, TASK, {"gflop_per_example": 0.3}, max_children=200)
    everything = brute_force(lattice, {"gflop_per_example": 0.3})
    known, weight = feasible._all_prefixes
    assert weight > 1.0
    found = {row for seed in range(100) for row in drawn(feasible, 200, seed)}
    assert len(known) < 0.8 * len(everything)
    assert len(found) > 0.95 * len(everything)
