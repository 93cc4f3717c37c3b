import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective import logei

from codesign.search.known_cost import monte_carlo
from codesign.search.known_cost.monte_carlo import MonteCarlo
from codesign.search.known_cost.surrogate import learn, models
from tests.support.curve_problem import curve_problem, inputs


def model_of(problem):
    return models.model_of(problem, learn(problem))


def scores(problem, *, draws=64, seed=0):
    return MonteCarlo(problem, model_of(problem), problem.trained_NX, draws=draws, seed=seed)


def test_a_known_objective_is_its_own_column_without_uncertainty():
    model = model_of(curve_problem(known=1))
    posterior = model.posterior(torch.tensor([[0.3, 0.4], [0.7, -7.0]], dtype=torch.float64))
    assert posterior.mean[:, 1].tolist() == [0.4, -7.0]
    assert posterior.variance[:, 1].tolist() == [0.0, 0.0]


def test_the_learned_model_does_not_see_the_known_column():
    model = model_of(curve_problem(known=1))
    rows = torch.tensor([[0.3, 0.4], [0.3, -7.0]], dtype=torch.float64)
    mean = model.posterior(rows).mean[:, 0]
    assert mean[0].item() == pytest.approx(mean[1].item(), rel=1e-12)
    assert mean[0].item() == pytest.approx(np.sin(1.5), abs=0.1)


def test_a_prediction_has_the_deviation_of_its_interval_half_its_variance_shared():
    model = models._Predicted(0, 1)
    rows = torch.tensor([[0.3, 0.4], [0.7, 2.0]], dtype=torch.float64)
    posterior = model.posterior(rows)
    assert posterior.mean[:, 0].tolist() == [0.3, 0.7]
    covariance = posterior.distribution.covariance_matrix
    expected = torch.tensor([[0.16, 0.4], [0.4, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(covariance, expected)


def test_objectives_draw_their_errors_apart():
    problem = curve_problem(known=1, sd=1.0)
    rows = torch.from_numpy(inputs(np.array([0.5]), known=1, sd=1.0))
    posterior = model_of(problem).posterior(rows)
    draws = monte_carlo._sampler(posterior, 4096, seed=0)(posterior)[:, 0].detach()
    assert abs(np.corrcoef(draws.T.numpy())[0, 1]) < 0.1


def test_what_is_worse_in_both_curves_scores_less():
    # Past its peak at pi / 10 the first curve falls, and the second falls everywhere.
    found = scores(curve_problem(known=0, learned=2)).score(
        inputs(np.array([0.27, 0.5, 0.9]), known=0)
    )
    assert found[0] > found[1] > found[2]


def test_a_pending_trial_lowers_the_score_of_its_neighbours():
    acquisition = scores(curve_problem(known=0, learned=2))
    rows = inputs(np.array([0.26]), known=0)
    free = acquisition.score(rows)
    acquisition.draw(inputs(np.array([0.265]), known=0))
    assert acquisition.score(rows) < free - 0.5


def test_no_kernel_is_compiled_for_the_machine_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    scores(curve_problem(known=0, learned=2)).score(inputs(np.array([0.3]), known=0))
    assert logei._C is None
    assert list(tmp_path.iterdir()) == []
