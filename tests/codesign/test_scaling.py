"""The fitted trend, beside formulas and an independent solver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from codesign.scaling import DISTINCT_COSTS, log_trend


def least_absolute_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Minimise Σ|y - a - b x| by linear programming: y = a + b x + over - under."""
    ones = np.ones((len(x), 1))
    rows = np.hstack([ones, x[:, None], np.eye(len(x)), -np.eye(len(x))])
    bounds = [(None, None)] * 2 + [(0, None)] * (2 * len(x))
    cost = [0, 0] + [1] * (2 * len(x))
    return float(linprog(cost, A_eq=rows, b_eq=y, bounds=bounds).fun)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), designs=st.integers(DISTINCT_COSTS, 60))
def test_the_line_is_the_one_of_least_absolute_deviations(seed: int, designs: int) -> None:
    rng = np.random.default_rng(seed)
    cost = 10 ** rng.uniform(-4, 2, designs)
    quality = 0.5 - 0.02 * np.log10(cost) + 0.01 * rng.standard_t(2, designs)
    trend = log_trend(cost, quality, rng=rng)
    assert trend is not None
    level = trend.quality_G[0] - trend.per_decade * np.log10(trend.cost_G[0])
    reached = np.abs(quality - level - trend.per_decade * np.log10(cost)).sum()
    assert reached <= least_absolute_sum(np.log10(cost), quality) * 1.01


def test_collapsed_designs_do_not_bend_the_line() -> None:
    cost = np.logspace(-2, 1, 20)
    quality = 0.80 + 0.01 * np.log10(cost)
    quality[[3, 17]] = 0.5
    trend = log_trend(cost, quality, rng=np.random.default_rng(0))
    assert trend is not None
    assert trend.per_decade == pytest.approx(0.01, rel=1e-3)


def test_the_interval_covers_the_true_slope_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(120):
        cost = 10 ** rng.uniform(-2, 1, 40)
        quality = 0.7 + 0.03 * np.log10(cost) + rng.normal(0, 0.02, 40)
        trend = log_trend(cost, quality, rng=rng)
        assert trend is not None
        covered += trend.per_decade_low <= 0.03 <= trend.per_decade_high
    assert 0.88 <= covered / 120 <= 1.0


def test_the_share_explained_is_one_on_a_line_and_near_zero_in_noise() -> None:
    rng = np.random.default_rng(1)
    cost = np.logspace(-3, 0, 200)
    on_line = log_trend(cost, 2 - 0.1 * np.log10(cost), rng=rng)
    noise = log_trend(cost, rng.normal(0, 1, 200), rng=rng)
    assert on_line is not None
    assert noise is not None
    assert on_line.explained == pytest.approx(1.0, abs=1e-4)
    assert 0 <= noise.explained < 0.05


def test_what_is_not_finite_or_free_is_left_out_and_few_costs_give_no_trend() -> None:
    rng = np.random.default_rng(0)
    cost = [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 0.0, np.nan, 7.0]
    quality = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, np.nan]
    assert log_trend(cost, quality, rng=rng) is None
    trend = log_trend([*cost, 6.0], [*quality, 0.6], rng=rng)
    assert trend is not None
    assert trend.designs == 7
    assert (trend.low_G <= trend.quality_G + 1e-9).all()
    assert log_trend([], [], rng=rng) is None
