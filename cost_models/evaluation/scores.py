"""How well predictions fare: errors, coverage of intervals, and how well they rank. R rows."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from cost_models.evaluation.ranking import kendall_tau, pairwise_accuracy
from cost_models.exact import Array

CONFIDENCE = 0.9
Z_ONE_SIDED = NormalDist().inv_cdf(CONFIDENCE)
Z_TWO_SIDED = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_FOLDS = 5
_DRAWS, _DRAWN = 1000, 20


def folds(group: Array, count: int = _FOLDS) -> list[Array]:
    """Cut rows into folds that no group straddles: for each, which rows it holds out, (R,)."""
    order = np.random.default_rng(0).permutation(np.unique(group))
    found = [np.isin(group, order[fold::count]) for fold in range(count)]
    return [held_out for held_out in found if held_out.any()]


def one_sided(ratio: Array, sigma: Array, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """Sum up measured / predicted, and how often each end of its interval holds.

    Args:
        ratio: measured / predicted, > 0, (R,).
        sigma: standard deviation of its logarithm that was predicted, (R,).
        confidence: of each end, in (0.5, 1).
    """
    z = NormalDist().inv_cdf(confidence)
    relative = np.abs(1 / ratio - 1)
    return {
        "rows": len(ratio),
        "mean_relative_error": float(np.mean(relative)),
        "median_relative_error": float(np.median(relative)),
        "p90_relative_error": float(np.quantile(relative, 0.9)),
        "share_below_upper_bound": float(np.mean(np.log(ratio) <= z * sigma)),
        "share_above_lower_bound": float(np.mean(np.log(ratio) >= -z * sigma)),
        "confidence": confidence,
    }


def scores(predicted_s: Array, sigma: Array, measured_s: Array, examples: Array) -> dict[str, Any]:
    """Sum up predicted steps.

    Args:
        predicted_s, measured_s: seconds of a step, (R,).
        sigma: standard deviation of log(measured / predicted) that was predicted, (R,).
        examples: of a step, (R,): designs are ranked by seconds for each example.

    Returns:
        Errors and shares within one-sided ends; `coverage` of intervals that are to hold 90%;
        `kendall_tau`; `pairwise_accuracy` among pairs 5 to 50% apart; `regret`: by how much the
        predicted-fastest of 20 rows is slower than the fastest, a mean. The last three are None
        where there are too few rows.
    """
    logs = np.log(measured_s / predicted_s)
    predicted, measured = predicted_s / examples, measured_s / examples
    return {
        **one_sided(measured_s / predicted_s, sigma),
        "coverage": float(np.mean(np.abs(logs) <= Z_TWO_SIDED * sigma)),
        "kendall_tau": kendall_tau(predicted, measured),
        "pairwise_accuracy": pairwise_accuracy(predicted, measured),
        "regret": regret(predicted, measured, np.random.default_rng(0)),
    }


def regret(predicted: Array, measured: Array, rng: np.random.Generator) -> float | None:
    """Return the mean regret of trusting the prediction among 20 rows; None where there are fewer.

    Regret: measured time of the predicted-fastest over that of the fastest, less 1.
    """
    if len(measured) < _DRAWN:
        return None
    found = []
    for _ in range(_DRAWS):
        rows = rng.choice(len(measured), _DRAWN, replace=False)
        chosen = rows[np.argmin(predicted[rows])]
        found.append(measured[chosen] / measured[rows].min() - 1)
    return float(np.mean(found))
