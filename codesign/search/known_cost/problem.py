"""The state of a search in numbers, ready for a model. NumPy only.

N trials that succeeded, F that failed because of their design, R designs, O objectives, M features
that the models see, X = M + a column for the gain of each objective that is counted or predicted +
a column for the standard deviation of each predicted gain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_columns, as_designs, key_of
from codesign.pareto import pareto_mask
from codesign.search.gains import (
    Scale,
    fenced,
    known_scale,
    learned_scale,
    learned_values,
    reference_gains,
)
from codesign.search.known_cost.related import Related, related_gains, thinned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codesign.contracts import Columns, Design, Feasible, LogNormal, Objective, Observation

Array = np.ndarray[Any, Any]

SHARED_VARIANCE = 0.5
"""Share of the variance of a prediction's error, in logarithms, that all designs have in common:
the device is faster than modelled, or slower. The rest is each design's own. Assumed, not fitted.
"""
_COMPUTE = "gflop_per_example"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """How designs become inputs, alike for all designs of one proposal.

    Attributes:
        scales: of each objective.
        log_compute: smallest and largest of log10(compute), which becomes a feature scaled by
            them; None: it is no feature.
    """

    feasible: Feasible
    scales: Sequence[Scale]
    log_compute: tuple[float, float] | None

    def of(self, designs: Sequence[Design]) -> Array:
        """Encode designs (at least one): float64 (R, X)."""
        columns = as_columns(designs)
        costs, predicted = self.feasible.costs(columns), self.feasible.predicted(columns)
        inputs = [*self._features(columns, costs).T]
        for scale in self.scales:
            metric = scale.objective.metric
            found = predicted.get(metric)
            if found is not None:
                sd_R = found.log_sd / np.log(10.0) / scale.spread
                inputs += [scale.gains(found.median), sd_R]
            elif metric in costs:
                inputs.append(scale.gains(costs[metric]))
        return np.stack(inputs, axis=1)

    def _features(self, columns: Columns, costs: Mapping[str, Array]) -> Array:
        """Encode the designs, and add the logarithm of their compute: (R, M)."""
        encoded_RM = np.asarray(self.feasible.encode(columns), dtype=np.float64)
        if self.log_compute is None:
            return encoded_RM
        low, high = self.log_compute
        scaled_R = (np.log10(costs[_COMPUTE]) - low) / ((high - low) or 1.0)
        return np.concatenate([encoded_RM, scaled_R[:, None]], axis=1)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is known, and how to ask about a design.

    Attributes:
        features: M, how many leading columns of the inputs the models see.
        trained_NX: inputs of this study's finished trials, float64.
        gains_NO: theirs, standardised, more is better; a known one over the candidates, too.
        known_column: for each objective the column of its gain, None where it is learned.
        sd_column: for each objective the column of its gain's standard deviation, None where it is
            learned or exact.
        reference_O: the reference point, in gains; not used with one objective.
        compute: the feature that is the logarithm of compute, if one is.
        failed_FX: inputs of the trials that diverged or ran out of memory.
        paused_PX: inputs of this study's other designs that have trained for a part, so far.
        related: points of curves and trials of earlier studies, if there are any.
    """

    features: int
    trained_NX: Array
    gains_NO: Array
    known_column: Sequence[int | None]
    sd_column: Sequence[int | None]
    reference_O: Array
    compute: int | None = None
    failed_FX: Array = field(default_factory=lambda: np.zeros((0, 0)))
    paused_PX: Array = field(default_factory=lambda: np.zeros((0, 0)))
    related: Related | None = None

    @property
    def to_beat_BX(self) -> Array:
        """Inputs of the finished trials; before there are any, of the least of the related."""
        if len(self.trained_NX) or self.related is None:
            return self.trained_NX
        least = int(np.nansum(self.related.gains_EO, axis=1).argmin())
        return self.related.inputs_EX[least : least + 1]


