"""What predicts single operations, fitted to measured ones. R rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cost_models.calibrate.read import MeasuredOperations
from cost_models.evaluation.scores import CONFIDENCE, Z_ONE_SIDED, folds, one_sided
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.operations.ops import PRODUCTS
from cost_models.times.learned import fit as learned
from cost_models.times.learned.features import NAMES
from cost_models.times.learned.fit import FEWEST_PRODUCTS
from cost_models.times.roofline import KindFit, Roofline
from cost_models.times.totals import Spread

FEWEST_ROWS = 8
OVERHEADS_S = np.concatenate([[0.0], np.geomspace(1e-7, 1e-4, 61)])


@dataclass(frozen=True, kw_only=True)
class FittedOperations:
    """One kind of artifact, as far as it is about single operations.

    Attributes:
        content: what it adds to the artifact; `cost_models.artifacts.KINDS` builds it from that.
        ratio, sigma: measured / predicted of rows that no fit had seen, and the spread that was
            predicted, (R,).
        more: other errors held out, by name.
    """

    content: Mapping[str, Any]
    ratio: Array
    sigma: Array
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held_out(self) -> Mapping[str, Any]:
        """Errors by name: `operations`, where any was predicted, and `more`."""
        if not len(self.ratio):
            return self.more
        return {"operations": one_sided(self.ratio, self.sigma), **self.more}


def fit_roofline(
    measured: MeasuredOperations, hardware: Hardware, precision: Precision
) -> FittedOperations:
    """Fit utilisation, overhead and spread of each kind that was measured often enough."""
    empty = Roofline(hardware=hardware, precision=precision)
    floor_s = empty.floor_s(measured.flop, measured.bytes)
    kinds: dict[str, KindFit] = {}
    ratios, sigmas = [np.zeros(0)], [np.zeros(0)]
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
        ratio=np.concatenate(ratios),
        sigma=np.concatenate(sigmas),
    )


def fit_learned(
    measured: MeasuredOperations, hardware: Hardware, precision: Precision
) -> FittedOperations:
    """Fit trees to products (`cost_models.times.learned`), and a roofline to all other kinds.

    Raises:
        ConfigError: too few products were measured.
    """
    others = fit_roofline(measured[~np.isin(measured.kind, PRODUCTS)], hardware, precision)
    found = learned.fit(measured.products, hardware, precision)
    ratio, sigma = np.exp(found.seen.log_ratio), found.sigma(found.seen)
    largest = one_sided(np.exp(found.largest.log_ratio), found.sigma(found.largest))
    return FittedOperations(
        content={
            "features": list(NAMES),
            "kinds": others.content["kinds"],
            "products": found.content,
        },
        ratio=np.concatenate([ratio, others.ratio]),
        sigma=np.concatenate([sigma, others.sigma]),
        more={"largest_products": largest},
    )


# kind of artifact → how it is fitted
FITS: Mapping[str, Callable[[MeasuredOperations, Hardware, Precision], FittedOperations]] = {
    "roofline": fit_roofline,
    "learned": fit_learned,
}


def possible_fits(measured: MeasuredOperations) -> list[str]:
    """Return the kinds of artifact for which enough was measured."""
    enough = np.isin(measured.kind, PRODUCTS).sum() >= FEWEST_PRODUCTS
    return [kind for kind in FITS if kind != "learned" or enough]


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
    tails = np.abs(np.quantile(logs, [1 - CONFIDENCE, CONFIDENCE])) / Z_ONE_SIDED
    sigma = float(max(np.sqrt(np.mean(logs**2)), *tails))
    return Spread(factor=factor, sigma=sigma, rows=len(ratio))
