"""Drawing designs that are not taken yet: what every proposer does. NumPy only."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from codesign.contracts import Design, Feasible, Observation
from codesign.designs import as_designs, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# So few designs are looked for one by one: faster than to make a key of each taken one.
_FEW = 16
# Drawn beyond what is asked for, as some may be taken.
_SPARE = 4


def taken_designs(observed: Sequence[Observation], pending: Sequence[Design]) -> list[Design]:
    """Collect what may not be proposed: each design once that this study has begun."""
    own = {o.key: o.design for o in observed if not o.task}
    return list({**own, **{key_of(design): design for design in pending}}.values())


def final(observed: Sequence[Observation]) -> list[Observation]:
    """Leave out points of curves and other studies' trials: at most one for each design is left."""
    return [o for o in observed if o.fidelity == 1.0 and not o.task]


def seed_of(design: Design) -> int:
    """Return a seed that follows from a design alone: in [0, 2**32)."""
    return zlib.crc32(repr(sorted(design.items())).encode())


def unseen(designs: Iterable[Design], taken: Sequence[Design]) -> list[Design]:
    """Leave out what is taken and what came before, keeping the order."""
    designs = list(designs)
    if len(designs) <= _FEW:
        designs, taken = [design for design in designs if design not in taken], []
    seen = {key_of(design) for design in taken}
    fresh: list[Design] = []
    for design in designs:
        key = key_of(design)
        if key not in seen:
            seen.add(key)
            fresh.append(design)
    return fresh


def sample(feasible: Feasible, n: int, rng: np.random.Generator) -> list[Design]:
    """Draw up to `n` distinct designs, in random order."""
    drawn = as_designs(feasible.sample(n, rng))
    return [drawn[i] for i in rng.permutation(len(drawn))]


def sample_unseen(
    feasible: Feasible, taken: Sequence[Design], n: int, rng: np.random.Generator
) -> list[Design]:
    """Draw `n` distinct designs that are not taken, in random order.

    Asking for as many more as are taken leaves `n`, so fewer come back only where no more exist.
    That is seldom needed, and costs more the more are taken.
    """
    fresh = unseen(sample(feasible, n + min(len(taken), _SPARE), rng), taken)
    if len(fresh) < n:
        fresh = unseen(sample(feasible, n + len(taken), rng), taken)
    return fresh[:n]
