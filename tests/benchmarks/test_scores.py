"""Hypervolume, regret and ranks of replayed searches."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.scores import (
    Volume,
    area_under_regret,
    expected_ranks,
    mean_ranks,
    median_interval,
    regret,
)


def counted_share(seen: np.ndarray, whole: np.ndarray, reference: np.ndarray) -> float:
    """Count unit cells that some point dominates, of points with whole coordinates."""
    cells = [np.array(cell) for cell in product(*(range(int(edge)) for edge in np.ceil(reference)))]
    width = np.minimum(1.0, reference - np.array(cells))  # the last cell of an axis is cut
    size = width.prod(axis=1)

    def covered(points: np.ndarray) -> float:
        inside = [(points <= cell).all(axis=1).any() for cell in cells]
        return float(size[inside].sum())

    return covered(seen) / covered(whole)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=9))
def test_a_share_of_the_hypervolume_is_that_of_counted_cells(points):
    whole = np.array(points, dtype=float)
    volume = Volume(whole, (False, False))
    shares = volume.share(whole)
    for trials, share in enumerate(shares, start=1):
        expected = counted_share(whole[:trials], whole, volume.reference_O())
        assert share == pytest.approx(expected)
    assert shares[-1] == pytest.approx(1.0)


def test_a_logarithmic_axis_is_the_volume_of_logarithms():
    values = np.array([[0.3, 0.001], [0.2, 0.01], [0.4, 0.1]])
    logs = np.column_stack([values[:, 0], np.log10(values[:, 1])])
    expected = Volume(logs, (False, False)).share(logs)
    np.testing.assert_allclose(Volume(values, (False, True)).share(values), expected)


def test_failed_runs_add_nothing_to_the_hypervolume():
    values = np.array([[0.3, 1.0], [np.nan, 0.5], [0.2, 2.0]])
    with_failure = Volume(values, (False, False)).share(values)
    without = Volume(values[[0, 2]], (False, False)).share(values[[0, 2]])
    np.testing.assert_allclose(with_failure, without[[0, 0, 1]])


def test_regret_is_the_distance_of_the_best_so_far_in_units_of_the_range():
    everything = np.array([0.5, 0.1, 0.3, 0.2, np.nan])
    seen = np.array([np.nan, 0.5, 0.3, np.nan, 0.4, 0.1])
    np.testing.assert_allclose(regret(seen, everything), [1, 1, 0.5, 0.5, 0.5, 0])
    assert area_under_regret(seen, everything) == pytest.approx(3.5 / 6)


def test_ranks_are_those_among_searches_of_one_seed_and_ties_share_theirs():
    nan = np.nan
    # Seed by seed A and B tie, then A is first; C is always last; B has half the seeds.
    areas = np.array([[0.1, 0.2], [0.1, nan], [0.9, 0.8]])
    # A meets B in two ways: a tie and a loss. B: a tie and a win.
    np.testing.assert_allclose(expected_ranks(areas), [1.75, 1.25, 3.0])


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=5))
def test_ranks_are_the_mean_over_all_combinations_of_seeds(rows):
    areas = np.array(rows, dtype=float)
    expected = np.zeros(len(areas))
    combinations = list(product(range(3), repeat=len(areas)))
    for seeds in combinations:
        drawn = areas[np.arange(len(areas)), list(seeds)]
        for m, mine in enumerate(drawn):
            ahead = (drawn < mine).sum()
            expected[m] += 1 + ahead + 0.5 * ((drawn == mine).sum() - 1)
    np.testing.assert_allclose(expected_ranks(areas), expected / len(combinations))


def test_mean_ranks_weigh_tables_and_their_intervals_hold_them():
    first, second = np.array([[0.1, 0.1], [0.2, 0.2]]), np.array([[0.3, 0.3], [0.1, 0.1]])
    mean, (low, high) = mean_ranks([first, second], [1.0, 0.5], np.random.default_rng(0))
    np.testing.assert_allclose(mean, [4 / 3, 5 / 3])
    np.testing.assert_allclose(low, [1, 1])
    np.testing.assert_allclose(high, [2, 2])
    same, (low, high) = mean_ranks([first, first], [1.0, 0.5], np.random.default_rng(0))
    assert [same.tolist(), low.tolist(), high.tolist()] == 3 * [[1.0, 2.0]]


def test_an_interval_of_a_median_covers_it_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        low, high = median_interval(rng.normal(size=20), rng)
        inside += low <= 0.0 <= high
    # 190 of 200 in the mean; the bootstrap of a median errs by a few percent.
    assert 176 <= inside <= 199
