"""What predicts single operations, fitted to measured ones. R rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from cost_models.calibrate.read import MeasuredOperations
from cost_models.calibrate.scores import CONFIDENCE, folds, one_sided
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.learned.features import Shapes
from cost_models.learned.fit import FEWEST_PRODUCTS, Products
from cost_models.learned.fit import fit as fit_products
from cost_models.ops import PRODUCTS
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
        held_out: name → errors on rows that no fit had seen.
        products_error: mean relative error of products held out; infinite where it has none.
    """

    content: Mapping[str, Any]
    held_out: Mapping[str, Any]
    products_error: float


def fit_roofline(
    measured: MeasuredOperations, hardware: Hardware, precision: Precision
) -> FittedOperations:
    """Fit utilisation, overhead and spread of each kind that was measured often enough."""
    empty = Roofline(hardware=hardware, precision=precision)
    floor_s = empty.floor_s(measured.flop, measured.bytes)
    kinds: dict[str, KindFit] = {}
    held_out: dict[str, tuple[Array, Array]] = {}
    for kind in sorted(set(measured.kind)):
        rows = measured.kind == kind
        if rows.sum() >= FEWEST_ROWS:
            kinds[kind] = fit_kind(floor_s[rows], measured.seconds[rows])
            held_out[kind] = _held_out(floor_s[rows], measured.seconds[rows])
    none = (np.zeros(0), np.zeros(0))
    ratios, sigmas = map(np.concatenate, zip(none, *held_out.values(), strict=True))
    products = [held_out[kind][0] for kind in PRODUCTS if kind in held_out]
    return FittedOperations(
        content={
            "features": ["kind of operation", "flop", "bytes"],
            "kinds": {kind: asdict(fit) for kind, fit in kinds.items()},
        },
        held_out={"operations": one_sided(ratios, sigmas)} if kinds else {},
        products_error=_mean_error(np.concatenate(products)) if products else math.inf,
    )


def fit_learned(
    measured: MeasuredOperations, hardware: Hardware, precision: Precision
) -> FittedOperations:
    """Learn products, where enough were measured; fit a roofline to all else.

    Raises:
        ConfigError: too few products.
    """
    is_product = np.isin(measured.kind, PRODUCTS)
    own = measured[is_product]
    shapes = Shapes(batched=own.kind == "bmm", batch=own.batch, m=own.m, n=own.n, k=own.k)
    learned = fit_products(Products(shapes=shapes, seconds=own.seconds), hardware, precision)
    others = fit_roofline(measured[~is_product], hardware, precision)
    held_out = dict(learned.pop("held_out"))
    if others.held_out:
        held_out["other operations"] = others.held_out["operations"]
    return FittedOperations(
        content={**learned, "kinds": others.content["kinds"]},
        held_out=held_out,
        products_error=held_out["operations"]["mean_relative_error"],
    )


def fit_best(
    measured: MeasuredOperations, hardware: Hardware, precision: Precision
) -> tuple[str, FittedOperations]:
    """Fit the kind of artifact whose error of products held out is the least."""
    enough = np.isin(measured.kind, PRODUCTS).sum() >= FEWEST_PRODUCTS
    names = [name for name in FITS if name != "learned" or enough]
    found = {name: FITS[name](measured, hardware, precision) for name in names}
    best = min(found, key=lambda name: found[name].products_error)
    return best, found[best]


# kind of artifact → how it is fitted
FITS: Mapping[str, Callable[[MeasuredOperations, Hardware, Precision], FittedOperations]] = {
    "roofline": fit_roofline,
    "learned": fit_learned,
}


def _held_out(floor_s: Array, seconds: Array) -> tuple[Array, Array]:
    """measured / predicted of rows held out, and the spread that was foretold, each (R,)."""
    ratio, sigma = np.zeros(len(seconds)), np.zeros(len(seconds))
    for held_out in folds(np.arange(len(seconds))):
        fit = fit_kind(floor_s[~held_out], seconds[~held_out])
        predicted_s = floor_s[held_out] / fit.utilisation + fit.overhead_s
        ratio[held_out] = seconds[held_out] / predicted_s
        sigma[held_out] = fit.sigma
    return ratio, sigma


def _mean_error(ratio: Array) -> float:
    return float(np.mean(np.abs(1 / ratio - 1)))


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
