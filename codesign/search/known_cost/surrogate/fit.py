"""Hyperparameters of a learned gain's process: maximum a posteriori, by closed-form gradients.

Priors of BoTorch: length scales (Hvarfner et al., "Vanilla Bayesian optimization performs great in
high dimensions", 2024) and noise. NumPy and SciPy only; symbols as in `kernel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize
from scipy.special import expit

from codesign.search.known_cost.surrogate.kernel import Kernel, Rows

Array = np.ndarray[Any, Any]

_LEAST_LENGTH, _LEAST_NOISE = 0.025, 1e-4
_MOST = 1e4
_LENGTH_LOG_SD = np.sqrt(3.0)
_NOISE_LOG_MEAN, _NOISE_LOG_SD = -4.0, 1.0
# Half of the training and all of it correlate by 0.9, give or take.
_DECAY_LOG_MEAN, _DECAY_LOG_SD = np.log(0.15), 1.0
# Earlier tasks are taken for related until their values say otherwise; logit of ρ.
_RELATION_MEAN, _RELATION_SD = 1.5, 2.0
_ITERATIONS = 60
_TOLERANCE = 1e-5  # of the log posterior of a row: proposals no longer change
_FIT_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """What is fitted.

    Attributes:
        noise: variance of one measurement.
        constant: the prior mean.
    """

    kernel: Kernel
    noise: float
    constant: float


def fit(rows: Rows, gains_R: Array) -> Hyperparameters:
    """Maximise the posterior density of the hyperparameters from one fixed start.

    Where there are more than 256 rows, 256 evenly spaced ones answer: the cost of a step grows
    with the cube of their number, and what they say of so few numbers does not.
    """
    kept = thinned(len(gains_R))
    rows, gains_R = rows.at(kept), gains_R[kept]
    features, tasks = rows.features_RM.shape[1], int(rows.task_R.max(initial=0))
    posterior = LogPosterior(rows, gains_R)
    found = minimize(
        lambda theta: tuple(-part / len(gains_R) for part in posterior(theta)),
        posterior.start(),
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(features, tasks),
        options={"maxiter": _ITERATIONS, "ftol": _TOLERANCE},
    )
    return unpack(found.x, features)


def thinned(rows: int) -> Array:
    """Return which rows the hyperparameters rest on: all, or 256 evenly spaced ones."""
    return np.linspace(0, rows - 1, min(rows, _FIT_ROWS)).round().astype(int)


class LogPosterior:
    """The log density of gains and hyperparameters, up to a constant, with its gradient.

    Its argument lists ln(length scales), ln(decay), logit(relations), ln(noise), the constant.
    """

    def __init__(self, rows: Rows, gains_R: Array) -> None:
        self._rows, self._gains_R = rows, gains_R
        features, tasks = rows.features_RM.shape[1], int(rows.task_R.max(initial=0))
        length_log_mean = np.sqrt(2.0) + np.log(features) / 2.0
        self._mean = np.array(
            [length_log_mean] * features
            + [_DECAY_LOG_MEAN]
            + [_RELATION_MEAN] * tasks
            + [_NOISE_LOG_MEAN, 0.0]
        )
        self._sd = np.array(
            [_LENGTH_LOG_SD] * features
            + [_DECAY_LOG_SD]
            + [_RELATION_SD] * tasks
            + [_NOISE_LOG_SD, np.inf]
        )
        # The log-normal densities are of the value, not of its logarithm.
        self._logs = np.array([1.0] * (features + 1) + [0.0] * tasks + [1.0, 0.0])

    def start(self) -> Array:
        """Return where to start: the priors' modes."""
        spread = np.where(np.isinf(self._sd), 0.0, self._sd)
        return np.asarray(self._mean - self._logs * spread**2)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient."""
        found = unpack(theta, self._rows.features_RM.shape[1])
        covariance_RR = found.kernel.covariance(self._rows, self._rows)
        covariance_RR[np.diag_indices_from(covariance_RR)] += found.noise
        lower_RR = cholesky(covariance_RR, lower=True, check_finite=False)
        error_R = self._gains_R - found.constant
        inverse_RR = cho_solve((lower_RR, True), np.eye(len(error_R)), check_finite=False)
        alpha_R = inverse_RR @ error_R
        weights_RR = 0.5 * (np.outer(alpha_R, alpha_R) - inverse_RR)
        by_length_M, by_decay, by_relation_T = found.kernel.gradient(self._rows, weights_RR)
        gradient = np.concatenate(
            [
                by_length_M,
                [by_decay],
                by_relation_T * (1.0 - found.kernel.relation_T),
                [found.noise * np.trace(weights_RR), alpha_R.sum()],
            ]
        )
        from_prior = (theta - self._mean) / self._sd
        value = -0.5 * error_R @ alpha_R - np.log(np.diag(lower_RR)).sum()
        value -= 0.5 * (from_prior @ from_prior) + self._logs @ theta
        return float(value), gradient - from_prior / self._sd - self._logs


def unpack(theta: Array, features: int) -> Hyperparameters:
    """Read the argument of `LogPosterior`."""
    kernel = Kernel(
        length_M=np.exp(theta[:features]),
        decay=float(np.exp(theta[features])),
        relation_T=expit(theta[features + 1 : -2]),
    )
    return Hyperparameters(kernel=kernel, noise=float(np.exp(theta[-2])), constant=float(theta[-1]))


def _bounds(features: int, tasks: int) -> list[tuple[float | None, float | None]]:
    most = float(np.log(_MOST))
    lengths = [(float(np.log(_LEAST_LENGTH)), most)] * features
    decay_and_relations = [(-most, most)] + [(-8.0, 8.0)] * tasks
    return [*lengths, *decay_and_relations, (float(np.log(_LEAST_NOISE)), most), (None, None)]
