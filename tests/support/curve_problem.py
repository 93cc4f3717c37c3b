"""Ten trials of a curve over one feature, with known or predicted gains: a search in numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from codesign.search.known_cost.problem import Problem

Array = np.ndarray[Any, Any]


def inputs(x_R: Array, *, known: int, sd: float | None = None) -> Array:
    """Lay out the feature, `known` gains of it and, for the last, its standard deviation."""
    gains = [-2.0 * x_R + 1.0, np.cos(4.0 * x_R)][:known]
    spread = [] if sd is None else [np.full(len(x_R), sd)]
    return np.stack([x_R, *gains, *spread], axis=1)


def curve_problem(*, known: int, learned: int = 1, sd: float | None = None) -> Problem:
    """Learn `learned` curves, the first with its peak at pi / 10; know `known` gains."""
    x_N = np.linspace(0.0, 1.0, 10)
    trained_NX = inputs(x_N, known=known, sd=sd)
    curves = [np.sin(5.0 * x_N), np.cos(3.0 * x_N)][:learned]
    columns: list[int | None] = [*range(1, 1 + known)]
    spreads: list[int | None] = [None] * (known - 1) + [None if sd is None else 1 + known]
    nothing: list[int | None] = [None] * learned
    return Problem(
        features=1,
        trained_NX=trained_NX,
        gains_NO=np.stack([*curves, *trained_NX[:, 1 : 1 + known].T], axis=1),
        known_column=nothing + columns,
        sd_column=nothing + (spreads if known else []),
        reference_O=np.full(learned + known, -1.5),
    )


def with_noise(problem: Problem, sd: float) -> Problem:
    """Disturb the learned gains, always alike."""
    gains_NO = problem.gains_NO.copy()
    gains_NO[:, 0] += np.random.default_rng(1).normal(scale=sd, size=len(gains_NO))
    return replace(problem, gains_NO=gains_NO)
