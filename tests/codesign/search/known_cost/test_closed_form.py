import itertools
from dataclasses import replace

import numpy as np
import pytest

from codesign.search.known_cost.closed_form import ClosedForm
from codesign.search.known_cost.surrogate import learn
from tests.support.curve_problem import curve_problem, inputs, with_noise

X_C = np.linspace(0.02, 0.98, 17)


def process_of(problem):
    return learn(problem).processes[problem.known_column.index(None)]


def closed_form(problem, *, draws=64, seed=0, baseline=None):
    baseline_BX = problem.trained_NX if baseline is None else baseline
    rng = np.random.default_rng(seed)
    return ClosedForm(problem, process_of(problem), baseline_BX, draws=draws, rng=rng)


def unsure(problem):
    """The same after four of the ten trials, so that gains are no rare events."""
    return replace(problem, trained_NX=problem.trained_NX[::3], gains_NO=problem.gains_NO[::3])


def brute_force(problem, row_X, *, pending_PX=None, samples=20_000):
    """The mean hypervolume improvement over joint samples, and its standard error.

    By definition: over all that the known gains of the candidate reach, what it is better there
    than the best design that reaches it, too. Where costs are predicted, on a fine grid.
    """
    rng, process = np.random.default_rng(1), process_of(problem)
    pending_PX = problem.trained_NX[:0] if pending_PX is None else pending_PX
    rows = np.concatenate([problem.trained_NX, pending_PX, row_X[None, :]])
    mean_R, covariance_RR = process.mean(rows), process.covariance(rows, rows)
    values_SR = rng.multivariate_normal(mean_R, covariance_RR, size=samples)
    known = len(problem.known_column) - 1
    known_SRK = np.repeat(rows[None, :, 1 : 1 + known], samples, axis=0)
    if problem.sd_column[-1] is not None:
        shared_S1, own_SR = rng.standard_normal((samples, 1)), rng.standard_normal(values_SR.shape)
        known_SRK[:, :, -1] += rows[:, -1] * np.sqrt(0.5) * (shared_S1 + own_SR)
        edges = [np.linspace(problem.reference_O[1], known_SRK.max(), 400)]
    else:
        corners = np.vstack([rows[:, 1 : 1 + known], problem.reference_O[1:]])
        edges = [np.unique(corner[corner >= corner[-1]]) for corner in corners.T]
    gain_S = np.zeros(samples)
    for cell in itertools.product(*(itertools.pairwise(e) for e in edges)):
        middle_K = np.array([sum(ends) / 2 for ends in cell])
        volume = np.prod([high - low for low, high in cell])
        reaches_SR = (known_SRK >= middle_K).all(axis=2)
        best_S = np.where(reaches_SR[:, :-1], values_SR[:, :-1], -np.inf).max(axis=1)
        if known:
            best_S = np.maximum(best_S, problem.reference_O[0])
        gain_S += volume * reaches_SR[:, -1] * np.maximum(values_SR[:, -1] - best_S, 0.0)
    return gain_S.mean(), gain_S.std() / np.sqrt(samples)


def assert_as_by_brute_force(problem, rows, *, pending_PX=None):
    """Compare gains within four standard errors, which are a few percent."""
    found_DC = []
    for seed in range(12):
        drawn = closed_form(problem, draws=512, seed=seed)
        if pending_PX is not None:
            drawn.draw(pending_PX)
        found_DC.append(np.exp(drawn.score(rows)))
    found_C = np.mean(found_DC, axis=0)
    error_C = np.std(found_DC, axis=0, ddof=1) / np.sqrt(len(found_DC))
    for row_X, found, error in zip(rows, found_C, error_C, strict=True):
        expected, its_error = brute_force(problem, row_X, pending_PX=pending_PX)
        off = 4.0 * np.hypot(error, its_error)
        assert off < 0.15 * expected
        assert found == pytest.approx(expected, abs=off)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_gains_over_known_costs_are_those_of_joint_samples(known):
    problem = unsure(curve_problem(known=known))
    rows = inputs(np.array([0.2, 0.25, 0.45]), known=known)
    assert_as_by_brute_force(problem, rows)


