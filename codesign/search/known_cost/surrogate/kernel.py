"""The prior covariance of a learned gain, and its derivatives. NumPy only.

    k(a, b) = matern52(r(a, b)) · ρ(task a) ρ(task b) · exp(−λ |ln f_a − ln f_b|)

with r the distance of the features over their length scales, f the fidelity, and ρ = 1 within one
task: values of one design correlate less the further apart they were measured, and an earlier task
whose ρ goes to 0 says nothing of this one. Both factors are covariances themselves (of an
Ornstein-Uhlenbeck process in ln f; of one shared part and a part of each task's own), so their
product is positive semidefinite.

R, A, B rows, M features, T earlier tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

Array = np.ndarray[Any, Any]

_ROOT5 = np.sqrt(5.0)
_TASK_OFFSET_VARIANCE = 0.25  # of an earlier task's level, in its own standard deviations


def matern52(left_AM: Array, right_BM: Array) -> Array:
    """Return the Matérn-5/2 correlation of features over their length scales: (A, B)."""
    distance_AB = _ROOT5 * cdist(left_AM, right_BM)
    return np.asarray((1.0 + distance_AB + distance_AB**2 / 3.0) * np.exp(-distance_AB))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where values of a learned gain were, or are to be, measured.

    Attributes:
        features_RM: float64.
        log_fidelity_R: ln of the share of the full training, ≤ 0.
        task_R: 0 for this study, 1 … T for the earlier ones.
    """

    features_RM: Array
    log_fidelity_R: Array
    task_R: Array

    @classmethod
    def own(cls, features_RM: Array) -> Rows:
        """Return rows of this study at full fidelity."""
        zeros_R = np.zeros(len(features_RM))
        return cls(features_RM=features_RM, log_fidelity_R=zeros_R, task_R=zeros_R.astype(int))

    def at(self, index: Array) -> Rows:
        """Return some of the rows."""
        return Rows(
            features_RM=self.features_RM[index],
            log_fidelity_R=self.log_fidelity_R[index],
            task_R=self.task_R[index],
        )

    def and_then(self, other: Rows) -> Rows:
        """Return these rows and others below."""
        return Rows(
            features_RM=np.concatenate([self.features_RM, other.features_RM]),
            log_fidelity_R=np.concatenate([self.log_fidelity_R, other.log_fidelity_R]),
            task_R=np.concatenate([self.task_R, other.task_R]),
        )


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """See the module.

    Attributes:
        length_M: length scales, > 0.
        decay: λ ≥ 0.
        relation_T: ρ of each earlier task, in (0, 1).
    """

    length_M: Array
    decay: float
    relation_T: Array

    def covariance(self, left: Rows, right: Rows) -> Array:
        """Return the covariance of each pair: (A, B)."""
        matern_AB = matern52(left.features_RM / self.length_M, right.features_RM / self.length_M)
        same_AB = left.task_R[:, None] == right.task_R
        earlier_AB = same_AB & (left.task_R[:, None] > 0)
        return np.asarray(
            matern_AB * self._relation(left, right) * self._fading(left, right)
            + _TASK_OFFSET_VARIANCE * earlier_AB
        )

    def _relation(self, left: Rows, right: Rows) -> Array:
        relation = np.append(1.0, self.relation_T)
        same_AB = left.task_R[:, None] == right.task_R
        return np.where(same_AB, 1.0, relation[left.task_R][:, None] * relation[right.task_R])

    def _fading(self, left: Rows, right: Rows) -> Array:
        return np.exp(-self.decay * np.abs(left.log_fidelity_R[:, None] - right.log_fidelity_R))

    def gradient(self, rows: Rows, weights_RR: Array) -> tuple[Array, float, Array]:
        """Contract symmetric weights with the derivatives of the covariance of the rows.

        Returns:
            Sums of weight · derivative by ln(length scale), (M,), by ln(decay), and by
            ln(relation), (T,).
        """
        scaled_RM = rows.features_RM / self.length_M
        distance_RR = _ROOT5 * cdist(scaled_RM, scaled_RM)
        decayed_RR = np.exp(-distance_RR) * self._relation(rows, rows) * self._fading(rows, rows)
        # By the squared distance: −5/6 (1 + √5 r) exp(−√5 r); that is −2 (a − b)² / l² by ln l.
        pull_RR = weights_RR * decayed_RR * (1.0 + distance_RR) * (5.0 / 3.0)
        squares_M = scaled_RM.T**2 @ pull_RR.sum(axis=1)
        products_M = (scaled_RM * (pull_RR @ scaled_RM)).sum(axis=0)
        whole_RR = weights_RR * decayed_RR * (1.0 + distance_RR + distance_RR**2 / 3.0)
        apart_RR = np.abs(rows.log_fidelity_R[:, None] - rows.log_fidelity_R)
        by_decay = -self.decay * float((whole_RR * apart_RR).sum())
        between_RR = np.where(rows.task_R[:, None] == rows.task_R, 0.0, whole_RR)
        by_row_R = 2.0 * between_RR.sum(axis=1)
        by_task = np.bincount(rows.task_R, by_row_R, minlength=len(self.relation_T) + 1)
        return 2.0 * (squares_M - products_M), by_decay, by_task[1:]