def build(
    feasible: Feasible,
    objectives: Sequence[Objective],
    *,
    trained: Sequence[Observation],
    others: Sequence[Design],
    failed: Sequence[Design] = (),
    related: Sequence[Observation] = (),
    leading: Sequence[Observation] = (),
) -> tuple[Problem, Inputs]:
    """Standardise objectives and encode the trials.

    Args:
        trained: this study's successful trials at full fidelity; at least one, or `leading` is not
            empty.
        others: designs that scales have to suit as well, at least one.
        failed: designs that diverged or ran out of memory.
        related: points of curves and trials of earlier studies.
        leading: what the scales of learned objectives rest on where nothing is trained.
    """
    columns = as_columns([*(o.design for o in trained), *others])
    costs, predicted = feasible.costs(columns), feasible.predicted(columns)
    basis = trained or leading
    found = [_scaled(objective, basis, costs, predicted) for objective in objectives]
    scales = [scale for scale, _ in found]
    inputs = Inputs(feasible=feasible, scales=scales, log_compute=_log_compute(costs))
    trained_NX = inputs.of([o.design for o in trained] or others[:1])[: len(trained)]
    # From the last column backwards: the objectives' columns follow the features.
    known_column: list[int | None] = [None] * len(objectives)
    sd_column: list[int | None] = [None] * len(objectives)
    features = trained_NX.shape[1]
    for at in reversed(range(len(objectives))):
        metric = objectives[at].metric
        if metric in predicted:
            sd_column[at] = features = features - 1
        if metric in predicted or metric in costs:
            known_column[at] = features = features - 1
    gains_NO = np.stack([gains_R[: len(trained)] for _, gains_R in found], axis=1)
    problem = Problem(
        features=features,
        trained_NX=trained_NX,
        gains_NO=gains_NO,
        known_column=known_column,
        sd_column=sd_column,
        reference_O=reference_gains(scales, [gains_R for _, gains_R in found]),
        compute=None if inputs.log_compute is None else features - 1,
        failed_FX=inputs.of(failed) if failed else trained_NX[:0],
        paused_PX=_paused(inputs, trained_NX, [*(o.design for o in trained), *failed], related),
        related=_related(inputs, known_column, trained, related),
    )
    return problem, inputs


def _paused(
    inputs: Inputs, trained_NX: Array, ended: Sequence[Design], related: Sequence[Observation]
) -> Array:
    """Encode this study's designs that are seen on the way only: (P, X)."""
    seen = {key_of(o.design): o.design for o in related if not o.task}
    for design in ended:
        seen.pop(key_of(design), None)
    return inputs.of([*seen.values()]) if seen else trained_NX[:0]


def _related(
    inputs: Inputs,
    known_column: Sequence[int | None],
    trained: Sequence[Observation],
    related: Sequence[Observation],
) -> Related | None:
    """Encode what is related, and scale its learned values."""
    gains_EO = np.full((len(related), len(known_column)), np.nan)
    for at, (scale, column) in enumerate(zip(inputs.scales, known_column, strict=True)):
        if column is None:
            gains_EO[:, at] = related_gains(scale, trained, related)
    told_E = np.isfinite(gains_EO).any(axis=1)
    kept_E = thinned(related, told_E)
    kept = [o for o, keep in zip(related, kept_E, strict=True) if keep]
    if not kept:
        return None
    tasks = sorted({o.task for o in kept} - {""})
    number = {"": 0} | {task: at for at, task in enumerate(tasks, start=1)}
    return Related(
        inputs_EX=inputs.of([o.design for o in kept]),
        gains_EO=gains_EO[kept_E],
        fidelity_E=np.array([o.fidelity for o in kept]),
        task_E=np.array([number[o.task] for o in kept]),
    )


def near_best(
    feasible: Feasible, objectives: Sequence[Objective], trained: Sequence[Observation]
) -> list[Design]:
    """Return the neighbours of the designs on the front so far (one objective: of the best)."""
    if not trained:
        return []
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
    basis: Sequence[Observation],
    costs: Mapping[str, Array],
    predicted: Mapping[str, LogNormal],
) -> tuple[Scale, Array]:
    """Standardise one objective.

    Returns:
        Its scale, and gains: of the basis where it is learned; else of all designs, (R,), for what
        is known before training need not be seen in a trial first.
    """
    found = predicted.get(objective.metric)
    if found is not None or objective.metric in costs:
        values_R = costs[objective.metric] if found is None else found.median
        scale = known_scale(objective, values_R).standardised(values_R)
        return scale, scale.gains(values_R)
    values_N = learned_values(objective, basis)
    raw = learned_scale(objective, values_N)
    gains_N = fenced(raw.gains(values_N))
    scale = raw.around(gains_N)
    return scale, (gains_N - scale.centre) / scale.spread


def _log_compute(costs: Mapping[str, Array]) -> tuple[float, float] | None:
    compute_R = np.asarray(costs.get(_COMPUTE, [0.0]), dtype=np.float64)
    if not (compute_R > 0).all():
        return None
    return float(np.log10(compute_R.min())), float(np.log10(compute_R.max()))
