"""The nearest design that may be launched: for searches that know no budgets. NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns, as_designs, key_of
from codesign.search.candidates import sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codesign.contracts import Design, Feasible
    from codesign.designs import Key

CANDIDATES = 256
"""Feasible designs drawn to start from."""


def nearest_untaken(
    feasible: Feasible,
    wishes: Iterable[Design],
    taken: Sequence[Design],
    n: int,
    rng: np.random.Generator,
) -> list[Design]:
    """Return for each wish the nearest feasible design that is neither taken nor given before.

    Distances are Euclidean between encoded designs. The search starts at the nearest of a sample
    of feasible designs and goes from neighbour to nearer neighbour; the nearest of all designs
    seen on the way is the answer, so a wish that may be launched is granted where such steps lead
    to it.

    Args:
        wishes: combinations of levels, feasible or not; read one by one, as they are answered.
        n: wishes to answer, at most.

    Returns:
        Fewer than `n` designs only where no more exist.
    """
    designs = sample(feasible, max(n, CANDIDATES) + len(taken), rng)
    closed = {key_of(design) for design in taken}
    answers: list[Design] = []
    if n < 1 or all(key_of(design) in closed for design in designs):
        return answers
    features_CF = feasible.encode(as_columns(designs))
    for wish in wishes:
        found = _nearest(feasible, wish, designs, features_CF, closed)
        if found is None:
            break
        closed.add(key_of(found))
        answers.append(found)
        if len(answers) == n:
            break
    return answers


def _nearest(
    feasible: Feasible,
    wish: Design,
    designs: Sequence[Design],
    features_CF: np.ndarray[Any, Any],
    closed: set[Key],
) -> Design | None:
    """Return the nearest design not closed that the search from these designs comes by."""
    target_F = feasible.encode(as_columns([wish]))[0]
    distance_C = np.square(features_CF - target_F).sum(axis=1)
    is_open_C = np.array([key_of(design) not in closed for design in designs])
    seen: list[tuple[float, Design]] = []
    if is_open_C.any():
        first = int(np.where(is_open_C, distance_C, np.inf).argmin())
        seen.append((float(distance_C[first]), designs[first]))
    place, distance = designs[int(distance_C.argmin())], float(distance_C.min())
    while True:
        around = as_designs(feasible.neighbours(place))
        if not around:
            break
        distance_M = np.square(feasible.encode(as_columns(around)) - target_F).sum(axis=1)
        seen += [
            (float(d), design)
            for d, design in zip(distance_M, around, strict=True)
            if key_of(design) not in closed
        ]
        nearest = int(distance_M.argmin())
        if distance_M[nearest] >= distance:
            break
        place, distance = around[nearest], float(distance_M[nearest])
    return min(seen, key=lambda pair: pair[0])[1] if seen else None
