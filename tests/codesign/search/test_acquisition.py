from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective import logei

from codesign.search import acquisition, models
from codesign.search.acquisition import choose
from codesign.search.problem import Problem


def predicted(sd: float) -> Problem:
    """The problem whose second gain is known, with that gain predicted as well as `sd` says."""
    counted = problem(known=True)

    def with_sd(rows_RX):
        return np.concatenate([rows_RX, np.full((len(rows_RX), 1), sd)], axis=1)

    return replace(
        counted,
        trained_NX=with_sd(counted.trained_NX),
        candidates_CX=with_sd(counted.candidates_CX),
        pending_PX=with_sd(counted.pending_PX),
        sd_column=[None, 2],
    )


def problem(*, known: bool, seed: int = 0) -> Problem:
    """Ten trials of a curve over one feature, and with it, if asked, a known second gain."""
    x = np.linspace(0.0, 1.0, 10)[:, None]
    candidates = np.linspace(0.0, 1.0, 41)[:, None] + 0.001
    learned = np.sin(5.0 * x[:, 0])

    def with_known(x_N1):
        return np.concatenate([x_N1, -2.0 * x_N1 + 1.0], axis=1)

    if not known:
        return Problem(
            features=1,
            trained_NX=x,
            candidates_CX=candidates,
            pending_PX=np.zeros((0, 1)),
            gains_NO=learned[:, None],
            known_column=[None],
            sd_column=[None],
            reference_O=np.zeros(1),
        )
    return Problem(
        features=1,
        trained_NX=with_known(x),
        candidates_CX=with_known(candidates),
        pending_PX=np.zeros((0, 2)),
        gains_NO=np.stack([learned, with_known(x)[:, 1]], axis=1),
        known_column=[None, 1],
        sd_column=[None, None],
        reference_O=np.array([-1.5, -1.5]),
    )


def test_a_known_objective_is_its_own_column_without_uncertainty():
    model = models.model_of(problem(known=True))
    inputs = torch.tensor([[0.3, 0.4], [0.7, -7.0]], dtype=torch.float64)
    posterior = model.posterior(inputs)
    assert posterior.mean[:, 1].tolist() == [0.4, -7.0]
    assert posterior.variance[:, 1].tolist() == [0.0, 0.0]


def test_the_learned_model_does_not_see_the_known_column():
    model = models.model_of(problem(known=True))
    inputs = torch.tensor([[0.3, 0.4], [0.3, -7.0]], dtype=torch.float64)
    mean = model.posterior(inputs).mean[:, 0]
    assert mean[0].item() == pytest.approx(mean[1].item(), rel=1e-12)
    assert mean[0].item() == pytest.approx(np.sin(1.5), abs=0.1)


def test_a_prediction_has_the_deviation_of_its_interval_half_its_variance_shared():
    model = models._Predicted(0, 1)
    inputs = torch.tensor([[0.3, 0.4], [0.7, 2.0]], dtype=torch.float64)
    posterior = model.posterior(inputs)
    assert posterior.mean[:, 0].tolist() == [0.3, 0.7]
    covariance = posterior.distribution.covariance_matrix
    expected = torch.tensor([[0.16, 0.4], [0.4, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(covariance, expected)


def test_an_interval_that_closes_makes_a_prediction_a_known_cost():
    known = choose(problem(known=True), 4, mc_samples=64, seed=0)
    assert choose(predicted(1e-7), 4, mc_samples=64, seed=0) == known
    assert choose(predicted(2.0), 4, mc_samples=64, seed=0) != known


def front_and_two_candidates(*, sd: float) -> Problem:
    """A flat quality and a second gain: a sure small step, or an unsure equal one.

    Both candidates are alike to the model of quality, and lie on its trained points.
    """
    x = np.linspace(0.0, 1.0, 6)
    gain = np.array([0.0, -0.5, -1.0, -0.2, -0.8, -0.4])
    flat = np.zeros(6)
    trained = np.stack([x, gain, np.full(6, 1e-3)], axis=1)
    candidates = np.array([[0.5, 0.05, 1e-3], [0.5, -0.1, sd]])
    return Problem(
        features=1,
        trained_NX=trained,
        candidates_CX=candidates,
        pending_PX=np.zeros((0, 3)),
        gains_NO=np.stack([flat, gain], axis=1),
        known_column=[None, 1],
        sd_column=[None, 2],
        reference_O=np.array([-1.0, -1.5]),
    )


def test_a_wide_interval_is_worth_trying_where_its_median_alone_is_not():
    assert choose(front_and_two_candidates(sd=1e-3), 1, mc_samples=256, seed=0) == [0]
    assert choose(front_and_two_candidates(sd=2.0), 1, mc_samples=256, seed=0) == [1]


def test_objectives_draw_their_errors_apart():
    model = models.model_of(predicted(1.0))
    posterior = model.posterior(torch.from_numpy(predicted(1.0).candidates_CX[:1]))
    draws = acquisition._sampler(posterior, 4096, seed=0)(posterior)[:, 0].detach()
    assert abs(np.corrcoef(draws.T.numpy())[0, 1]) < 0.1


def test_one_objective_is_refined_at_its_peak():
    (row,) = choose(problem(known=False), 1, mc_samples=64, seed=0)
    assert problem(known=False).candidates_CX[row, 0] == pytest.approx(np.pi / 10, abs=0.08)


def test_what_is_both_worse_and_dearer_is_not_chosen():
    # Past its peak at pi / 10 the curve falls while the known gain falls too.
    rows = choose(problem(known=True), 4, mc_samples=64, seed=0)
    assert len(set(rows)) == 4
    assert (problem(known=True).candidates_CX[rows, 0] < 0.5).all()


def test_a_pending_trial_lowers_the_score_of_its_neighbours():
    free = problem(known=False)
    (row,) = choose(free, 1, mc_samples=64, seed=0)
    held = replace(free, pending_PX=free.candidates_CX[row : row + 1])
    assert choose(held, 1, mc_samples=64, seed=0) == choose(free, 2, mc_samples=64, seed=0)[1:]


def test_no_more_is_chosen_than_there_is():
    few = replace(problem(known=True), candidates_CX=problem(known=True).candidates_CX[:3])
    assert sorted(choose(few, 9, mc_samples=16, seed=0)) == [0, 1, 2]


def test_no_kernel_is_compiled_for_the_machine_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert choose(problem(known=True), 1, mc_samples=16, seed=0)
    assert logei._C is None
    assert list(tmp_path.iterdir()) == []
