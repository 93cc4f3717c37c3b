"""Knobs that are searched only where others have certain values, and knobs that differ by layer."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.axes import Axis, make_axes
from codesign.budgets import FeasibleSet
from codesign.contracts import Knob, Value
from codesign.designs import as_columns, as_designs
from codesign.errors import ConfigError, SpecError
from codesign.space import Space
from codesign.spec.model import Choice, Parameter
from codesign.spec.problem import load_problem, load_spec
from tests.support.toy_spec import write_spec
from tests.support.toy_task import ToyTask

TASK: Any = ToyTask()
NUMBERS = {"width": (1, 3, 5), "depth": (1, 2, 4), "lr": (0.1, 0.2)}
WORDS = {"form": ("a", "b"), "wide": (False, True)}
LEVELS: dict[str, tuple[Value, ...]] = {**NUMBERS, **WORDS}


@st.composite
def lattices(draw: st.DrawFn) -> Space:
    """Axes in any order; each may depend on axes that come before it in another order."""
    names = draw(st.permutations(list(LEVELS)))
    axes = []
    for i, name in enumerate(names):
        values = LEVELS[name]
        parents = draw(st.lists(st.sampled_from(names[:i]), max_size=2, unique=True)) if i else []
        when = {
            parent: tuple(draw(st.lists(st.sampled_from(LEVELS[parent]), min_size=1, unique=True)))
            for parent in parents
        }
        active = draw(st.lists(st.sampled_from(range(len(values))), min_size=1, unique=True))
        axes.append(
            Axis(
                name=name,
                values=values,
                ordered=name in NUMBERS,
                affects_cost=name != "lr",
                when=when,
                idle=draw(st.sampled_from(range(len(values)))),
                active=tuple(sorted(active)) if when else (),
            )
        )
    return Space(tuple(draw(st.permutations(axes))))


def members(space: Space) -> set[tuple[Value, ...]]:
    """All designs by the definition: what is active has an active level, what is not its idle."""
    found = set()
    for values in itertools.product(*(axis.values for axis in space.axes)):
        design = dict(zip(space.levels, values, strict=True))
        fits = []
        for axis in space.axes:
            active = all(design[parent] in wanted for parent, wanted in axis.when.items())
            allowed = [axis.values[i] for i in axis.active] if axis.active else list(axis.values)
            fits.append(design[axis.name] in (allowed if active else [axis.values[axis.idle]]))
        if all(fits):
            found.add(values)
    return found


def rows(columns: Any) -> list[tuple[Value, ...]]:
    return [tuple(design.values()) for design in as_designs(columns)]


@settings(max_examples=60, deadline=None)
@given(lattices(), st.floats(0.005, 0.05))
def test_size_and_sample_are_those_of_a_brute_force(space: Space, gflop: float) -> None:
    every = members(space)
    assert space.size == len(every)
    columns = as_columns([dict(zip(space.levels, values, strict=True)) for values in every])
    within = TASK.costs(columns)["gflop_per_example"] <= gflop
    expected = {values for values, inside in zip(rows(columns), within, strict=True) if inside}
    feasible = FeasibleSet(space, TASK, {"gflop_per_example": gflop})
    assert (feasible.size.count, feasible.size.exact) == (len(expected), True)
    if expected:
        found = rows(feasible.sample(10 * len(every), np.random.default_rng(0)))
        assert len(found) == len(set(found))
        assert set(found) == expected
        least = min(TASK.costs(columns)["gflop_per_example"])
        assert feasible.cheapest("gflop_per_example")[1] == pytest.approx(least)


@settings(max_examples=60, deadline=None)
@given(lattices(), st.integers(0, 10**6))
def test_neighbours_are_other_designs_of_the_space_and_canonical_rows_stay(
    space: Space, pick: int
) -> None:
    every = sorted(members(space), key=repr)
    design = dict(zip(space.levels, every[pick % len(every)], strict=True))
    near = rows(space.columns(space.neighbours(design)))
    assert len(near) == len(set(near))
    assert set(near) <= set(every) - {tuple(design.values())}
    indices = space.indices(as_columns([dict(zip(space.levels, e, strict=True)) for e in every]))
    np.testing.assert_array_equal(space.canonical(indices), indices)


def test_every_design_can_be_reached_by_steps_to_neighbours() -> None:
    space = Space(
        (
            *axes("form", ("a", "b")),
            *axes("width", (1, 2, 3), when={"form": ("b",)}),
            *axes("depth", (1, 2), when={"width": (2, 3)}),
        )
    )
    reached, todo = set[tuple[Value, ...]](), [min(members(space), key=repr)]
    while todo:
        values = todo.pop()
        if values not in reached:
            reached.add(values)
            design = dict(zip(space.levels, values, strict=True))
            todo += rows(space.columns(space.neighbours(design)))
    assert reached == members(space)


def axes(name: str, values: tuple[Value, ...], **settings: Any) -> list[Axis]:
    kind: Any = "choice" if isinstance(values[0], str) else "int"
    knob = Knob(kind=kind, meaning="", choices=("a", "b"), affects_cost=True, counted_by="depth")
    counts = settings.pop("counts", (1,))
    found, wrong = make_axes(
        name, Parameter(levels=Choice(values=values), **settings), knob, counts=counts
    )
    assert not wrong
    return found


def test_by_layer_gives_each_layer_an_axis_that_sleeps_where_there_is_no_such_layer() -> None:
    depth = axes("depth", (1, 2, 3))
    space = Space((*depth, *axes("width", (8, 16), by_layer=True, counts=(1, 2, 3))))
    assert list(space.levels) == ["depth", "width[1]", "width[2]", "width[3]"]
    assert space.size == 2 + 4 + 8
    assert {values for values in members(space) if values[0] == 1} == {(1, 8, 8, 8), (1, 16, 8, 8)}


def test_a_taper_is_a_second_axis_that_sleeps_in_models_of_one_layer() -> None:
    depth = axes("depth", (1, 2))
    space = Space((*depth, *axes("width", (8, 16), taper=(0.5, 0.7), counts=(1, 2))))
    assert members(space) == {
        (1, 8, 1.0), (1, 16, 1.0), (2, 8, 0.5), (2, 8, 0.7), (2, 16, 0.5), (2, 16, 0.7)
    }  # fmt: skip
    assert [axis.name for axis in axes("width", (8,), taper=(0.5,), counts=(1,))] == ["width"]


def test_conditions_that_go_round_in_a_circle_are_refused() -> None:
    first = axes("form", ("a", "b"), when={"width": (1,)})
    with pytest.raises(ConfigError, match="conditions of form, width go round in a circle"):
        Space((*first, *axes("width", (1, 2), when={"form": ("a",)})))


def refused(folder: Path, **space: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(write_spec(folder, space=space))
    return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]


def test_mistakes_in_conditions_are_named(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        form=["a", "b"],
        width={"low": 1, "high": 4, "when": {"from": "a"}},
        depth={"low": 1, "high": 4, "when": {"form": "c"}, "by_layer": True},
        lr={"choices": [0.1, 0.2], "otherwise": 0.3, "low": 0.1},
        wide={"choices": [True, False], "otherwise": "b", "when": {"form": "b"}},
    )
    assert sorted(found) == [
        "space.depth has by_layer or taper; must not: it is one value for the whole model",
        'space.depth.when.form is "c"; must be of form: a, b',
        "space.lr.low cannot be; must be one of choices, when, otherwise, by_layer, taper",
        "space.wide has an otherwise that is 'b'; must be true or false",
        "space.width.when.from is no single knob of the space; did you mean 'form'?",
    ]
    assert refused(tmp_path, width={"high": 3, "when": {"width": 1}}) == [
        "space.width.low is missing"
    ]
    circle = refused(tmp_path, width={"low": 1, "high": 2, "when": {"width": 1}})
    assert circle == ["space cannot be: the conditions of width go round in a circle"]
    alone = refused(tmp_path, width={"low": 1, "high": 2, "otherwise": 1})
    assert alone == ["space.width has otherwise without when; must have both"]


def test_the_baseline_may_leave_out_what_sleeps_and_must_not_contradict_it(tmp_path: Path) -> None:
    space = {
        "form": ["a", "b"],
        "width": {"choices": [2, 4], "when": {"form": "b"}, "otherwise": 8},
        "depth": {"low": 1, "high": 2},
    }
    load_problem(write_spec(tmp_path, space=space, baseline={"form": "a", "depth": 1}))
    for baseline, complaint in (
        ({"form": "a", "depth": 1, "width": 2}, "baseline.width is 2; must be 8 here, or be left"),
        ({"form": "b", "depth": 1}, "baseline.width is missing"),
        ({"form": "b", "depth": 1, "width": 8}, "baseline.width is 8; must be 2 here"),
    ):
        with pytest.raises(SpecError, match=complaint):
            load_problem(write_spec(tmp_path, space=space, baseline=baseline))


def test_an_axis_is_replaced_without_its_cached_arrays() -> None:
    axis = axes("width", (1, 2))[0]
    assert axis.array.tolist() == [1, 2]
    assert dataclasses.replace(axis, values=(3, 4)).array.tolist() == [3, 4]
