"""The state of a search in numbers, ready for a model. NumPy only.

N trials to learn from, C candidates, P pending trials, R = N + C + P, O objectives, M features
that the models see, X = M + a column for the gain of each objective that is counted or predicted +
a column for the standard deviation of each predicted gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns, as_designs
from codesign.pareto import pareto_mask
from codesign.search.gains import Scale, known_scale, learned_values, reference_gains

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codesign.contracts import Columns, Design, Feasible, LogNormal, Objective, Observation

Array = np.ndarray[Any, Any]

_COMPUTE = "gflop_per_example"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is known and what may be chosen.

    Attributes:
        features: M, how many leading columns of the inputs the models see.
        trained_NX, candidates_CX, pending_PX: inputs, float64.
        gains_NO: standardised, more is better.
        known_column: for each objective the column of its gain, None where it is learned.
        sd_column: for each objective the column of its gain's standard deviation, None where it is
            learned or exact.
        reference_O: the reference point, in gains; not used with one objective.
    """

    features: int
    trained_NX: Array
    candidates_CX: Array
    pending_PX: Array
    gains_NO: Array
    known_column: Sequence[int | None]
    sd_column: Sequence[int | None]
    reference_O: Array


def build(
    feasible: Feasible,
    objectives: Sequence[Objective],
    *,
    trained: Sequence[Observation],
    candidates: Sequence[Design],
    pending: Sequence[Design],
) -> Problem:
    """Encode designs and standardise objectives.

    `trained` holds informative trials only, at least one of them a success.
    """
    columns = as_columns([*(o.design for o in trained), *candidates, *pending])
    costs, predicted = feasible.costs(columns), feasible.predicted(columns)
    features_RM = _features(feasible, columns, costs)
    inputs = [*features_RM.T]
    known_column: list[int | None] = []
    sd_column: list[int | None] = []
    gains: list[Array] = []
    scales: list[Scale] = []
    for objective in objectives:
        scale, gains_R, sd_R = _scaled(objective, trained, costs, predicted)
        scales.append(scale)
        gains.append(gains_R[: len(trained)])
        known = objective.metric in costs or sd_R is not None
        known_column.append(len(inputs) if known else None)
        inputs += [gains_R] if known else []
        sd_column.append(None if sd_R is None else len(inputs))
        inputs += [] if sd_R is None else [sd_R]
    inputs_RX = np.stack(inputs, axis=1)
    trained_NX, candidates_CX, pending_PX = np.split(
        inputs_RX, np.cumsum([len(trained), len(candidates)])
    )
    gains_NO = np.stack(gains, axis=1)
    return Problem(
        features=features_RM.shape[1],
        trained_NX=trained_NX,
        candidates_CX=candidates_CX,
        pending_PX=pending_PX,
        gains_NO=gains_NO,
        known_column=known_column,
        sd_column=sd_column,
        reference_O=reference_gains(scales, gains_NO),
    )


def near_best(
    feasible: Feasible, objectives: Sequence[Objective], trained: Sequence[Observation]
) -> list[Design]:
    """Return the neighbours of the designs on the front so far (one objective: of the best)."""
    columns = as_columns([o.design for o in trained])
    known = dict(feasible.costs(columns))
    known |= {name: found.median for name, found in feasible.predicted(columns).items()}
    values_NO = np.stack(
        [
            np.asarray(known[o.metric]) if o.metric in known else learned_values(o, trained)
            for o in objectives
        ],
        axis=1,
    )
    front_N = pareto_mask(values_NO, [o.goal for o in objectives])
    best = [o.design for o, on_front in zip(trained, front_N, strict=True) if on_front]
    return [near for design in best for near in as_designs(feasible.neighbours(design))]


def _scaled(
    objective: Objective,
    trained: Sequence[Observation],
    costs: Mapping[str, Array],
    predicted: Mapping[str, LogNormal],
) -> tuple[Scale, Array, Array | None]:
    """Standardise one objective.

    Returns:
        Its scale; the gains of all rows (learned: of the trials); where it is predicted, the
        standard deviations of these gains.
    """
    found = predicted.get(objective.metric)
    if found is not None or objective.metric in costs:
        values_R = costs[objective.metric] if found is None else found.median
        scale = known_scale(objective, values_R).standardised(values_R[: len(trained)])
        sd_R = None if found is None else found.log_sd / np.log(10.0) / scale.spread
        return scale, scale.gains(values_R), sd_R
    values_N = learned_values(objective, trained)
    scale = Scale(objective=objective, log10=False).standardised(values_N)
    return scale, scale.gains(values_N), None


def _features(feasible: Feasible, columns: Columns, costs: Mapping[str, Array]) -> Array:
    """Encode the designs, and add the logarithm of their compute, scaled to [0, 1]: (R, M)."""
    encoded_RM = np.asarray(feasible.encode(columns), dtype=np.float64)
    compute_R = np.asarray(costs.get(_COMPUTE, 0.0), dtype=np.float64)
    if not (compute_R > 0).all():
        return encoded_RM
    log_R = np.log10(compute_R)
    span = float(np.ptp(log_R)) or 1.0
    return np.concatenate([encoded_RM, ((log_R - log_R.min()) / span)[:, None]], axis=1)
