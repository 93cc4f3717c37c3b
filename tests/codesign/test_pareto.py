import numpy as np
import pytest
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codesign.errors import ConfigError
from codesign.pareto import default_reference, hypervolume, hypervolume_over_trials, pareto_mask

MIN, MAX = "minimize", "maximize"


@st.composite
def points(draw, *, nan: bool = False):
    """Points on a coarse grid, so that ties and duplicates happen, with mixed goals."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 4)))
    values = draw(arrays(np.float64, shape, elements=st.integers(0, 4).map(float)))
    if nan and draw(st.booleans()):
        values[0, 0] = np.nan
    return values, draw(st.lists(st.sampled_from([MIN, MAX]), min_size=shape[1], max_size=shape[1]))


def dominates(left, right, goals) -> bool:
    better = [a < b if g == MIN else a > b for a, b, g in zip(left, right, goals, strict=True)]
    worse = [a > b if g == MIN else a < b for a, b, g in zip(left, right, goals, strict=True)]
    return any(better) and not any(worse)


def grid_volume(values, reference, goals) -> float:
    """Count the dominated unit cells between the reference and the far corner of the grid."""
    cells = np.stack(np.meshgrid(*[np.arange(4) + 0.5] * len(goals), indexing="ij"), axis=-1)
    flip = np.array([1.0 if g == MIN else -1.0 for g in goals])
    cells = cells.reshape(-1, len(goals)) * flip
    covered = np.zeros(len(cells), dtype=bool)
    for point in values * flip:
        covered |= (cells > point).all(axis=1)
    return float((covered & (cells < reference * flip).all(axis=1)).sum())


@settings(max_examples=60, deadline=None)
@given(points(nan=True))
def test_the_front_is_what_no_other_point_dominates(case):
    values, goals = case
    valid = [not np.isnan(v).any() for v in values]
    expected = [
        ok and not any(o and dominates(w, v, goals) for w, o in zip(values, valid, strict=True))
        for v, ok in zip(values, valid, strict=True)
    ]
    assert pareto_mask(values, goals).tolist() == expected


def test_duplicates_stay_on_the_front_together_and_nan_never_does():
    values = [[1.0, 2.0], [1.0, 2.0], [np.nan, 0.0], [2.0, 3.0], [0.0, np.nan]]
    assert pareto_mask(values, [MIN, MIN]).tolist() == [True, True, False, False, False]


def test_an_empty_set_has_an_empty_front_and_no_volume():
    assert pareto_mask(np.zeros((0, 2)), [MIN, MAX]).shape == (0,)
    assert hypervolume(np.zeros((0, 2)), [1.0, 1.0], [MIN, MAX]) == 0.0
    assert hypervolume_over_trials(np.zeros((0, 2)), [1.0, 1.0], [MIN, MAX]).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(points())
def test_the_volume_equals_a_count_of_the_cells_it_covers(case):
    values, goals = case
    reference = np.array([4.0 if g == MIN else 0.0 for g in goals])
    assert hypervolume(values, reference, goals) == grid_volume(values, reference, goals)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_the_volume_agrees_with_botorch(objectives):
    rng = np.random.default_rng(objectives)
    values = rng.normal(size=(20, objectives))
    front = values[pareto_mask(values, [MAX] * objectives)]
    reference = np.full(objectives, -1.5)
    theirs = Hypervolume(ref_point=torch.from_numpy(reference)).compute(torch.from_numpy(front))
    assert hypervolume(values, reference, [MAX] * objectives) == pytest.approx(theirs, rel=1e-12)


def test_the_volume_agrees_with_monte_carlo():
    rng = np.random.default_rng(0)
    values, goals = rng.random((15, 3)), [MIN, MAX, MIN]
    inside = rng.random((200_000, 3))
    covered = np.zeros(len(inside), dtype=bool)
    for a, b, c in values:
        covered |= (inside[:, 0] > a) & (inside[:, 1] < b) & (inside[:, 2] > c)
    # Three standard errors of a share estimated from 200,000 draws.
    assert hypervolume(values, [1.0, 0.0, 1.0], goals) == pytest.approx(covered.mean(), abs=0.0034)


def test_points_beyond_the_reference_or_with_nan_add_nothing():
    values = [[0.5, 0.5], [0.0, 1.0], [2.0, 0.0], [np.nan, 0.0]]
    assert hypervolume(values, [1.0, 1.0], [MIN, MIN]) == 0.25


@settings(max_examples=30, deadline=None)
@given(points(nan=True))
def test_the_volume_over_trials_is_that_of_each_prefix(case):
    values, goals = case
    reference = np.array([4.0 if g == MIN else 0.0 for g in goals])
    expected = [hypervolume(values[: i + 1], reference, goals) for i in range(len(values))]
    assert hypervolume_over_trials(values, reference, goals).tolist() == expected


def test_the_default_reference_is_the_worst_value_and_a_tenth_of_the_range_beyond():
    values = [[0.5, 10.0], [0.4, 30.0], [np.inf, 0.0], [np.nan, 99.0]]
    reference = default_reference(values, [MIN, MAX])
    np.testing.assert_allclose(reference, [0.51, 8.0])


def test_the_default_reference_of_equal_values_still_leaves_a_volume():
    values = [[0.0, -2.0], [0.0, -2.0]]
    reference = default_reference(values, [MIN, MAX])
    np.testing.assert_allclose(reference, [0.1, -2.2])
    assert hypervolume(values, reference, [MIN, MAX]) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pareto_mask([[1.0, 2.0]], [MIN]), r"\(1, 2\) for 1 goals"),
        (lambda: pareto_mask([[1.0]], ["down"]), r"unknown goals \['down'\]"),
        (lambda: hypervolume([[1.0, 2.0]], [1.0], [MIN, MIN]), r"\(1, 1\) for 2 goals"),
        (lambda: default_reference([[np.nan]], [MIN]), "none of 1 points is finite"),
    ],
)
def test_shapes_and_goals_that_do_not_match_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
