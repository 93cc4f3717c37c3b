"""What predicts single operations, fitted to measured ones. R rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from cost_models.calibrate.read import MeasuredOperations
from cost_models.calibrate.scores import CONFIDENCE, folds, one_sided
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.roofline import KindFit, Roofline
from cost_models.totals import Spread

FEWEST_ROWS = 8
OVERHEADS_S = np.concatenate([[0.0], np.geomspace(1e-7, 1e-4, 61)])
_Z = NormalDist().inv_cdf(CONFIDENCE)


@dataclass(frozen=True, kw_only=True)
class FittedOperations:
    """One kind of artifact, as far as it is about single operations.

    Attributes:
        content: what it adds to the artifact; `cost_models.artifacts.KINDS` builds it from that.
        held_out: its errors on rows that no fit had seen.
    """

    content: Mapping[str, Any]
    held_out: Mapping[str, Any] | None


def fit_roofline(
    measured: MeasuredOperations, hardware: Hardware, precision: Precision
) -> FittedOperations:
    """Fit utilisation, overhead and spread of each kind that was measured often enough."""
    empty = Roofline(hardware=hardware, precision=precision)
    floor_s = empty.floor_s(measured.flop, measured.bytes)
    kinds, ratios, sigmas = {}, [np.zeros(0)], [np.zeros(0)]
    for kind in sorted(set(measured.kind)):
        rows = measured.kind == kind
        if rows.sum() < FEWEST_ROWS:
            continue
        kinds[kind] = fit_kind(floor_s[rows], measured.seconds[rows])
        for held_out in folds(np.arange(rows.sum())):
            fit = fit_kind(floor_s[rows][~held_out], measured.seconds[rows][~held_out])
            predicted_s = floor_s[rows][held_out] / fit.utilisation + fit.overhead_s
            ratios.append(measured.seconds[rows][held_out] / predicted_s)
            sigmas.append(np.full(int(held_out.sum()), fit.sigma))
    return FittedOperations(
        content={
            "features": ["kind of operation", "flop", "bytes"],
            "kinds": {kind: asdict(fit) for kind, fit in kinds.items()},
        },
        held_out=one_sided(np.concatenate(ratios), np.concatenate(sigmas)) if kinds else None,
    )


# kind of artifact → how it is fitted
FITS: Mapping[str, Callable[[MeasuredOperations, Hardware, Precision], FittedOperations]] = {
    "roofline": fit_roofline,
}


def fit_kind(floor_s: Array, seconds: Array) -> KindFit:
    """Fit one kind: of a grid of overheads, the one that leaves the least spread.

    Args:
        floor_s: the roofline's seconds, (R,).
        seconds: measured, (R,).
    """
    spreads = [np.std(np.log(seconds / (floor_s + overhead_s))) for overhead_s in OVERHEADS_S]
    overhead_s = float(OVERHEADS_S[int(np.argmin(spreads))])
    spread = fit_spread(seconds / (floor_s + overhead_s))
    return KindFit(
        utilisation=1 / spread.factor,
        overhead_s=overhead_s * spread.factor,
        sigma=spread.sigma,
        rows=spread.rows,
    )


def fit_spread(ratio: Array) -> Spread:
    """Fit the spread of measured / predicted, (R,); where its tails are heavy, that of these."""
    factor = float(np.median(ratio))
    logs = np.log(ratio / factor)
    tails = np.abs(np.quantile(logs, [1 - CONFIDENCE, CONFIDENCE])) / _Z
    sigma = float(max(np.sqrt(np.mean(logs**2)), *tails))
    return Spread(factor=factor, sigma=sigma, rows=len(ratio))
