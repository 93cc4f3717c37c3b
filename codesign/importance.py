"""Which knobs mattered: permutation importance of a random forest, on trials it has not seen.

N trials, K knobs. The only module that imports scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign.contracts import Design, Value

Array = np.ndarray[Any, Any]

TRIALS = 20
"""Fewer trials than that are not looked at."""

FOLDS, REPEATS, PERMUTATIONS, TREES = 5, 2, 3, 40
MOST_TRIALS = 500


@dataclass(frozen=True, kw_only=True)
class KnobImportance:
    """What a forest loses when one knob's values are shuffled between unseen trials.

    Attributes:
        share: increase of the squared error over twice the variance of the trials' ranks; 0: no
            use, 1: alone it decides. For knobs drawn independently it estimates the total effect
            (Jansen 1999), to which interactions count: shares may add up to more than 1.
        low, high: 95% interval over trials, given the forests.
    """

    knob: str
    share: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Importance:
    """All knobs, the most important first.

    Attributes:
        trials: how many were used.
        r2: share of the variance of unseen trials' ranks that the forests predict (1 is all, 0 is
            no better than the mean, below 0 is worse); NaN where there were too few trials.
        reliable: whether `r2` is above 0 by its 95% interval over trials: forests that predict
            nothing have nothing to say of single knobs.
    """

    trials: int
    r2: float
    reliable: bool
    knobs: tuple[KnobImportance, ...]


def knob_importance(
    designs: Sequence[Design], quality_N: Sequence[float], *, seed: int = 0
) -> Importance:
    """Measure by 5-fold cross-validation, twice, how much each knob tells of the trials' order.

    Ranks of quality, not its values, so that collapsed trials count as bad and no more; and a
    knob is shuffled only among the trials in which it is in effect (Breiman 2001; Fisher, Rudin
    and Dominici 2019). Of more than 500 trials a random 500 are used.

    Args:
        designs: knobs in effect → value; a knob that sleeps is left out.
        quality_N: finite.
        seed: decides folds, forests and shuffles.
    """
    rng = np.random.default_rng(seed)
    varying = _varying(designs)
    if len(designs) < TRIALS or not varying:
        return Importance(trials=len(designs), r2=float("nan"), reliable=False, knobs=())
    chosen = rng.permutation(len(designs))[:MOST_TRIALS]
    columns = {knob: _column([designs[i].get(knob) for i in chosen]) for knob in varying}
    return _permuted(columns, _ranks(np.asarray(quality_N, dtype=float)[chosen]), rng)


def _permuted(columns: Mapping[str, Array], rank_N: Array, rng: np.random.Generator) -> Importance:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    variance = float(rank_N.var()) or 1.0
    x_NK = np.stack(list(columns.values()), axis=1)
    error_N, rise_NK = np.zeros(len(rank_N)), np.zeros(x_NK.shape)
    for _ in range(REPEATS):
        folds = KFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
        for seen, unseen in folds.split(x_NK):
            forest = RandomForestRegressor(
                TREES, min_samples_leaf=2, random_state=int(rng.integers(2**31))
            ).fit(x_NK[seen], rank_N[seen])
            errors = (forest.predict(x_NK[unseen]) - rank_N[unseen]) ** 2
            error_N[unseen] += errors / REPEATS
            shuffled = np.concatenate([
                _shuffled(x_NK[unseen], k, rng) for k in range(len(columns))
                for _ in range(PERMUTATIONS)
            ])  # fmt: skip
            after = forest.predict(shuffled).reshape(len(columns), PERMUTATIONS, -1)
            rises = ((after - rank_N[unseen]) ** 2).mean(axis=1) - errors
            rise_NK[unseen] += rises.T / REPEATS
    explained_N = ((rank_N - rank_N.mean()) ** 2 - error_N) / variance
    r2, r2_half = float(explained_N.mean()), float(_half_width(explained_N))
    share_NK = rise_NK / (2 * variance)
    mean_K, half_K = share_NK.mean(axis=0), _half_width(share_NK)
    found = [
        KnobImportance(
            knob=knob, share=float(mean), low=float(mean - half), high=float(mean + half)
        )
        for knob, mean, half in zip(columns, mean_K, half_K, strict=True)
    ]
    ordered = tuple(sorted(found, key=lambda each: -each.share))
    return Importance(trials=len(rank_N), r2=r2, reliable=r2 > r2_half, knobs=ordered)


def _half_width(values_N: Array) -> Array:
    """Half of the 95% interval of the mean over the first axis."""
    return np.asarray(1.96 * values_N.std(axis=0, ddof=1) / np.sqrt(len(values_N)))


def _varying(designs: Sequence[Design]) -> list[str]:
    names = dict.fromkeys(name for design in designs for name in design)
    return [name for name in names if len({design.get(name) for design in designs}) > 1]


def _column(values: Sequence[Value | None]) -> Array:
    """Numbers as they are, words by order of appearance, NaN where the knob sleeps."""
    words = {v: i for i, v in enumerate(dict.fromkeys(v for v in values if isinstance(v, str)))}
    return np.array(
        [np.nan if v is None else words[v] if isinstance(v, str) else float(v) for v in values]
    )


def _ranks(values_N: Array) -> Array:
    """Ranks in (0, 1], equal values their mean rank."""
    _, place_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    upto = counts.cumsum()
    return ((upto - (counts - 1) / 2) / len(values_N))[place_N]


def _shuffled(x_NK: Array, knob: int, rng: np.random.Generator) -> Array:
    """Give each trial the value of another: one that kept its own would dilute the effect."""
    shuffled = x_NK.copy()
    order = rng.permutation(np.flatnonzero(~np.isnan(x_NK[:, knob])))
    shuffled[order, knob] = x_NK[np.roll(order, 1), knob]
    return shuffled
