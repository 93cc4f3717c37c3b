"""What finished trials show, as numbers of which less is better: for searches without a model.

N finished trials, O objectives. NumPy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns
from codesign.search.candidates import final
from codesign.search.gains import is_informative, is_success, known_scale, learned_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.contracts import Feasible, Objective, Observation

Array = np.ndarray[Any, Any]


def observed_losses(
    feasible: Feasible, objectives: Sequence[Objective], observed: Sequence[Observation]
) -> tuple[list[Observation], Array]:
    """Turn this study's trials at full fidelity into losses.

    A known cost is its logarithm where all are positive, a predicted one its median's. A trial
    that diverged or ran out of memory, or whose metric is not finite, has the worst value seen of
    every learned objective. Trials that failed otherwise say nothing of their design and are left
    out, and so are all where none has succeeded.

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
    told_N = np.array([is_informative(o, learned) for o in own])
    trials = [o for o, told in zip(own, told_N, strict=True) if told]
    if not any(is_success(o, learned) for o in trials):
        return [], np.zeros((0, len(objectives)))
    gains = [
        known_scale(o, known[o.metric]).gains(known[o.metric][told_N])
        if o.metric in known
        else learned_values(o, trials) * (1.0 if o.goal == "maximize" else -1.0)
        for o in objectives
    ]
    return trials, -np.stack(gains, axis=1) if gains else np.zeros((len(trials), 0))