def test_gains_over_a_predicted_cost_are_those_of_joint_samples():
    problem = unsure(curve_problem(known=1, sd=0.4))
    assert_as_by_brute_force(problem, inputs(np.array([0.02, 0.2]), known=1, sd=0.4))


@pytest.mark.parametrize("known", [0, 1])
def test_pending_trials_have_to_be_beaten_as_by_joint_samples(known):
    problem = unsure(curve_problem(known=known))
    pending_PX = inputs(np.array([0.15, 0.6]), known=known)
    rows = inputs(np.array([0.25, 0.45]), known=known)
    assert_as_by_brute_force(problem, rows, pending_PX=pending_PX)


def test_an_interval_that_closes_makes_a_prediction_a_known_cost():
    rows = inputs(X_C, known=1)
    known = closed_form(curve_problem(known=1), draws=256).score(rows)
    narrow, wide = (
        closed_form(curve_problem(known=1, sd=sd), draws=256).score(inputs(X_C, known=1, sd=sd))
        for sd in (1e-7, 2.0)
    )
    np.testing.assert_allclose(narrow, known, atol=1e-4)
    assert np.abs(wide - known).max() > 1.0


def test_the_draws_follow_the_joint_posterior():
    problem = with_noise(curve_problem(known=0), 0.3)
    process = process_of(problem)
    rows = inputs(np.array([0.05, 0.1, 0.9]), known=0)
    drawn = closed_form(problem, draws=20_000, baseline=rows[:0])
    drawn.draw(rows[:1])
    drawn.draw(rows[1:])  # given the first
    values_SB = drawn._values_SB
    np.testing.assert_allclose(values_SB.mean(axis=0), process.mean(rows), atol=0.01)
    expected = process.covariance(rows, rows)
    np.testing.assert_allclose(np.cov(values_SB.T), expected, atol=0.03 * expected.max())


def test_designs_that_cannot_be_on_the_front_change_nothing():
    problem = curve_problem(known=1)
    drawn = closed_form(problem)
    # Behind the peak at pi / 10, less of the curve costs more.
    assert drawn._inputs_BX[:, 0].max() < 0.5
    assert len(drawn._inputs_BX) >= 3


def test_without_any_trial_of_its_own_a_study_still_has_scores():
    for known in (0, 1):
        problem = curve_problem(known=known)
        found = closed_form(problem, baseline=problem.trained_NX[:0])
        assert np.isfinite(found.score(inputs(X_C, known=known))).all()


def test_one_objective_is_refined_at_its_peak():
    found = closed_form(curve_problem(known=0)).score(inputs(X_C, known=0))
    assert X_C[found.argmax()] == pytest.approx(np.pi / 10, abs=0.08)


def test_a_wide_interval_is_worth_trying_where_its_median_alone_is_not():
    """A flat quality, and a cost that has a sure small step or an unsure equal one."""
    problem = curve_problem(known=1, sd=1e-3)
    x = np.linspace(0.0, 1.0, 10)
    problem.trained_NX[:, 1] = np.where(x == 0.0, 0.0, -0.5)
    problem.gains_NO[:] = np.stack([np.zeros(10), problem.trained_NX[:, 1]], axis=1)
    rows = np.array([[0.5, 0.05, 1e-3], [0.5, -0.1, 1e-3], [0.5, -0.1, 2.0]])
    sure, median, unsure = closed_form(problem, draws=256).score(rows)
    assert median < sure < unsure


def test_where_nothing_gains_what_is_nearest_to_the_reference_is_best():
    problem = curve_problem(known=1)
    rows = inputs(np.array([0.2, 0.6, 0.9]), known=1)  # costs more and more
    far = replace(problem, reference_O=np.array([-1.5, 5.0]))
    first, second, third = closed_form(far).score(rows)
    assert first > second > third
    near = replace(problem, reference_O=np.array([-1.5, 0.0]))
    gaining, second, third = closed_form(near).score(rows)
    assert gaining > -100.0 > second > third
