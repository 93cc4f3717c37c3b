"""Scores of candidates where exactly one objective is learned: noisy expected improvement.

The designs that a candidate has to beat have noisy values, so their true values are drawn from the
posterior; given a draw, the candidate's own value is normal and its gain is closed
(`codesign.search.known_cost.gain`). The score averages over draws (Letham et al., "Constrained
Bayesian optimization with noisy experiments", 2019; several objectives: Daulton et al., "Parallel
Bayesian optimization of multiple noisy objectives", 2021). Pending trials are drawn along with
them, and so is what predicted costs turn out to be.

C candidates, B designs that are drawn, F of them on the front of one draw, S draws, K known gains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from codesign.pareto import pareto_mask
from codesign.search.known_cost.gain import log_expected_gain, log_sum_exp
from codesign.search.known_cost.problem import SHARED_VARIANCE

if TYPE_CHECKING:
    from codesign.contracts import Goal
    from codesign.search.known_cost.problem import Problem

Array = np.ndarray[Any, Any]

_CLEARLY_WORSE_SD = 4.0
# The score of what certainly gains nothing, less as much for each unit of gain that it falls short
# of the reference: below all others, and so that local search finds what does gain.
_BEYOND_REFERENCE = -1e15
_JITTER = 1e-8
_LEAST_VARIANCE = 1e-12


class Process(Protocol):
    """The belief of the learned gain: a Gaussian process, given the trials."""

    def mean(self, inputs_RX: Array) -> Array:
        """Return the mean of the noise-free gain: (R,)."""

    def variance(self, inputs_RX: Array) -> Array:
        """Return its variance: (R,)."""

    def covariance(self, left_AX: Array, right_BX: Array) -> Array:
        """Return the covariance of each pair: (A, B)."""


class ClosedForm:
    """Scores candidates by the logarithm of their expected gain.

    Args:
        baseline_BX: inputs of the designs to beat; those that certainly are not on the front are
            left out.
        draws: S.
    """

    steps = 16

    def __init__(
        self,
        problem: Problem,
        process: Process,
        baseline_BX: Array,
        *,
        draws: int,
        rng: np.random.Generator,
    ) -> None:
        known = [(at, c) for at, c in enumerate(problem.known_column) if c is not None]
        self._known = [c for _, c in known]
        self._sd = [problem.sd_column[at] for at, _ in known]
        learned = problem.known_column.index(None)
        self._reference = float(problem.reference_O[learned])
        self._reference_K = problem.reference_O[[at for at, _ in known]]
        self._process = process
        self._rng = rng
        self._common_SK = rng.standard_normal((draws, len(known)))
        self._own_SK = rng.standard_normal((draws, len(known)))
        self._hold(baseline_BX[:0], np.zeros((draws, 0)), np.zeros((draws, 0, len(known))))
        self.draw(baseline_BX[self._may_be_best(baseline_BX)])
        ever_B = np.any(self._fronts, axis=0)
        self._hold(self._inputs_BX[ever_B], self._values_SB[:, ever_B], self._known_SBK[:, ever_B])

    def draw(self, inputs_AX: Array) -> None:
        """Add designs that have to be beaten: trials that ended, or are pending."""
        if not len(inputs_AX):
            return
        draws, known = self._common_SK.shape
        mean_SA, covariance_AA = self._given_draws(inputs_AX)
        lower_AA = np.linalg.cholesky(covariance_AA + _JITTER * np.eye(len(inputs_AX)))
        values_SA = mean_SA + self._rng.standard_normal((draws, len(inputs_AX))) @ lower_AA.T
        own_SAK = self._rng.standard_normal((draws, len(inputs_AX), known))
        self._hold(
            np.concatenate([self._inputs_BX, inputs_AX]),
            np.concatenate([self._values_SB, values_SA], axis=1),
            np.concatenate([self._known_SBK, self._known_gains(inputs_AX, own_SAK)], axis=1),
        )

    def score(self, inputs_CX: Array) -> Array:
        """Return the log of the expected gain over the drawn designs: (C,).

        What costs more than the reference in all draws gains nothing; it is scored far below all
        others, the lower the further beyond the reference it is.
        """
        mean_SC, variance_C = self._given_draws(inputs_CX, marginal=True)
        sd_C = np.sqrt(np.maximum(variance_C, _LEAST_VARIANCE))
        known_SCK = self._known_gains(inputs_CX, self._own_SK[:, None, :])
        terms_SC = [
            log_expected_gain(
                mean_C,
                sd_C,
                known_CK,
                values_F=values_B[front_B],
                known_FK=known_BK[front_B],
                reference=self._reference,
                reference_K=self._reference_K,
            )
            for mean_C, known_CK, values_B, known_BK, front_B in zip(
                mean_SC, known_SCK, self._values_SB, self._known_SBK, self._fronts, strict=True
            )
        ]
        log_gain_C = log_sum_exp(np.stack(terms_SC, axis=1)) - np.log(len(terms_SC))
        short_C = np.maximum(self._reference_K - inputs_CX[:, self._known], 0.0).sum(axis=1)
        return np.where(np.isneginf(log_gain_C), _BEYOND_REFERENCE * (1.0 + short_C), log_gain_C)

    def _hold(self, inputs_BX: Array, values_SB: Array, known_SBK: Array) -> None:
        self._inputs_BX, self._values_SB, self._known_SBK = inputs_BX, values_SB, known_SBK
        gains_SBO = np.concatenate([values_SB[:, :, None], known_SBK], axis=2)
        goals: list[Goal] = ["maximize"] * gains_SBO.shape[2]
        self._fronts = [pareto_mask(gains_BO, goals) for gains_BO in gains_SBO]
        self._mean_B = self._process.mean(inputs_BX)
        covariance_BB = self._process.covariance(inputs_BX, inputs_BX)
        self._lower_BB = np.linalg.cholesky(covariance_BB + _JITTER * np.eye(len(inputs_BX)))

    def _given_draws(self, inputs_AX: Array, *, marginal: bool = False) -> tuple[Array, Array]:
        """Condition on the draws: means (S, A), covariance (A, A) or, marginal, variance (A,)."""
        cross_BA = self._process.covariance(self._inputs_BX, inputs_AX)
        half_BA = solve_triangular(self._lower_BB, cross_BA, lower=True)
        error_BS = (self._values_SB - self._mean_B).T
        mean_SA = solve_triangular(self._lower_BB, error_BS, lower=True).T @ half_BA
        mean_SA += self._process.mean(inputs_AX)
        if marginal:
            return mean_SA, self._process.variance(inputs_AX) - np.square(half_BA).sum(axis=0)
        return mean_SA, self._process.covariance(inputs_AX, inputs_AX) - half_BA.T @ half_BA

    def _known_gains(self, inputs_AX: Array, own_SAK: Array) -> Array:
        """Return what the known gains of designs are in each draw: (S, A, K)."""
        mean_AK = inputs_AX[:, self._known]
        sd_AK = np.zeros_like(mean_AK)
        for k, column in enumerate(self._sd):
            if column is not None:
                sd_AK[:, k] = inputs_AX[:, column]
        common_SAK = np.sqrt(SHARED_VARIANCE) * self._common_SK[:, None, :]
        return np.asarray(mean_AK + sd_AK * (common_SAK + np.sqrt(1 - SHARED_VARIANCE) * own_SAK))

    def _may_be_best(self, inputs_BX: Array) -> Array:
        """Leave out what another design beats in all its gains almost certainly: (B,)."""
        mean_B = self._process.mean(inputs_BX)
        variance_B = self._process.variance(inputs_BX)
        margin_BB = _CLEARLY_WORSE_SD * np.sqrt(variance_B[:, None] + variance_B)
        clearly_BB = mean_B[:, None] - mean_B > margin_BB
        for column, sd in zip(self._known, self._sd, strict=True):
            margin_B = 0.0 if sd is None else _CLEARLY_WORSE_SD * inputs_BX[:, sd]
            low_B, high_B = inputs_BX[:, column] - margin_B, inputs_BX[:, column] + margin_B
            clearly_BB &= low_B[:, None] >= high_B
        return ~clearly_BB.any(axis=0)
