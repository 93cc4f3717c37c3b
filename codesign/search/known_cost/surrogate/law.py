"""A prior mean that follows a law in compute: a + b · (1 − exp(−c z)), z the scaled log compute.

With c = 0 it is linear in z, above 0 it saturates. The coefficient b has a normal prior and is
integrated out, so a law adds the covariance of b's term to the kernel. NumPy and SciPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky

from codesign.search.known_cost.surrogate.fit import Hyperparameters, thinned
from codesign.search.known_cost.surrogate.kernel import Rows

Array = np.ndarray[Any, Any]

_BENDS = (0.0, 2.0, 5.0)
_LEAST_IMPROVEMENT = 1.0  # nats: what a further parameter has to earn


@dataclass(frozen=True, kw_only=True)
class Law:
    """One shape of the law, scaled to mean 0 and deviation 1 over the trials.

    Attributes:
        compute: the feature that is the logarithm of compute.
        bend: c ≥ 0.
    """

    compute: int
    bend: float
    centre: float = 0.0
    spread: float = 1.0

    def basis(self, features_RM: Array) -> Array:
        """Return what b multiplies: (R,)."""
        z_R = features_RM[:, self.compute]
        raw_R = -np.expm1(-self.bend * z_R) if self.bend else z_R
        return np.asarray((raw_R - self.centre) / self.spread)


def choose_law(rows: Rows, gains_R: Array, found: Hyperparameters, compute: int) -> Law | None:
    """Choose the law under which each trial is best predicted from all others, or none.

    Leave-one-out densities are closed: Rasmussen and Williams, "Gaussian processes for machine
    learning", 2006, equations 5.10 to 5.12.
    """
    kept = thinned(len(gains_R))
    rows, error_R = rows.at(kept), gains_R[kept] - found.constant
    covariance_RR = found.kernel.covariance(rows, rows)
    covariance_RR[np.diag_indices_from(covariance_RR)] += found.noise
    lower_RR = cholesky(covariance_RR, lower=True, check_finite=False)
    inverse_RR = cho_solve((lower_RR, True), np.eye(len(kept)), check_finite=False)
    best, best_log = None, _left_out(inverse_RR, error_R) + _LEAST_IMPROVEMENT
    for bend in _BENDS:
        law = _scaled(rows, compute, bend)
        if law is None:
            return None
        pull_R = inverse_RR @ law.basis(rows.features_RM)
        less = np.outer(pull_R, pull_R) / (1.0 + pull_R @ law.basis(rows.features_RM))
        log = _left_out(inverse_RR - less, error_R)
        if log > best_log:
            best, best_log = law, log
    return best


def _scaled(rows: Rows, compute: int, bend: float) -> Law | None:
    """Scale a law; None where all trials have the same compute."""
    raw_R = Law(compute=compute, bend=bend).basis(rows.features_RM)
    spread = float(raw_R.std())
    if spread < 1e-6:
        return None
    return Law(compute=compute, bend=bend, centre=float(raw_R.mean()), spread=spread)


def _left_out(inverse_RR: Array, error_R: Array) -> float:
    """Sum the log densities of each value given all others, up to a constant."""
    precision_R = np.diag(inverse_RR)
    return float(0.5 * (np.log(precision_R) - (inverse_RR @ error_R) ** 2 / precision_R).sum())
