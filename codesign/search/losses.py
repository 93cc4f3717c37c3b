"""What finished trials show, as numbers of which less is better: for searches without a model.

N finished trials, O objectives. NumPy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns
from codesign.search.candidates import final
from codesign.search.gains import ABOUT_THE_DESIGN, is_success, known_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.contracts import Feasible, Objective, Observation

Array = np.ndarray[Any, Any]


def observed_losses(
    feasible: Feasible, objectives: Sequence[Objective], observed: Sequence[Observation]
) -> tuple[list[Observation], Array]:
    """Turn this study's trials at full fidelity into losses.

    A known cost is its logarithm where all are positive, a predicted one its median's. A trial
    that diverged or ran out of memory has the worst value seen of every learned objective. Trials
    that failed otherwise, or with a metric that is not finite, are left out, and so are all where
    none has succeeded.

    Returns:
        The trials that say something, in their order, and their losses: float64 (N, O).

    Raises:
        ConfigError: a completed trial does not report an objective.
    """
    own = final(observed)
    if not own:
        return [], np.zeros((0, len(objectives)))
    columns = as_columns([o.design for o in own])
    known = {name: np.asarray(values) for name, values in feasible.costs(columns).items()}
    known |= {name: found.median for name, found in feasible.predicted(columns).items()}
    learned = [o for o in objectives if o.metric not in known]
    succeeded_N = np.array([is_success(o, learned) for o in own])
    told_N = succeeded_N | np.array([o.failure in ABOUT_THE_DESIGN for o in own])
    if not succeeded_N.any():
        return [], np.zeros((0, len(objectives)))
    trials = [o for o, told in zip(own, told_N, strict=True) if told]
    gains = [
        known_scale(o, known[o.metric]).gains(known[o.metric][told_N])
        if o.metric in known
        else _learned_gains(o, trials)
        for o in objectives
    ]
    return trials, -np.stack(gains, axis=1) if gains else np.zeros((len(trials), 0))


def _learned_gains(objective: Objective, trials: Sequence[Observation]) -> Array:
    """Read one learned objective, more is better; what failed has the worst value seen: (N,)."""
    sign = 1.0 if objective.goal == "maximize" else -1.0
    gains_N = np.array([sign * o.metrics.get(objective.metric, np.nan) for o in trials])
    return np.where(np.isnan(gains_N), np.nanmin(gains_N), gains_N)
