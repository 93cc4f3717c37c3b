import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.search.known_cost.surrogate.fit import Hyperparameters
from codesign.search.known_cost.surrogate.kernel import Kernel, Rows
from codesign.search.known_cost.surrogate.law import Law, choose_law
from codesign.search.known_cost.surrogate.models import _Learned
from codesign.search.known_cost.surrogate.process import Process


def kernel_by_hand(kernel, a, b):
    """The covariance of two rows, each (features, fidelity, task), by the formula."""
    (x, f, s), (y, g, t) = a, b
    r = np.sqrt(
        sum(((p - q) / length) ** 2 for p, q, length in zip(x, y, kernel.length_M, strict=True))
    )
    matern = (1 + np.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-np.sqrt(5) * r)
    rho = [1.0, *kernel.relation_T]
    related = 1.0 if s == t else rho[s] * rho[t]
    offset = 0.25 if s == t and s > 0 else 0.0
    return matern * related * (min(f, g) / max(f, g)) ** kernel.decay + offset


@st.composite
def priors(draw):
    """Rows of several tasks and fidelities, repeated ones among them, and a kernel."""
    features, count = draw(st.integers(1, 4)), draw(st.integers(1, 10))
    level = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    x = draw(
        st.lists(
            st.lists(level, min_size=features, max_size=features), min_size=count, max_size=count
        )
    )
    fidelity = draw(st.lists(st.floats(0.01, 1.0), min_size=count, max_size=count))
    task = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    rows = Rows(features_RM=np.array(x), log_fidelity_R=np.log(fidelity), task_R=np.array(task))
    kernel = Kernel(
        length_M=np.array(
            draw(st.lists(st.floats(0.025, 50.0), min_size=features, max_size=features))
        ),
        decay=draw(st.floats(0.0, 10.0)),
        relation_T=np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2))),
    )
    return rows, kernel, list(zip(x, fidelity, task, strict=True))


@settings(max_examples=60, deadline=None)
@given(priors())
def test_the_prior_is_the_formula_and_positive_semidefinite(prior):
    rows, kernel, by_hand = prior
    found_RR = kernel.covariance(rows, rows)
    expected_RR = [[kernel_by_hand(kernel, a, b) for b in by_hand] for a in by_hand]
    np.testing.assert_allclose(found_RR, expected_RR, atol=1e-10)
    assert np.linalg.eigvalsh(found_RR).min() > -1e-9


@settings(max_examples=40, deadline=None)
@given(priors(), st.floats(1e-3, 1.0), st.booleans(), st.integers(0, 99))
def test_the_posterior_is_that_of_the_dense_formula(prior, noise, with_law, seed):
    rows, kernel, by_hand = prior
    rng = np.random.default_rng(seed)
    gains_N, asked_RM = rng.standard_normal(len(by_hand)), rng.random((3, len(kernel.length_M)))
    law = Law(compute=0, bend=2.0, centre=0.3, spread=0.5) if with_law else None
    found = Hyperparameters(kernel=kernel, noise=noise, constant=0.3)
    process = Process(rows, gains_N, found, law)

    everything = [*by_hand, *((x, 1.0, 0) for x in asked_RM)]
    joint = np.array([[kernel_by_hand(kernel, a, b) for b in everything] for a in everything])
    if with_law:
        h = (1.0 - np.exp(-2.0 * np.array([x[0] for x, _, _ in everything])) - 0.3) / 0.5
        joint += np.outer(h, h)
    n = len(by_hand)
    gain = joint[n:, :n] @ np.linalg.inv(joint[:n, :n] + noise * np.eye(n))
    covariance = joint[n:, n:] - gain @ joint[:n, n:]
    close = {"rtol": 1e-6, "atol": 1e-7}
    np.testing.assert_allclose(process.mean(asked_RM), 0.3 + gain @ (gains_N - 0.3), **close)
    np.testing.assert_allclose(process.covariance(asked_RM, asked_RM), covariance, **close)
    np.testing.assert_allclose(process.variance(asked_RM), np.diag(covariance), **close)


def steep(rows, *, seed=0):
    """A gain that follows log compute, the last feature, far beyond what is left to others."""
    rng = np.random.default_rng(seed)
    x_RM = rng.random((rows, 3))
    return x_RM, 3.0 * x_RM[:, 2] - 1.5 + 0.1 * rng.standard_normal(rows)


def test_left_out_densities_choose_the_law_that_predicts():
    # A length scale too short for the trend: only a law carries it from trial to trial.
    kernel = Kernel(length_M=np.full(3, 0.2), decay=0.1, relation_T=np.zeros(0))
    found = Hyperparameters(kernel=kernel, noise=0.05, constant=0.0)
    x_RM, gains_N = steep(40)
    law = choose_law(Rows.own(x_RM), gains_N, found, 2)
    unseen_RM, unseen_R = steep(100, seed=1)
    errors = [
        np.abs(Process(Rows.own(x_RM), gains_N, found, each).mean(unseen_RM) - unseen_R).mean()
        for each in (law, None)
    ]
    assert errors[0] < errors[1] / 2
    noise_N = np.random.default_rng(2).standard_normal(40)
    assert choose_law(Rows.own(x_RM), noise_N, found, 2) is None
    x_RM[:, 2] = 0.5
    assert choose_law(Rows.own(x_RM), gains_N, found, 2) is None


def test_botorch_is_given_the_same_posterior_batch_by_batch():
    x_RM, gains_N = steep(20)
    process = Process.fitted(Rows.own(x_RM), gains_N, compute=2)
    asked = np.random.default_rng(3).random((4, 5, 3))
    posterior = _Learned(process).posterior(torch.from_numpy(asked))
    for batch, rows_QX in enumerate(asked):
        mean = posterior.mean[batch, :, 0].numpy()
        covariance = posterior.distribution.covariance_matrix[batch].numpy()
        np.testing.assert_allclose(mean, process.mean(rows_QX), atol=1e-9)
        np.testing.assert_allclose(covariance, process.covariance(rows_QX, rows_QX), atol=1e-7)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_same_trials_give_the_same_process_to_the_last_bit(scale):
    x_RM, gains_N = steep(30)
    first, second = (Process.fitted(Rows.own(x_RM), scale * gains_N, compute=2) for _ in range(2))
    assert first.mean(x_RM).tobytes() == second.mean(x_RM).tobytes()
