"""The feasible set of a task without bounds: against brute force, and where it has to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign import counted
from codesign.axes import make_axes
from codesign.contracts import Columns, Objective
from codesign.counted import MOST_COUNTED, CountedSet
from codesign.designs import as_columns, as_designs, key_of
from codesign.errors import InfeasibleError
from codesign.search import known_cost, random, sobol, support_points
from codesign.space import Space
from codesign.spec.model import Choice, Parameter, Range
from tests.support.toy_task import KNOBS, ToyTask


class Unbounded(ToyTask):
    """A toy whose costs have no bound; notes how many designs it counts at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[int] = []

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """See `Task`."""
        self.counted.append(len(next(iter(columns.values()))))
        return super().cost_floor(columns, columns)

    @property
    def cost_floor(self) -> Any:
        """None is known."""
        return None


def space(**entries: Range | Choice | Parameter) -> Space:
    axes = []
    for name, entry in entries.items():
        parameter = entry if isinstance(entry, Parameter) else Parameter(levels=entry)
        axes += make_axes(name, parameter, KNOBS[name])[0]
    return Space(tuple(axes))


LR = Choice(values=(0.01, 0.1, 0.2))
SMALL = space(
    width=Range(low=1, high=12), lr=LR, form=Choice(values=("a", "b")),
    depth=Parameter(levels=Range(low=1, high=4), when={"form": ("b",)}),
)  # fmt: skip
LARGE = space(width=Range(low=1, high=1000), lr=LR, depth=Range(low=1, high=100))


def make(lattice: Space, budgets: Mapping[str, float], **options: Any) -> CountedSet:
    task: Any = Unbounded()
    return CountedSet(lattice, task, budgets, **options)


def every_design(lattice: Space) -> Columns:
    counts = [len(axis.values) for axis in lattice.axes]
    rows = np.stack(np.unravel_index(np.arange(np.prod(counts)), counts), axis=1)
    return lattice.columns(np.unique(lattice.canonical(rows), axis=0))


def within(columns: Columns, budgets: Mapping[str, float]) -> np.ndarray[Any, Any]:
    costs = ToyTask().costs(columns)
    return np.all([costs[name] <= limit for name, limit in budgets.items()], axis=0)


def keys(columns: Columns) -> set[Any]:
    return {key_of(design) for design in as_designs(columns)}


@settings(max_examples=20, deadline=None)
@given(st.floats(0.001, 0.1), st.floats(1, 600))
def test_a_small_lattice_is_counted_whole(gflop: float, parameters: float) -> None:
    budgets = {"gflop_per_example": gflop, "parameters": parameters}
    everything = every_design(SMALL)
    inside = within(everything, budgets)
    expected = keys({name: values[inside] for name, values in everything.items()})
    feasible = make(SMALL, budgets)
    assert (feasible.size.count, feasible.size.exact) == (len(expected), True)
    least = ToyTask().costs(everything)["parameters"].min()
    assert feasible.cheapest("parameters")[1] == least
    if not expected:
        with pytest.raises(InfeasibleError, match="budgets"):
            feasible.require_some()
        return
    assert keys(feasible.sample(SMALL.size, np.random.default_rng(0))) == expected


def test_of_a_large_lattice_a_random_share_is_counted_and_stands_for_it() -> None:
    budgets = {"gflop_per_example": 10.0}
    everything = every_design(LARGE)
    inside = int(within(everything, budgets).sum())
    feasible = make(LARGE, budgets)
    assert not feasible.size.exact
    share = inside / LARGE.size
    sd = LARGE.size * np.sqrt(share * (1 - share) / MOST_COUNTED)
    assert abs(feasible.size.count - inside) < 4 * sd
    found = feasible.sample(400, np.random.default_rng(1))
    assert within(found, budgets).all()
    assert len(keys(found)) == 400
    # Knobs that cost nothing are free of the share: each shape comes with each learning rate.
    whole = keys(feasible.sample(10**6, np.random.default_rng(2)))
    assert len(whole) == 3 * round(feasible.size.count / 3 / (LARGE.size / 3 / MOST_COUNTED))
    assert sum(feasible._costs.counted) == MOST_COUNTED  # type: ignore[attr-defined]


def test_the_share_is_drawn_evenly_over_each_knob() -> None:
    feasible = make(LARGE, {})
    found = feasible.sample(10**6, np.random.default_rng(0))
    for name, levels in (("width", 1000), ("depth", 100)):
        quarters = np.bincount((np.asarray(found[name]) - 1) * 4 // levels, minlength=4) / 3
        expected = MOST_COUNTED / 4
        assert np.abs(quarters - expected).max() < 5 * np.sqrt(expected * 0.75)


def test_neighbours_outside_the_share_are_counted_when_asked_for() -> None:
    feasible = make(LARGE, {"gflop_per_example": 10.0})
    design = as_designs(feasible.sample(1, np.random.default_rng(0)))[0]
    expected = LARGE.columns(LARGE.neighbours(design))
    inside = within(expected, feasible.budgets)
    assert keys(feasible.neighbours(design)) == keys({n: v[inside] for n, v in expected.items()})


def test_budgets_that_no_drawn_design_meets_are_refused_without_a_claim() -> None:
    feasible = make(LARGE, {"gflop_per_example": 0.00501})
    with pytest.raises(InfeasibleError, match="which proves nothing"):
        feasible.require_some()


def test_a_lattice_without_cost_knobs_is_one_setting() -> None:
    feasible = make(space(lr=LR), {"gflop_per_example": 1.0})
    assert (feasible.size.count, feasible.size.exact) == (3.0, True)
    with pytest.raises(InfeasibleError, match=r"the cheapest design needs 0\.006"):
        make(space(lr=LR), {"gflop_per_example": 0.001}).require_some()


def test_progress_is_said_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "AT_ONCE", 300)
    lines: list[str] = []
    ticks = iter(np.arange(0, 100, 2.5))
    feasible = make(LARGE, {}, say=lines.append, clock=lambda: float(next(ticks)))
    feasible.require_some()
    assert lines == [f"counted the costs of {n} of 500 designs" for n in (300, 500)]
    quick: list[str] = []
    make(LARGE, {}, say=quick.append, clock=lambda: 0.0).require_some()
    assert quick == []


@pytest.mark.parametrize("lattice", [SMALL, LARGE], ids=["whole", "share"])
@pytest.mark.parametrize(
    "module", [known_cost, sobol, support_points, random], ids=lambda module: module.__name__
)
def test_every_proposer_finds_new_designs_within_the_budgets(lattice: Space, module: Any) -> None:
    budgets = {"gflop_per_example": 0.03 if lattice is SMALL else 10.0}
    feasible = make(lattice, budgets)
    objectives = (Objective(metric="log_loss", goal="minimize"),)
    if module is known_cost:
        options = known_cost.Options(initial=2)
        proposer: Any = known_cost.KnownCostSearch(objectives=objectives, options=options)
    else:
        proposer = module.make(objectives, module.Options())
    designs = proposer.ask(feasible, [], [], 5, np.random.default_rng(0))
    more = proposer.ask(feasible, [], designs, 5, np.random.default_rng(1))
    assert len({key_of(design) for design in [*designs, *more]}) == 10
    assert within(as_columns([*designs, *more]), budgets).all()
