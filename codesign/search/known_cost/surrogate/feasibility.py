"""Whether a design will train at all: regularised logistic regression. NumPy and SciPy only.

A design diverges, or runs out of memory, beyond some bound in learning rate, depth or size: a
bound in one direction, which a linear score of features and log compute follows from few failures.
Inference by Laplace's approximation (MacKay, "The evidence framework applied to classification
networks", 1992, equation 10 for the averaged probability). M features, N trials, W = M + 1 weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

Array = np.ndarray[Any, Any]

_WEIGHT_SD = 5.0
_BIAS_MEAN, _BIAS_SD = 3.0, 2.0
_NEWTON_STEPS = 50


class Feasibility:
    """The posterior of the regression's weights.

    Args:
        features_NM: of the trials, in [0, 1] or near.
        success_N: bool.
    """

    def __init__(self, features_NM: Array, success_N: Array) -> None:
        self._centre_M = features_NM.mean(axis=0)
        design_NW = self._design(features_NM)
        features = features_NM.shape[1]
        self._precision_W = np.append(np.full(features, _WEIGHT_SD**-2), _BIAS_SD**-2)
        self._prior_W = np.append(np.zeros(features), _BIAS_MEAN)
        self._weights_W = self._mode(design_NW, success_N.astype(np.float64))
        self._hessian_WW = self._hessian(design_NW, expit(design_NW @ self._weights_W))

    def log_success(self, features_CM: Array) -> Array:
        """Return the log probability that a design trains to the end: (C,), ≤ 0."""
        design_CW = self._design(features_CM)
        variance_C = (design_CW * np.linalg.solve(self._hessian_WW, design_CW.T).T).sum(axis=1)
        logit_C = design_CW @ self._weights_W / np.sqrt(1.0 + np.pi * variance_C / 8.0)
        return np.asarray(-np.logaddexp(0.0, -logit_C))

    def _design(self, features_RM: Array) -> Array:
        return np.hstack([features_RM - self._centre_M, np.ones((len(features_RM), 1))])

    def _hessian(self, design_NW: Array, probability_N: Array) -> Array:
        curvature_N = probability_N * (1.0 - probability_N)
        return np.asarray((design_NW.T * curvature_N) @ design_NW + np.diag(self._precision_W))

    def _loss(self, design_NW: Array, success_N: Array, weights_W: Array) -> float:
        logit_N = design_NW @ weights_W
        from_prior_W = weights_W - self._prior_W
        misfit = np.logaddexp(0.0, logit_N) - success_N * logit_N
        return float(misfit.sum() + 0.5 * (self._precision_W * from_prior_W) @ from_prior_W)

    def _mode(self, design_NW: Array, success_N: Array) -> Array:
        """Maximise the posterior density by Newton's method, halving steps that overshoot."""
        weights_W = self._prior_W.copy()
        for _ in range(_NEWTON_STEPS):
            probability_N = expit(design_NW @ weights_W)
            gradient_W = design_NW.T @ (probability_N - success_N)
            gradient_W += self._precision_W * (weights_W - self._prior_W)
            if np.abs(gradient_W).max() < 1e-9:
                break
            step_W = np.linalg.solve(self._hessian(design_NW, probability_N), gradient_W)
            before = self._loss(design_NW, success_N, weights_W)
            while self._loss(design_NW, success_N, weights_W - step_W) > before + 1e-9:
                step_W = step_W / 2.0
            weights_W = weights_W - step_W
        return weights_W
