"""How good searches are: hypervolume, regret and ranks. Pure functions on arrays.

T trials of a search, R designs of a task, O objectives (all to be minimised), M methods, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search.task import Array
from codesign.pareto import default_reference, hypervolume, hypervolume_over_trials

RESAMPLES = 1000


@dataclass(frozen=True)
class Volume:
    """The hypervolume of a task, by the values of all its designs.

    The reference point is beyond the worst value of each objective by a tenth of its range
    (`codesign.pareto.default_reference`).

    Args:
        values_RO: NaN where a run failed.
        log10: for each objective, whether its axis is logarithmic.
    """

    values_RO: Array
    log10: tuple[bool, ...]

    @property
    def goals(self) -> list[str]:
        """All objectives are to be minimised."""
        return ["minimize" for _ in self.log10]

    def axes(self, values_TO: Array) -> Array:
        """Put values on the axes, (T, O)."""
        columns = zip(np.asarray(values_TO).T, self.log10, strict=True)
        return np.stack([np.log10(v) if log else v for v, log in columns], axis=1)

    def reference_O(self) -> Array:
        """The reference point, on the axes."""
        return default_reference(self.axes(self.values_RO), self.goals)

    def share(self, values_TO: Array) -> Array:
        """The share of the whole that the first 1, 2, …, T trials of a search dominate, (T,)."""
        reference_O = self.reference_O()
        whole = hypervolume(self.axes(self.values_RO), reference_O, self.goals)
        return hypervolume_over_trials(self.axes(values_TO), reference_O, self.goals) / whole


def regret(values_T: Array, values_R: Array) -> Array:
    """How far the best of the first 1, 2, …, T trials is from the best design, (T,).

    In units of the range of all designs: 0 is the best, 1 the worst; 1 before the first success.
    """
    worst, best = np.nanmax(values_R), np.nanmin(values_R)
    so_far_T = np.fmin.accumulate(np.fmin(values_T, worst))
    return (so_far_T - best) / (worst - best)


def area_under_regret(values_T: Array, values_R: Array) -> float:
    """The mean of the regret over the trials; rounded, so that equal searches tie."""
    return round(float(regret(values_T, values_R).mean()), 12)


def expected_ranks(areas_MS: Array) -> Array:
    """The rank that each method has on average among searches of one seed each, (M,).

    1 is the best; ties share their ranks. Over all combinations of seeds, so methods may have
    different numbers of them.

    Args:
        areas_MS: less is better; NaN beyond a method's seeds.
    """
    methods = len(areas_MS)
    there_MS = ~np.isnan(areas_MS)
    pairs_MM = there_MS.sum(axis=1)[:, None] * there_MS.sum(axis=1)[None, :]
    others = areas_MS[None, :, None, :]
    mine = areas_MS[:, None, :, None]
    beaten_MM = ((others < mine) + 0.5 * (others == mine)).sum(axis=(2, 3)) / pairs_MM
    return 1.0 + (beaten_MM * ~np.eye(methods, dtype=bool)).sum(axis=1)


def mean_ranks(
    areas: Sequence[Array], weights: Sequence[float], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Average methods' ranks over tables.

    Args:
        areas: of each table, (M, S); see `expected_ranks`.
        weights: how much each table counts.

    Returns:
        The mean ranks (M,), and the ends of their 95% intervals (2, M), by a bootstrap over tables
        and over each method's seeds.
    """
    weights_B = np.array(weights, dtype=float)
    ranks_BM = np.stack([expected_ranks(table) for table in areas])
    drawn = []
    for _ in range(RESAMPLES):
        tables = rng.integers(len(areas), size=len(areas))
        ranks = np.stack([expected_ranks(_resampled(areas[t], rng)) for t in tables])
        drawn.append(np.average(ranks, axis=0, weights=weights_B[tables]))
    mean_M = np.average(ranks_BM, axis=0, weights=weights_B)
    return mean_M, np.quantile(drawn, [0.025, 0.975], axis=0)


def _resampled(areas_MS: Array, rng: np.random.Generator) -> Array:
    """Draw as many seeds of each method as it has, with replacement."""
    drawn_MS = np.full_like(areas_MS, np.nan)
    for row_S, out_S in zip(areas_MS, drawn_MS, strict=True):
        count = int((~np.isnan(row_S)).sum())
        out_S[:count] = row_S[rng.integers(count, size=count)]
    return drawn_MS


def padded(areas: Mapping[str, Sequence[float]]) -> Array:
    """Stack methods' areas, with NaN beyond the seeds of each, (M, S)."""
    longest = max(map(len, areas.values()))
    stacked_MS = np.full((len(areas), longest), np.nan)
    for row_S, found in zip(stacked_MS, areas.values(), strict=True):
        row_S[: len(found)] = found
    return stacked_MS


def median_interval(values_S: Array, rng: np.random.Generator) -> tuple[float, float]:
    """The 95% interval of a median over seeds, by a bootstrap."""
    drawn = rng.integers(len(values_S), size=(RESAMPLES, len(values_S)))
    low, high = np.quantile(np.median(np.asarray(values_S)[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)
