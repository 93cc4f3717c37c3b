"""Quality of predicted click probabilities, in float64, from labels and logits.

N examples; `label_N` holds 0 or 1, `logit_N` any finite number. NumPy and SciPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from codesign.errors import DataError

FloatArray = NDArray[np.floating[Any]]

# The logit of a probability of 1 - 1e-15: one confident mistake costs 34.5 nats at most.
MAX_LOGIT = float(np.log((1.0 - 1e-15) / 1e-15))


def auc(label_N: FloatArray, logit_N: FloatArray) -> float:
    """Area under the ROC curve, exact: P(positive scores higher) + P(tie) / 2.

    Computed from mid-ranks (Mann-Whitney), O(N log N).

    Raises:
        DataError: where the labels are all equal.
    """
    positive_N = _positives(label_N)
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    rank_sum = float(rankdata(logit_N)[positive_N].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def auc_standard_deviation(label_N: FloatArray, logit_N: FloatArray) -> float:
    """Estimate the sampling standard deviation of `auc` (DeLong 1988, by mid-ranks).

    It is the noise of a test set of this size, not the spread between training seeds.

    Raises:
        DataError: where a class has fewer than two examples.
    """
    positive_N = _positives(label_N)
    logit_N = np.asarray(logit_N)
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if min(positives, negatives) < 2:
        raise DataError(
            f"{positives} positive and {negatives} negative labels; the standard deviation of "
            "the AUC needs two of each",
            hint="evaluate on more examples",
        )
    rank_N = rankdata(logit_N)
    # Share of the other class that each example is ranked correctly against.
    above_P = (rank_N[positive_N] - rankdata(logit_N[positive_N])) / negatives
    above_M = 1.0 - (rank_N[~positive_N] - rankdata(logit_N[~positive_N])) / positives
    variance = above_P.var(ddof=1) / positives + above_M.var(ddof=1) / negatives
    return float(np.sqrt(variance))


def log_loss(label_N: FloatArray, logit_N: FloatArray) -> float:
    """Mean negative log likelihood in nats, probabilities clipped to [1e-15, 1 - 1e-15].

    Raises:
        DataError: where a logit is not a number or there are no examples.
    """
    return float(_losses(label_N, logit_N).mean())


def log_loss_standard_deviation(label_N: FloatArray, logit_N: FloatArray) -> float:
    """Estimate the sampling standard deviation of `log_loss`: that of a mean over N examples.

    It is the noise of a test set of this size, not the spread between training seeds.
    """
    losses_N = _losses(label_N, logit_N)
    return float(losses_N.std(ddof=1) / np.sqrt(len(losses_N)))


def entropy(base_rate: float) -> float:
    """Log loss, in nats, of always predicting `base_rate`, on data with that rate.

    Raises:
        DataError: where `base_rate` is not strictly between 0 and 1.
    """
    if not 0.0 < base_rate < 1.0:
        raise DataError(f"the base rate is {base_rate}; must be strictly between 0 and 1")
    return float(-base_rate * np.log(base_rate) - (1.0 - base_rate) * np.log1p(-base_rate))


def normalized_entropy(log_loss_nats: float, base_rate: float) -> float:
    """Log loss over the entropy of the base rate (He et al. 2014): 1 is a constant's, 0 perfect.

    Raises:
        DataError: where `base_rate` is not strictly between 0 and 1.
    """
    return log_loss_nats / entropy(base_rate)


def _positives(label_N: FloatArray) -> NDArray[np.bool_]:
    positive_N = np.asarray(label_N) > 0.5
    if positive_N.all() or not positive_N.any():
        raise DataError(
            f"all {len(positive_N)} labels are equal; the AUC needs both classes",
            hint="check the split and the label column",
        )
    return positive_N


def _losses(label_N: FloatArray, logit_N: FloatArray) -> NDArray[np.float64]:
    """Negative log likelihood of each example, nats (N,); see `log_loss`."""
    label_N = np.asarray(label_N, dtype=np.float64)
    logit_N = np.clip(np.asarray(logit_N, dtype=np.float64), -MAX_LOGIT, MAX_LOGIT)
    if not len(label_N) or np.isnan(logit_N).any():
        raise DataError(
            f"{int(np.isnan(logit_N).sum())} of {len(logit_N)} logits are not a number; the log "
            "loss needs at least one example and only numbers"
        )
    return np.logaddexp(0.0, logit_N) - label_N * logit_N
