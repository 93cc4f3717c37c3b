"""Scores against scipy, and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import stats

from cost_models.evaluation.ranking import kendall_tau, pairwise_accuracy
from cost_models.evaluation.scores import folds, regret, scores

COLUMN = st_numpy.arrays(float, 12, elements=st.sampled_from([1.0, 1.04, 1.2, 1.3, 2.0, 7.0]))


@settings(max_examples=100, deadline=None)
@given(COLUMN, COLUMN)
def test_ranking_is_that_of_scipy_and_of_pairs_one_by_one(x: np.ndarray, y: np.ndarray) -> None:
    tau = stats.kendalltau(x, y).statistic
    assert (kendall_tau(x, y) is None) == bool(np.isnan(tau))
    assert (kendall_tau(x, y) or 0) == pytest.approx(0 if np.isnan(tau) else tau)
    pairs = [
        (x[i] - x[j]) * (y[i] - y[j]) > 0
        for i, j in itertools.combinations(range(12), 2)
        if 1.05 <= max(y[i], y[j]) / min(y[i], y[j]) <= 1.5
    ]
    assert pairwise_accuracy(x, y) == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_pairs_count_where_they_are_five_to_fifty_percent_apart() -> None:
    measured = np.array([1.0, 1.02, 1.2, 3.0])
    # 1 and 1.02 are too close, 3 is too far from all; left are (1, 1.2) and (1.02, 1.2).
    assert pairwise_accuracy(np.array([5.0, 7.0, 6.0, 1.0]), measured) == 0.5
    assert pairwise_accuracy(measured, measured) == 1.0
    assert pairwise_accuracy(np.ones(2), np.array([1.0, 9.0])) is None


def test_regret_is_nothing_for_a_true_order_and_the_mean_for_a_constant_choice() -> None:
    measured = np.linspace(1.0, 2.0, 20)
    rng = np.random.default_rng(0)
    assert regret(measured, measured, rng) == 0.0
    assert regret(-measured, measured, rng) == pytest.approx(1.0)
    assert regret(measured[:19], measured[:19], rng) is None


def test_intervals_are_scored_by_the_share_of_rows_that_they_hold() -> None:
    rng = np.random.default_rng(0)
    measured = np.exp(rng.normal(0, 0.2, 20_000))
    one = np.ones(20_000)
    part = slice(0, 300)
    for sigma, share in ((0.2, 0.9), (0.1, 0.589), (0.4, 0.999)):
        logs = np.abs(np.log(measured))
        assert np.mean(logs <= 1.645 * sigma) == pytest.approx(share, abs=0.01)
        found = scores(one[part], sigma * one[part], measured[part], one[part])
        assert found["coverage"] == np.mean(logs[part] <= 1.6448536 * sigma)


def test_no_group_straddles_folds_and_each_row_is_held_out_once() -> None:
    group = np.random.default_rng(0).integers(0, 12, 100)
    found = folds(group)
    assert (np.sum(found, axis=0) == 1).all()
    for held_out in found:
        assert not set(group[held_out]) & set(group[~held_out])
