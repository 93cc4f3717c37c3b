"""How quality goes with compute: a fitted trend with its uncertainty. Pure functions on arrays.

N designs, B bootstrap samples, G points of the drawn curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = np.ndarray[Any, Any]

DISTINCT_COSTS = 6
"""Fewer different costs than that say nothing of a trend."""

BOOTSTRAPS = 300
GRID = 40
ITERATIONS = 60
# Residuals below this share of the quality's spread weigh alike, so that no weight is infinite.
SMALL_RESIDUAL = 1e-6


@dataclass(frozen=True, kw_only=True)
class LogTrend:
    """A line through the median quality over the logarithm of cost: *fitted*, not measured.

    Attributes:
        designs: how many it was fitted to.
        per_decade: change of quality with ten times the cost.
        per_decade_low, per_decade_high: its 95% interval.
        explained: share of the quality's absolute deviation from its median that cost accounts
            for, in [0, 1] (R¹ of Koenker and Machado 1999, the median's counterpart of R²).
        cost_G: from the least to the greatest cost, evenly in the logarithm.
        quality_G, low_G, high_G: the line, and the 95% band of where the line lies.
    """

    designs: int
    per_decade: float
    per_decade_low: float
    per_decade_high: float
    explained: float
    cost_G: Array
    quality_G: Array
    low_G: Array
    high_G: Array


def log_trend(
    cost_N: ArrayLike, quality_N: ArrayLike, *, rng: np.random.Generator
) -> LogTrend | None:
    """Fit quality = a + b log10(cost) by least absolute deviations.

    The median, so that a few collapsed designs do not bend it. Two parameters: the loss at infinite
    compute, a saturating law's third, is not to be had from the one or two decades of one study.
    The band is a percentile bootstrap over designs.

    Args:
        cost_N: designs whose cost is not above 0 or not finite are left out.
        quality_N: any metric; what is not finite is left out.

    Returns:
        None where fewer than `DISTINCT_COSTS` different costs are left.
    """
    cost, quality = np.asarray(cost_N, dtype=float), np.asarray(quality_N, dtype=float)
    kept = np.isfinite(cost) & (cost > 0) & np.isfinite(quality)
    cost, quality = cost[kept], quality[kept]
    if np.unique(cost).size < DISTINCT_COSTS:
        return None
    decades, size = np.log10(cost), cost.size
    drawn_BN = rng.multinomial(size, np.full(size, 1 / size), size=BOOTSTRAPS)
    # A sample with a single cost has no slope.
    drawn_BN = drawn_BN[[np.unique(decades[row > 0]).size > 1 for row in drawn_BN]]
    level, slope = (each[0] for each in _median_lines(decades, quality, np.ones((1, size))))
    level_B, slope_B = _median_lines(decades, quality, drawn_BN.astype(float))
    grid_G = np.linspace(decades.min(), decades.max(), GRID)
    low_G, high_G = np.percentile(level_B[:, None] + slope_B[:, None] * grid_G, [2.5, 97.5], axis=0)
    slope_low, slope_high = np.percentile(slope_B, [2.5, 97.5])
    around_median = np.abs(quality - np.median(quality)).sum()
    left_over = np.abs(quality - level - slope * decades).sum()
    return LogTrend(
        designs=size,
        per_decade=float(slope),
        per_decade_low=float(slope_low),
        per_decade_high=float(slope_high),
        explained=float(max(0.0, 1 - left_over / around_median)) if around_median else 0.0,
        cost_G=10**grid_G,
        quality_G=level + slope * grid_G,
        low_G=low_G,
        high_G=high_G,
    )


def _median_lines(x_N: Array, y_N: Array, weight_BN: Array) -> tuple[Array, Array]:
    """Fit weighted least absolute deviations by reweighted least squares; level, slope (B,)."""
    least = SMALL_RESIDUAL * max(float(np.ptp(y_N)), 1e-12)
    weights = weight_BN
    for _ in range(ITERATIONS):
        total_B = weights.sum(axis=1)
        x_B, y_B = weights @ x_N / total_B, weights @ y_N / total_B
        spread_B = weights @ x_N**2 / total_B - x_B**2
        slope_B = (weights @ (x_N * y_N) / total_B - x_B * y_B) / spread_B
        level_B = y_B - slope_B * x_B
        residual_BN = np.abs(y_N - level_B[:, None] - slope_B[:, None] * x_N)
        weights = weight_BN / np.maximum(residual_BN, least)
    return level_B, slope_B
