"""Settings of one study as a design of another one's space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.axes import Axis
from codesign.designs import design_at
from codesign.space import Space
from codesign.spec.lattice import make_space
from codesign.spec.model import Choice, Parameter, Range
from codesign.study.nearest import nearest_design
from tests.support.toy_task import ToyTask
from wukong import task as wukong
from wukong.task import WukongTask, make

TOY = ToyTask()
numbers = st.floats(1e-3, 1e3)


@pytest.fixture(scope="module")
def task() -> WukongTask:
    model = {"head_depth": 1, "head_width": 8, "bottom_depth": 0}
    return make(model=model, train={"passes": 1}, source="movielens-100k", path=None)


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=6, unique=True), numbers, st.booleans())
def test_a_number_falls_into_the_bin_of_a_level_or_into_none(
    levels: list[float], value: float, log: bool
) -> None:
    levels = sorted(levels)
    space = Space((Axis(name="lr", values=tuple(levels), ordered=True, log=log),))
    scale = np.log if log else np.asarray
    at, where = scale(np.array(levels)), float(scale(value))
    middles = (at[1:] + at[:-1]) / 2
    edges = [2 * at[0] - middles[0], *middles, 2 * at[-1] - middles[-1]]
    found = nearest_design({"lr": value}, space, TOY)
    if min(abs(where - edge) for edge in edges) < 1e-6:
        return  # Rounding decides.
    bin_of = int(np.digitize(where, edges)) - 1
    inside = 0 <= bin_of < len(levels)
    assert found == ({"lr": levels[bin_of]} if inside else "lr is at no level of this space")


@pytest.mark.parametrize(
    ("values", "setting", "expected"),
    [
        (("a", "b"), "b", "b"),
        (("a", "b"), "c", None),
        ((False, True), True, True),
        (("a",), "c", "a"),
        ((4.0,), 100.0, 4.0),
    ],
)
def test_a_word_must_be_a_level_and_a_knob_of_one_level_is_a_setting_that_may_differ(
    values: tuple[str | float | bool, ...], setting: object, expected: object
) -> None:
    space = Space((Axis(name="form", values=values, ordered=False),))
    found = nearest_design({"form": setting}, space, TOY)
    assert found == (
        "form is at no level of this space" if expected is None else {"form": expected}
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_the_settings_of_a_design_lead_back_to_one_with_the_same_settings(
    task: WukongTask, seed: int
) -> None:
    entries = {
        "layers": Parameter(levels=Choice(values=(1, 2, 3))),
        "n_F": Parameter(levels=Choice(values=(2, 4, 8)), by_layer=True),
        "mlp_width": Parameter(levels=Choice(values=(16, 32)), taper=(1.0, 0.5)),
        "dropout": Parameter(levels=Range(low=0.0, high=0.4, step=0.2)),
    }
    space = make_space(entries, {"name": "wukong"}, wukong)
    rng = np.random.default_rng(seed)
    row = space.canonical(np.array([[rng.integers(len(axis.values)) for axis in space.axes]]))
    design = design_at(space.columns(row), 0)
    found = nearest_design(task.settings(design), space, task)
    assert not isinstance(found, str)
    assert dict(task.settings(found)) == dict(task.settings(design))


def test_values_that_differ_by_layer_have_no_design_where_all_layers_share_one(
    task: WukongTask,
) -> None:
    one = make_space({"n_F": Parameter(levels=Choice(values=(2, 4)))}, {"name": "wukong"}, wukong)
    here = dict(task.settings({"layers": 2, "n_F": 2}))
    assert nearest_design({**here, "n_F": (4, 4)}, one, task) == {"n_F": 4}
    assert nearest_design({**here, "n_F": (2, 4)}, one, task) == "n_F is at no level of this space"
