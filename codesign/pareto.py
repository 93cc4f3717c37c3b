"""Pareto fronts and hypervolumes: pure functions on arrays.

N points (designs, trials), D objectives. `goals` says which way each objective is better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from codesign.contracts import Goal

Array = np.ndarray[Any, Any]

# How far the default reference point lies beyond the worst value: a share of the observed range.
REFERENCE_MARGIN = 0.1
_SIGNS = {"minimize": 1.0, "maximize": -1.0}


def pareto_mask(values_ND: ArrayLike, goals: Sequence[Goal]) -> Array:
    """Say which points no other point dominates.

    A point dominates another if it is at least as good in all objectives and better in one, so
    equal points stay or go together. A point with a NaN is never on the front and dominates none.

    Returns:
        bool (N,).
    """
    losses_ND = _as_losses(values_ND, goals)
    mask_N = np.zeros(len(losses_ND), dtype=bool)
    left = np.flatnonzero(~np.isnan(losses_ND).any(axis=1))
    left = left[np.lexsort(losses_ND[left].T[::-1])]
    while left.size:
        # Nothing that follows in lexicographic order can dominate the first point.
        first_D = losses_ND[left[0]]
        mask_N[left[(losses_ND[left] == first_D).all(axis=1)]] = True
        left = left[(losses_ND[left] < first_D).any(axis=1)]
    return mask_N


def nondominated_order(
    values_ND: ArrayLike, goals: Sequence[Goal], *, most: int | None = None
) -> Array:
    """Sort points, best first: by fronts, within a front by crowding distance, the larger first.

    The sorting of NSGA-II (Deb et al. 2002): without the points of the first front the second
    one stands in front, and so on. Points that are alike in both keep their order. With one
    objective it is plain sorting. Points with a NaN come last.

    Args:
        most: how many points to sort out, which is faster than all; None: all, N.

    Returns:
        Numbers of the best points, int64 (min(most, N),).
    """
    losses_ND = _as_losses(values_ND, goals)
    if len(goals) == 1:
        return np.argsort(losses_ND[:, 0], kind="stable")[:most]
    left, fronts = np.arange(len(losses_ND)), [np.zeros(0, dtype=np.int64)]
    least_left = 0 if most is None else len(left) - most
    while left.size > max(least_left, 0):
        front = pareto_mask(losses_ND[left], ["minimize"] * len(goals))
        front |= ~front.any()
        members = left[front]
        fronts.append(members[np.argsort(-_crowding(losses_ND[members]), kind="stable")])
        left = left[~front]
    return np.concatenate(fronts)[:most]


def _crowding(losses_ND: Array) -> Array:
    """Sum over objectives the distance of a point's two neighbours, as a share of the range.

    Returns:
        float64 (N,), infinite for the ends.
    """
    distance_N = np.zeros(len(losses_ND))
    for loss_N in losses_ND.T:
        order = np.argsort(loss_N, kind="stable")
        ends, span = order[[0, -1]], float(np.ptp(loss_N))
        if span > 0:
            distance_N[order[1:-1]] += (loss_N[order[2:]] - loss_N[order[:-2]]) / span
            distance_N[ends] = np.inf
    return distance_N


def hypervolume(values_ND: ArrayLike, reference_D: ArrayLike, goals: Sequence[Goal]) -> float:
    """Measure exactly the region that the points dominate, up to the reference point.

    A sweep for D ≤ 2, else slices along the last objective: exact for every D, and meant for few
    (the work grows as N to the power D - 1). Points no better than the reference in some
    objective, or with a NaN, add nothing.

    Returns:
        The volume, ≥ 0, in the product of the objectives' units.
    """
    losses_ND = _as_losses(values_ND, goals)
    reference = _as_losses(np.asarray(reference_D, dtype=np.float64)[None, :], goals)[0]
    return _volume(losses_ND[(losses_ND < reference).all(axis=1)], reference)


def hypervolume_over_trials(
    values_ND: ArrayLike, reference_D: ArrayLike, goals: Sequence[Goal]
) -> Array:
    """Measure the hypervolume of the first 1, 2, …, N points: float64 (N,), never falling."""
    values_ND = np.asarray(values_ND, dtype=np.float64)
    reference_D = np.asarray(reference_D, dtype=np.float64)
    volumes_N = np.zeros(len(values_ND))
    front_FD = values_ND[:0]
    for trial, value_D in enumerate(values_ND):
        grown_FD = np.vstack([front_FD, value_D])
        kept = pareto_mask(grown_FD, goals)
        front_FD = grown_FD[kept]
        if kept[-1]:
            volumes_N[trial] = hypervolume(front_FD, reference_D, goals)
        elif trial:
            volumes_N[trial] = volumes_N[trial - 1]
    return volumes_N


def default_reference(values_ND: ArrayLike, goals: Sequence[Goal]) -> Array:
    """Choose a reference point: per objective the worst value seen, and `REFERENCE_MARGIN` beyond.

    The margin is a share of the observed range, so that the extremes of the front count; where
    all values are equal, a share of their size (or of 1 if they are 0). Rows with a value that is
    not finite are left out.

    Returns:
        float64 (D,), in the objectives' own units.

    Raises:
        ConfigError: no row is finite.
    """
    losses_ND = _as_losses(values_ND, goals)
    finite_ND = losses_ND[np.isfinite(losses_ND).all(axis=1)]
    if not len(finite_ND):
        raise ConfigError(
            f"no reference point can be chosen: none of {len(losses_ND)} points is finite",
            hint="give every objective its `reference`",
        )
    worst_D = finite_ND.max(axis=0)
    span_D = worst_D - finite_ND.min(axis=0)
    size_D = np.where(worst_D == 0, 1.0, np.abs(worst_D))
    losses_D = worst_D + REFERENCE_MARGIN * np.where(span_D > 0, span_D, size_D)
    return np.asarray(losses_D * _signs(goals))


def _volume(losses_ND: Array, reference_D: Array) -> float:
    """Measure the union of boxes between each point and the reference (all better than it)."""
    if not len(losses_ND):
        return 0.0
    if losses_ND.shape[1] == 1:
        return float(reference_D[0] - losses_ND.min())
    order = np.argsort(losses_ND[:, -1], kind="stable")
    losses_ND = losses_ND[order]
    heights_N = np.diff(losses_ND[:, -1], append=reference_D[-1])
    if losses_ND.shape[1] == 2:
        widths_N = reference_D[0] - np.minimum.accumulate(losses_ND[:, 0])
        return float(widths_N @ heights_N)
    return sum(
        float(height) * _volume(losses_ND[: last + 1, :-1], reference_D[:-1])
        for last, height in enumerate(heights_N)
        if height > 0
    )


def _as_losses(values_ND: ArrayLike, goals: Sequence[Goal]) -> Array:
    """Turn every objective so that less is better; check the shape."""
    values_ND = np.asarray(values_ND, dtype=np.float64)
    if values_ND.ndim != 2 or values_ND.shape[1] != len(goals) or not goals:
        raise ConfigError(
            f"values have shape {values_ND.shape} for {len(goals)} goals; "
            "must be (points, objectives) with one goal an objective"
        )
    return values_ND * _signs(goals)


def _signs(goals: Sequence[Goal]) -> Array:
    unknown = sorted(set(goals) - set(_SIGNS))
    if unknown:
        raise ConfigError(f"unknown goals {unknown}; must be minimize or maximize")
    return np.array([_SIGNS[goal] for goal in goals])
