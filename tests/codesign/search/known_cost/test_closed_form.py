import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.sampling.normal import SobolQMCNormalSampler

from codesign.search.known_cost.closed_form import ClosedForm
from codesign.search.known_cost.monte_carlo import MonteCarlo
from codesign.search.known_cost.surrogate import learn, models
from tests.support.curve_problem import curve_problem, inputs, with_noise

X_C = np.linspace(0.02, 0.98, 17)


def model_of(problem):
    return models.model_of(problem, learn(problem))


def process_of(problem):
    return learn(problem).processes[problem.known_column.index(None)]


def closed_form(problem, *, draws=64, seed=0, baseline=None):
    baseline_BX = problem.trained_NX if baseline is None else baseline
    rng = np.random.default_rng(seed)
    return ClosedForm(problem, process_of(problem), baseline_BX, draws=draws, rng=rng)


def assert_alike(found_C, expected_C):
    """Compare scores where they matter (and BoTorch's smoothing does not): close to the best."""
    close = expected_C > expected_C.max() - 1.5
    assert close.sum() >= 3
    np.testing.assert_allclose(found_C[close], expected_C[close], atol=0.2)


@pytest.mark.parametrize("known", [1, 2])
def test_known_costs_are_scored_as_botorch_samples_them(known):
    problem = with_noise(curve_problem(known=known), 0.2)
    rows = inputs(X_C, known=known)
    sampled = MonteCarlo(problem, model_of(problem), problem.trained_NX, draws=1024, seed=0)
    assert_alike(closed_form(problem, draws=1024).score(rows), sampled.score(rows))


def test_a_predicted_cost_is_scored_as_botorch_samples_it():
    problem = with_noise(curve_problem(known=1, sd=0.4), 0.2)
    rows = inputs(X_C, known=1, sd=0.4)
    sampled = MonteCarlo(problem, model_of(problem), problem.trained_NX, draws=4096, seed=0)
    assert_alike(closed_form(problem, draws=2048).score(rows), sampled.score(rows))


def test_one_objective_is_scored_as_botorch_samples_it():
    problem = with_noise(curve_problem(known=0), 0.2)
    theirs = qLogNoisyExpectedImprovement(
        model_of(problem),
        torch.from_numpy(problem.trained_NX),
        sampler=SobolQMCNormalSampler(torch.Size([4096]), seed=0),
    )
    rows = inputs(X_C, known=0)
    with torch.no_grad():
        values_C = theirs(torch.from_numpy(rows)[:, None, :]).numpy()
    assert_alike(closed_form(problem, draws=1024).score(rows), values_C)


def test_pending_trials_have_to_be_beaten_as_by_brute_force():
    problem = with_noise(curve_problem(known=0), 0.2)
    process, pending = process_of(problem), inputs(np.array([0.3, 0.6]), known=0)
    drawn = closed_form(problem, draws=2048)
    drawn.draw(pending)
    for x in (0.2, 0.28, 0.42):
        rows = np.concatenate([problem.trained_NX, pending, [[x]]])
        values_SR = np.random.default_rng(0).multivariate_normal(
            process.mean(rows), process.covariance(rows, rows), size=200_000
        )
        gain = np.maximum(values_SR[:, -1] - values_SR[:, :-1].max(axis=1), 0.0).mean()
        assert np.exp(drawn.score(rows[-1:])[0]) == pytest.approx(gain, rel=0.1)


def test_an_interval_that_closes_makes_a_prediction_a_known_cost():
    rows = inputs(X_C, known=1)
    known = closed_form(curve_problem(known=1), draws=256).score(rows)
    narrow, wide = (
        closed_form(curve_problem(known=1, sd=sd), draws=256).score(inputs(X_C, known=1, sd=sd))
        for sd in (1e-7, 2.0)
    )
    assert_alike(narrow, known)
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
