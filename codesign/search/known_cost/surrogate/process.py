"""The belief of a learned gain: a Gaussian process given all trials, exact. NumPy and SciPy only.

Symbols as in `kernel`; N rows that are learned from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from codesign.search.known_cost.surrogate.fit import Hyperparameters, fit
from codesign.search.known_cost.surrogate.kernel import Rows
from codesign.search.known_cost.surrogate.law import Law, choose_law

Array = np.ndarray[Any, Any]


class Process:
    """The posterior of the noise-free gain of this study's designs at full fidelity.

    Args:
        rows: where values were measured.
        gains_N: the values.
        found: the hyperparameters of the prior.
        law: what the prior mean follows, if anything; its coefficient is inferred, too.
        unit: of the gains that the prior is of.
    """

    def __init__(
        self,
        rows: Rows,
        gains_N: Array,
        found: Hyperparameters,
        law: Law | None = None,
        *,
        unit: float = 1.0,
    ) -> None:
        self.features = rows.features_RM.shape[1]
        self._rows, self._found, self._law, self._unit = rows, found, law, unit
        covariance_NN = self._prior(rows, rows)
        covariance_NN[np.diag_indices_from(covariance_NN)] += found.noise
        self._lower_NN = cholesky(covariance_NN, lower=True, check_finite=False)
        self._weights_N = cho_solve((self._lower_NN, True), gains_N / unit - found.constant)

    @classmethod
    def fitted(cls, rows: Rows, gains_N: Array, *, compute: int | None = None) -> Process:
        """Fit the hyperparameters, and choose whether the mean follows a law in compute.

        The prior has a variance of 1, so gains are taken in units of their own spread: points of
        curves may differ by far more than the few trials that ended.

        Args:
            compute: the feature that is the logarithm of compute, if one is.
        """
        spread = float(gains_N.std())
        unit = spread if spread > 1e-12 else 1.0
        found = fit(rows, gains_N / unit)
        law = None if compute is None else choose_law(rows, gains_N / unit, found, compute)
        return cls(rows, gains_N, found, law, unit=unit)

    def mean(self, inputs_RX: Array) -> Array:
        """Return the mean: (R,). Columns beyond the features are not looked at, here and below."""
        cross_NR = self._prior(self._rows, self._asked(inputs_RX))
        return np.asarray(self._unit * (self._found.constant + cross_NR.T @ self._weights_N))

    def variance(self, inputs_RX: Array) -> Array:
        """Return the variance: (R,)."""
        asked = self._asked(inputs_RX)
        prior_R = np.ones(len(inputs_RX))
        if self._law is not None:
            prior_R = prior_R + self._law.basis(asked.features_RM) ** 2
        return np.asarray(self._unit**2 * (prior_R - np.square(self._half(asked)).sum(axis=0)))

    def covariance(self, left_AX: Array, right_BX: Array) -> Array:
        """Return the covariance of each pair: (A, B)."""
        left, right = self._asked(left_AX), self._asked(right_BX)
        given_AB = self._half(left).T @ self._half(right)
        return np.asarray(self._unit**2 * (self._prior(left, right) - given_AB))

    def joint(self, inputs_BQX: Array) -> tuple[Array, Array]:
        """Return means, (B, Q), and covariances, (B, Q, Q), of batches of rows."""
        batches, rows = inputs_BQX.shape[:2]
        # Batches share most of their rows: the designs to beat.
        flat_RX, place_R = np.unique(
            inputs_BQX.reshape(batches * rows, -1), axis=0, return_inverse=True
        )
        place_BQ = place_R.reshape(batches, rows)
        covariance_RR = self.covariance(flat_RX, flat_RX)
        return (
            self.mean(flat_RX)[place_BQ],
            covariance_RR[place_BQ[:, :, None], place_BQ[:, None, :]],
        )

    def _asked(self, inputs_RX: Array) -> Rows:
        return Rows.own(inputs_RX[:, : self.features])

    def _prior(self, left: Rows, right: Rows) -> Array:
        prior_AB = self._found.kernel.covariance(left, right)
        if self._law is None:
            return prior_AB
        return prior_AB + np.outer(
            self._law.basis(left.features_RM), self._law.basis(right.features_RM)
        )

    def _half(self, asked: Rows) -> Array:
        cross_NR = self._prior(self._rows, asked)
        return solve_triangular(self._lower_NN, cross_NR, lower=True, check_finite=False)
