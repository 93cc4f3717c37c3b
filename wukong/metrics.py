"""Quality of predicted click probabilities, in float64, from labels and logits.

N examples, V distinct logits, G groups, R runs of equal logits within a group. `label_N` holds 0 or
1, `logit_N` any finite number, `weight_N` how much each example counts, ≥ 0 (None: all alike).
Weights are taken as given, not as drawn: standard deviations are those of drawing other examples
with the same law of weights, and equal weights of any size change no figure. NumPy and SciPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from codesign.errors import DataError

FloatArray = NDArray[np.floating[Any]]

# The logit of a probability of 1 - 1e-15: one confident mistake costs 34.5 nats at most.
MAX_LOGIT = float(np.log((1.0 - 1e-15) / 1e-15))


def auc(label_N: FloatArray, logit_N: FloatArray, weight_N: FloatArray | None = None) -> float:
    """Area under the ROC curve, exact: P(positive scores higher) + P(tie) / 2.

    Computed from mid-ranks (Mann-Whitney), O(N log N). With weights, a pair counts as much as the
    product of its two.

    Raises:
        DataError: where the labels are all equal, those of weight 0 left out.
    """
    positive_N = _positives(label_N, weight_N)
    if weight_N is not None:
        correct_N, weight_N = _placements(positive_N, logit_N, weight_N), np.asarray(weight_N)
        return float(np.average(correct_N[positive_N], weights=weight_N[positive_N]))
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    rank_sum = float(rankdata(logit_N)[positive_N].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def auc_standard_deviation(
    label_N: FloatArray, logit_N: FloatArray, weight_N: FloatArray | None = None
) -> float:
    """Estimate the sampling standard deviation of `auc` (DeLong 1988, by mid-ranks).

    It is the noise of a test set of this size, not the spread between training seeds.

    Raises:
        DataError: where a class has fewer than two examples, those of weight 0 left out.
    """
    positive_N = _positives(label_N, weight_N)
    logit_N = np.asarray(logit_N)
    if weight_N is not None:
        counted_N = np.asarray(weight_N) > 0
        weight_N, positive_N = np.asarray(weight_N)[counted_N], positive_N[counted_N]
        logit_N = logit_N[counted_N]
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if min(positives, negatives) < 2:
        raise DataError(
            f"{positives} positive and {negatives} negative labels; the standard deviation of "
            "the AUC needs two of each",
            hint="evaluate on more examples",
        )
    if weight_N is not None:
        correct_N = _placements(positive_N, logit_N, weight_N)
        of_positives = _mean_deviation(correct_N[positive_N], weight_N[positive_N])
        of_negatives = _mean_deviation(correct_N[~positive_N], weight_N[~positive_N])
        return float(np.hypot(of_positives, of_negatives))
    rank_N = rankdata(logit_N)
    # Share of the other class that each example is ranked correctly against.
    above_P = (rank_N[positive_N] - rankdata(logit_N[positive_N])) / negatives
    above_M = 1.0 - (rank_N[~positive_N] - rankdata(logit_N[~positive_N])) / positives
    variance = above_P.var(ddof=1) / positives + above_M.var(ddof=1) / negatives
    return float(np.sqrt(variance))


def grouped_auc(
    label_N: FloatArray,
    logit_N: FloatArray,
    group_N: NDArray[Any],
    weight_N: FloatArray | None = None,
) -> float:
    """Mean of the AUC within each group, a group as heavy as its examples together (GAUC).

    Groups whose labels are all equal are left out. Zhu et al. 2017 (optimized cost per click) and
    Zhou et al. 2018 (DIN, section 6), with impressions as weights. O(N log N).

    Raises:
        DataError: where no group has both labels, those of weight 0 left out.
    """
    order_N = np.lexsort((logit_N, group_N))
    positive_N, sorted_N = np.asarray(label_N)[order_N] > 0.5, np.asarray(logit_N)[order_N]
    weight_N = np.ones(len(order_N)) if weight_N is None else np.asarray(weight_N)[order_N]
    new_group_N = _changes(np.asarray(group_N)[order_N])
    new_run_N = new_group_N | _changes(sorted_N)
    run_N, group_R = np.cumsum(new_run_N) - 1, np.cumsum(new_group_N)[new_run_N] - 1
    positive_R = np.bincount(run_N, weight_N * positive_N)
    negative_R = np.bincount(run_N, weight_N * ~positive_N)
    positive_G, negative_G = (np.bincount(group_R, each) for each in (positive_R, negative_R))
    earlier_G = np.cumsum(negative_G) - negative_G
    below_R = np.cumsum(negative_R) - negative_R / 2 - earlier_G[group_R]
    won_G = np.bincount(group_R, positive_R * below_R)
    mixed_G = (positive_G > 0) & (negative_G > 0)
    if not mixed_G.any():
        raise DataError(
            f"none of {len(mixed_G)} groups has both labels; the grouped AUC needs one that has",
            hint="check the column of the groups, or choose another metric",
        )
    auc_G = won_G[mixed_G] / (positive_G * negative_G)[mixed_G]
    return float(np.average(auc_G, weights=(positive_G + negative_G)[mixed_G]))


def log_loss(label_N: FloatArray, logit_N: FloatArray, weight_N: FloatArray | None = None) -> float:
    """Mean negative log likelihood in nats, probabilities clipped to [1e-15, 1 - 1e-15].

    Raises:
        DataError: where a logit is not a number or there are no examples.
    """
    return float(np.average(losses(label_N, logit_N), weights=weight_N))


def log_loss_standard_deviation(
    label_N: FloatArray, logit_N: FloatArray, weight_N: FloatArray | None = None
) -> float:
    """Estimate the sampling standard deviation of `log_loss`: that of a mean over N examples.

    It is the noise of a test set of this size, not the spread between training seeds.
    """
    losses_N = losses(label_N, logit_N)
    if weight_N is not None:
        return _mean_deviation(losses_N, np.asarray(weight_N))
    return float(losses_N.std(ddof=1) / np.sqrt(len(losses_N)))


def calibration(
    label_N: FloatArray, logit_N: FloatArray, weight_N: FloatArray | None = None
) -> float:
    """Mean predicted probability over the share of positive labels (He et al. 2014): ideally 1.

    Raises:
        DataError: where no label is positive, those of weight 0 left out.
    """
    rate = float(np.average(np.asarray(label_N, dtype=np.float64), weights=weight_N))
    if not rate > 0:
        raise DataError(
            f"none of {len(label_N)} labels is positive; the calibration needs one",
            hint="check the split and the label column",
        )
    return float(np.average(expit(_clipped(logit_N)), weights=weight_N)) / rate


def over_tasks(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Name the figures of one or several tasks.

    Args:
        figures: task → name → value.

    Returns:
        Of one task, its figures under their names. Of several, each under `NAME.TASK`, and the mean
        under `NAME` where every task has that figure. A standard deviation's mean is the most that
        the mean's standard deviation can be, however the tasks hang together.
    """
    if len(figures) == 1:
        return dict(next(iter(figures.values())))
    each = list(figures.values())
    shared = [name for name in each[0] if all(name in one for one in each)]
    means = {name: float(np.mean([one[name] for one in each])) for name in shared}
    return means | {
        f"{name}.{task}": value for task, one in figures.items() for name, value in one.items()
    }


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


