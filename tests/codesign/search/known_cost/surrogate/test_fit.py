import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.optimize import approx_fprime

from codesign.search.known_cost.surrogate.fit import LogPosterior, fit, unpack
from codesign.search.known_cost.surrogate.kernel import Rows


def wavy(rows, features, *, seed=0, noise=0.2):
    rng = np.random.default_rng(seed)
    x_RM = rng.random((rows, features))
    gains_R = np.sin(5.0 * x_RM[:, 0]) + x_RM[:, 1] ** 2 + noise * rng.standard_normal(rows)
    return x_RM, (gains_R - gains_R.mean()) / gains_R.std()


def botorch_mll(x_RM, gains_R):
    """The same model by BoTorch, and its log posterior as GPyTorch computes it."""
    model = SingleTaskGP(
        torch.from_numpy(x_RM),
        torch.from_numpy(gains_R[:, None]),
        covar_module=get_covar_module_with_dim_scaled_prior(
            ard_num_dims=x_RM.shape[1], use_rbf_kernel=False
        ),
        outcome_transform=None,
    )
    return model, ExactMarginalLogLikelihood(model.likelihood, model)


def their_value(model, mll, x_RM, gains_R, found):
    """GPyTorch's log posterior density at our hyperparameters, and its gradient by theirs."""
    model.covar_module.lengthscale = torch.from_numpy(found.kernel.length_M)
    model.likelihood.noise = found.noise
    model.mean_module.constant.data.fill_(found.constant)
    model.train()
    value = mll(model(torch.from_numpy(x_RM)), torch.from_numpy(gains_R))
    value.backward()
    return value.item()


def test_the_gradient_is_that_of_autograd():
    x_RM, gains_R = wavy(30, 3)
    posterior = LogPosterior(Rows.own(x_RM), gains_R)
    theta = posterior.start() + np.array([-1.0, 0.3, 0.5, 0.0, 0.7, 0.2])

    model, mll = botorch_mll(x_RM, gains_R)
    their_value(model, mll, x_RM, gains_R, unpack(theta, 3))
    found = posterior(theta)[1] / len(gains_R)
    lengths = model.covar_module.raw_lengthscale.grad[0].numpy() * np.exp(theta[:3])
    noise = model.likelihood.noise_covar.raw_noise.grad.item() * np.exp(theta[-2])
    constant = model.mean_module.raw_constant.grad.item()
    np.testing.assert_allclose(found[[0, 1, 2, 4, 5]], [*lengths, noise, constant], rtol=1e-6)


def test_the_gradient_by_fidelity_and_task_is_that_of_finite_differences():
    x_RM, gains_R = wavy(24, 2)
    rows = Rows(
        features_RM=x_RM,
        log_fidelity_R=np.log(np.tile([1.0, 0.5, 0.25], 8)),
        task_R=np.repeat([0, 1, 2], 8),
    )
    posterior = LogPosterior(rows, gains_R)
    theta = posterior.start() + np.linspace(-0.5, 0.5, 7)
    expected = approx_fprime(theta, lambda at: posterior(at)[0], 1e-7)
    np.testing.assert_allclose(posterior(theta)[1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "features"), [(12, 2), (60, 6), (100, 12)])
def test_the_optimum_is_as_probable_as_botorch_s(rows, features):
    x_RM, gains_R = wavy(rows, features)
    model, mll = botorch_mll(x_RM, gains_R)
    fit_gpytorch_mll(mll)
    model.train()
    with torch.no_grad():
        theirs = mll(model(torch.from_numpy(x_RM)), torch.from_numpy(gains_R)).item()
    ours = their_value(model, mll, x_RM, gains_R, fit(Rows.own(x_RM), gains_R))
    assert ours >= theirs - 0.005


@pytest.mark.parametrize(
    ("x_RM", "gains_R"),
    [
        (np.array([[0.2], [0.8]]), np.array([1.0, -1.0])),
        (np.full((6, 2), 0.5), np.zeros(6)),
        (np.tile([[0.1, 0.5], [0.9, 0.5]], (10, 1)), np.random.default_rng(0).normal(size=20)),
    ],
    ids=["two points", "all equal", "repeated designs, a constant feature"],
)
def test_little_data_leaves_finite_hyperparameters(x_RM, gains_R):
    found = fit(Rows.own(x_RM), gains_R)
    assert np.isfinite([*found.kernel.length_M, found.noise, found.constant]).all()


def test_more_trials_than_a_fit_looks_at_give_a_like_fit():
    x_RM, gains_R = wavy(600, 3)
    found, fewer = fit(Rows.own(x_RM), gains_R), fit(Rows.own(x_RM[:250]), gains_R[:250])
    assert found.noise == pytest.approx(fewer.noise, rel=0.4)
    assert found.kernel.length_M[0] < found.kernel.length_M[1] < found.kernel.length_M[2]
