"""How whole steps fare against the sum of their operations, fitted to measured steps. R rows.

    log(measured / (operations + overhead · number)) = log factor + weights · features + noise

Ridge regression on standardised features (`cost_models.times.totals.FEATURES`); the overhead that
leaves the least. How strongly weights are held back is chosen, and the spread is set, by what is
predicted of designs that the fit has not seen. Few rows get a factor alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from cost_models.calibrate.operations import OVERHEADS_S
from cost_models.calibrate.steps import MeasuredTotals
from cost_models.evaluation.scores import CONFIDENCE, Z_TWO_SIDED, folds, scores
from cost_models.exact import Array
from cost_models.times.totals import FEATURES, Correction, TotalFit

FEWEST_ROWS = 8
_FEWEST_TO_CORRECT = 30
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # of the ridge, in rows; none has a factor alone


def fit_total(measured: MeasuredTotals) -> TotalFit:
    """Fit totals; the spread is that of designs held out."""
    strengths = [math.inf, *(_STRENGTHS if len(measured) >= _FEWEST_TO_CORRECT else ())]
    residuals = [_residuals(measured, strength) for strength in strengths]
    best = int(np.argmin([np.mean(np.abs(logs)) for logs in residuals]))
    return replace(_fit(measured, strengths[best]), sigma=_sigma(residuals[best]))


def held_out_scores(measured: MeasuredTotals) -> dict[str, Any]:
    """Score totals predicted by fits that saw neither their design nor chose anything by it.

    Returns:
        See `scores.scores`; `largest_tenth_mean_relative_error` is of the tenth with the largest
        sums, predicted by a fit to all others.
    """
    predicted_s, sigma = np.zeros(len(measured)), np.zeros(len(measured))
    for held_out in folds(measured.design):
        fit = fit_total(measured[~held_out])
        predicted_s[held_out] = fit.median_s(measured[held_out].sums)
        sigma[held_out] = fit.sigma
    large = measured.sums.operations_s >= np.quantile(measured.sums.operations_s, 0.9)
    large = np.isin(measured.design, measured.design[large])
    beyond_s = fit_total(measured[~large]).median_s(measured[large].sums)
    error = np.abs(beyond_s / measured.seconds[large] - 1)
    return {
        **scores(predicted_s, sigma, measured.seconds, measured.examples),
        "largest_tenth_rows": int(large.sum()),
        "largest_tenth_mean_relative_error": float(np.mean(error)),
    }


def _residuals(measured: MeasuredTotals, strength: float) -> Array:
    """log(measured / predicted), (R,), each by a fit that has not seen its design."""
    logs = np.zeros(len(measured))
    for held_out in folds(measured.design):
        fit = _fit(measured[~held_out], strength)
        predicted_s = fit.median_s(measured[held_out].sums)
        logs[held_out] = np.log(measured.seconds[held_out] / predicted_s)
    return logs


def _sigma(logs: Array) -> float:
    """The spread whose 90% intervals hold 90% of these, and of one more: a conformal quantile."""
    share = min(1.0, CONFIDENCE * (1 + 1 / len(logs)))
    return float(np.quantile(np.abs(logs), share, method="higher")) / Z_TWO_SIDED


def _fit(measured: MeasuredTotals, strength: float) -> TotalFit:
    """Fit with the overhead that leaves the least; the spread is that of these rows."""
    fits = list(_fits(measured, strength))
    return fits[int(np.argmin([fit.sigma for fit in fits]))]


def _fits(measured: MeasuredTotals, strength: float) -> Iterator[TotalFit]:
    for overhead_s in map(float, OVERHEADS_S):
        target = np.log(measured.seconds / measured.sums.base_s(overhead_s))
        correction = Correction()
        if math.isfinite(strength):
            correction = _ridge(measured, target, overhead_s, strength)
        left = target - correction.log(measured.sums, overhead_s)
        middle = float(np.median(left))
        yield TotalFit(
            factor=math.exp(middle),
            sigma=float(np.std(left)),
            rows=len(measured),
            overhead_s=overhead_s,
            correction=correction,
        )


def _ridge(
    measured: MeasuredTotals, target: Array, overhead_s: float, strength: float
) -> Correction:
    columns = np.array([value(measured.sums, overhead_s) for value in FEATURES.values()])
    centers, scales = columns.mean(axis=1), columns.std(axis=1)
    scales = np.where(scales > 1e-9, scales, math.inf)  # what all rows share decides nothing
    x_FR = (columns - centers[:, None]) / scales[:, None]
    gram_FF = x_FR @ x_FR.T + strength * np.eye(len(x_FR))
    slopes = np.linalg.solve(gram_FF, x_FR @ (target - target.mean())) / scales
    seen = slopes @ (columns - centers[:, None])
    return Correction(
        weights=dict(zip(FEATURES, map(float, slopes), strict=True)),
        centers=dict(zip(FEATURES, map(float, centers), strict=True)),
        low=float(seen.min()),
        high=float(seen.max()),
    )