def _positives(label_N: FloatArray, weight_N: FloatArray | None) -> NDArray[np.bool_]:
    positive_N = np.asarray(label_N) > 0.5
    counted_N = positive_N if weight_N is None else positive_N[np.asarray(weight_N) > 0]
    if counted_N.all() or not counted_N.any():
        raise DataError(
            f"all {len(counted_N)} labels are equal; the AUC needs both classes",
            hint="check the split and the label column",
        )
    return positive_N


def _placements(
    positive_N: NDArray[np.bool_], logit_N: FloatArray, weight_N: FloatArray
) -> NDArray[np.float64]:
    """Share of the other class, by weight, that each example is ranked correctly against, (N,)."""
    _, place_N = np.unique(logit_N, return_inverse=True)
    positive_V, negative_V = (
        np.bincount(place_N, np.where(mask_N, weight_N, 0.0))
        for mask_N in (positive_N, ~positive_N)
    )
    below_V = (np.cumsum(negative_V) - negative_V / 2) / negative_V.sum()
    above_V = 1.0 - (np.cumsum(positive_V) - positive_V / 2) / positive_V.sum()
    return np.where(positive_N, below_V[place_N], above_V[place_N])


def _mean_deviation(value_N: NDArray[np.float64], weight_N: FloatArray) -> float:
    """Standard deviation of the weighted mean; of equal weights, that of the plain mean."""
    share_N = weight_N / np.sum(weight_N, dtype=np.float64)
    counted = int((share_N > 0).sum())
    centred_N = value_N - float(np.sum(share_N * value_N))
    return float(np.sqrt(np.sum((share_N * centred_N) ** 2) * counted / (counted - 1)))


def _changes(sorted_N: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a sorted column has another value than before, (N,); the first is one."""
    return np.concatenate([[True], sorted_N[1:] != sorted_N[:-1]])[: len(sorted_N)]


def _clipped(logit_N: FloatArray) -> NDArray[np.float64]:
    return np.clip(np.asarray(logit_N, dtype=np.float64), -MAX_LOGIT, MAX_LOGIT)


def losses(label_N: FloatArray, logit_N: FloatArray) -> NDArray[np.float64]:
    """Negative log likelihood of each example, nats (N,); see `log_loss`."""
    label_N = np.asarray(label_N, dtype=np.float64)
    logit_N = _clipped(logit_N)
    if not len(label_N) or np.isnan(logit_N).any():
        raise DataError(
            f"{int(np.isnan(logit_N).sum())} of {len(logit_N)} logits are not a number; the log "
            "loss needs at least one example and only numbers"
        )
    return np.logaddexp(0.0, logit_N) - label_N * logit_N
