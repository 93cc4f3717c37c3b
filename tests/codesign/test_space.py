from __future__ import annotations

import numpy as np
import pytest

from codesign.axes import Axis, make_axes
from codesign.contracts import Knob
from codesign.designs import design_at
from codesign.space import Space
from codesign.spec.model import Choice, Parameter, Range


def make_axis(name: str, levels: Range | Choice, knob: Knob) -> tuple[Axis | None, list[str]]:
    axes, mistakes = make_axes(name, Parameter(levels=levels), knob)
    return (axes[0] if axes else None), mistakes


INT = Knob(kind="int", meaning="", low=1, high=10_000)
FLOAT = Knob(kind="float", meaning="", low=0, high=100)


@pytest.mark.parametrize(
    ("knob", "parameter", "levels"),
    [
        (INT, Range(low=1, high=4), (1, 2, 3, 4)),
        (INT, Range(low=4, high=16, step=4), (4, 8, 12, 16)),
        (INT, Range(low=8, high=64, log=True), (8, 16, 32, 64)),
        (INT, Range(low=8, high=100, log=True), (8, 16, 32, 64, 100)),
        (INT, Range(low=1, high=1000, log=True, points=4), (1, 10, 100, 1000)),
        (INT, Range(low=1, high=9, points=3), (1, 5, 9)),
        (FLOAT, Range(low=0.0, high=0.5, step=0.1), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        (FLOAT, Range(low=0.001, high=0.1, log=True, points=3), (0.001, 0.01, 0.1)),
        (FLOAT, Range(low=0, high=1, points=3), (0.0, 0.5, 1.0)),
        (INT, Choice(values=(64, 8, 16)), (8, 16, 64)),
        (INT, Choice(values=(7,)), (7,)),
    ],
)
def test_levels_of_ranges_and_choices(knob: Knob, parameter: object, levels: tuple) -> None:
    axis, mistakes = make_axis("x", parameter, knob)  # type: ignore[arg-type]
    assert mistakes == []
    assert axis is not None
    assert axis.values == levels
    assert [type(v) for v in axis.values] == [int if knob is INT else float] * len(levels)


def test_a_float_without_step_has_21_levels_with_both_ends() -> None:
    axis, _ = make_axis("x", Range(low=1e-4, high=1e-1, log=True), FLOAT)
    assert axis is not None
    assert len(axis.values) == 21
    assert (axis.values[0], axis.values[-1]) == (1e-4, 1e-1)


@pytest.mark.parametrize(
    ("parameter", "complaint"),
    [
        (Range(low=0, high=4), "has low 0; must be ≥ 1"),
        (Range(low=1, high=20_000), "has high 20000; must be ≤ 10000"),
        (Range(low=1.5, high=4), "has low 1.5; must be a whole number"),
        (Range(low=1, high=4, step=0.5), "has step 0.5; must be a whole number"),
        (Range(low=1, high=6, step=2), "off the grid of step 2 from 1; must be e.g. 5 or 7"),
        (Range(low=1, high=4, step=1, log=True), "has both step and log"),
        (Range(low=1, high=4, step=1, points=3), "has both step and points"),
        (Choice(values=(1, True)), "is true; must be a whole number"),
        (Choice(values=("8",)), "is '8'; must be a whole number"),
        (Choice(values=(8.0,)), "is 8.0; must be a whole number"),
    ],
)
def test_what_is_no_lattice_is_refused(parameter: object, complaint: str) -> None:
    axis, mistakes = make_axis("x", parameter, INT)  # type: ignore[arg-type]
    assert axis is None
    assert complaint in mistakes[0]


def lattice() -> Space:
    word = Knob(kind="choice", meaning="", choices=("a", "b", "c"))
    axes = [
        make_axis("size", Choice(values=(8, 16, 32)), INT)[0],
        make_axis("rate", Range(low=0.0, high=1.0, points=3), FLOAT)[0],
        make_axis("word", Choice(values=("a", "b", "c")), word)[0],
        make_axis("fixed", Choice(values=(5,)), INT)[0],
    ]
    return Space(tuple(axis for axis in axes if axis is not None))


def test_indices_and_columns_are_inverse() -> None:
    space = lattice()
    assert space.size == 27
    rows = np.array([[2, 0, 1, 0], [0, 2, 2, 0]])
    columns = space.columns(rows)
    assert design_at(columns, 0) == {"size": 32, "rate": 0.0, "word": "b", "fixed": 5}
    np.testing.assert_array_equal(space.indices(columns), rows)


def test_encoding_keeps_order_in_the_unit_cube_and_separates_words() -> None:
    space = lattice()
    every = np.stack(np.unravel_index(np.arange(27), (3, 3, 3, 1)), axis=1)
    features = space.encode(space.columns(every))
    assert features.shape == (27, 4)
    assert (features >= 0).all()
    assert (features <= 1).all()
    assert len(np.unique(features, axis=0)) == 27
    np.testing.assert_allclose(np.unique(features[:, 0]), [0, 0.5, 1])  # 8, 16, 32 are even in log


def test_neighbours_take_one_step_of_numbers_and_any_other_word() -> None:
    space = lattice()
    rows = space.neighbours({"size": 8, "rate": 0.5, "word": "b", "fixed": 5})
    assert sorted(map(tuple, rows.tolist())) == sorted(
        [(1, 1, 1, 0), (0, 0, 1, 0), (0, 2, 1, 0), (0, 1, 0, 0), (0, 1, 2, 0)]
    )
