"""How well predictions rank what was measured. R rows, compared pair by pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cost_models.exact import Array

# Pairs whose order is asked for: closer ones are noise, others are easy.
LEAST_APART, MOST_APART = 1.05, 1.5


def kendall_tau(predicted: Array, measured: Array) -> float | None:
    """Return Kendall's rank correlation (tau-b) of two columns, (R,); None where one is even."""
    agree = ordered_predicted = ordered_measured = 0.0
    for of_predicted, of_measured in _pairs(predicted, measured):
        signs_predicted, signs_measured = np.sign(of_predicted), np.sign(of_measured)
        agree += float(signs_predicted @ signs_measured)
        ordered_predicted += np.count_nonzero(signs_predicted)
        ordered_measured += np.count_nonzero(signs_measured)
    scale = np.sqrt(ordered_predicted * ordered_measured)
    return float(agree / scale) if scale else None


def pairwise_accuracy(predicted: Array, measured: Array) -> float | None:
    """Return the share of pairs, measured 5 to 50% apart, whose order is predicted right.

    Args:
        predicted, measured: seconds, > 0, (R,).

    Returns:
        None where no pair is so far apart.
    """
    right = asked = 0
    for of_predicted, of_measured in _pairs(np.log(predicted), np.log(measured)):
        apart = np.abs(of_measured)
        chosen = (np.log(LEAST_APART) <= apart) & (apart <= np.log(MOST_APART))
        asked += int(chosen.sum())
        right += int((of_predicted[chosen] * of_measured[chosen] > 0).sum())
    return right / asked if asked else None


def _pairs(first: Array, second: Array) -> Iterator[tuple[Array, Array]]:
    """Yield differences of all pairs, row by row, so that memory stays linear in R."""
    for row in range(len(first) - 1):
        yield first[row] - first[row + 1 :], second[row] - second[row + 1 :]
