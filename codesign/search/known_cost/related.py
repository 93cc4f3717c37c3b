"""Points of curves and trials of earlier studies, on the scale of this study's gains. NumPy only.

A loss after a quarter of the training, or on other data, lies elsewhere and spreads otherwise than
the final one. Designs that were seen at a higher fidelity, too, link the scales: by regression of
what they showed there, which is not misled where only those that looked best were trained on. What
nothing links is standardised by its own centre and spread. E rows, O objectives.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import key_of
from codesign.search.gains import fenced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codesign.contracts import Objective, Observation
    from codesign.designs import Key
    from codesign.search.gains import Scale

Array = np.ndarray[Any, Any]

# A slope of 1 counts as much as so many designs that are as far apart as all of the fidelity: few,
# as it is only a guess, but enough where three designs alike say nothing of it.
_DESIGNS_OF_EQUAL_SPREAD = 0.2
_FEWEST_LEADING = 2
_MOST_ROWS_A_TASK = 128


@dataclass(frozen=True, kw_only=True)
class Related:
    """What is learned from beside this study's finished trials.

    Attributes:
        inputs_EX: as `Problem.trained_NX`.
        gains_EO: on the scale of this study's gains; NaN where nothing is learned or known.
        fidelity_E: in (0, 1].
        task_E: 0 for this study, 1 … T for the earlier ones.
    """

    inputs_EX: Array
    gains_EO: Array
    fidelity_E: Array
    task_E: Array


def related_gains(
    scale: Scale, trained: Sequence[Observation], related: Sequence[Observation]
) -> Array:
    """Return the gains of related observations of one learned objective: (E,), NaN if unknown.

    Args:
        trained: this study's finished trials, on which the scale rests.
    """
    everything = [*trained, *related]
    raw = replace(scale, centre=0.0, spread=1.0)
    values = raw.gains(np.array([_value(scale, o) for o in everything]))
    groups: dict[tuple[str, float], list[int]] = defaultdict(list)
    for at, observation in enumerate(everything):
        if np.isfinite(values[at]):
            groups[observation.task, observation.fidelity].append(at)
    keys = [key_of(o.design) for o in everything]
    gains = np.full(len(everything), np.nan)
    anchors: dict[str, dict[Key, float]] = defaultdict(dict)
    units = {"": scale}
    for task, fidelity in sorted(groups, key=lambda group: (group[0], -group[1])):
        members = groups[task, fidelity]
        designs, raw_G = [keys[at] for at in members], fenced(values[members])
        unit = units.setdefault(task, raw.around(raw_G))
        gains[members] = (raw_G - unit.centre) / unit.spread
        if anchors[task]:
            gains[members] = _linked(gains[members], designs, anchors[task])
        # Where a design was seen at several fidelities, its highest one is what others link to.
        anchors[task] = dict(zip(designs, gains[members], strict=True)) | anchors[task]
    return gains[len(trained) :]


def leading(objectives: Sequence[Objective], related: Sequence[Observation]) -> list[Observation]:
    """Return what scales rest on before this study's own finished trials: at least two, or none.

    That is this study's points of the highest fidelity at which there are two; else the earlier
    task with the most.

    Args:
        objectives: those that are learned; all are finite in what is returned.
    """
    groups: dict[tuple[str, float], list[Observation]] = defaultdict(list)
    for o in related:
        values = [o.metrics.get(objective.metric, np.nan) for objective in objectives]
        if o.failure is None and np.isfinite(values).all():
            groups[o.task, o.fidelity].append(o)
    large = {group: found for group, found in groups.items() if len(found) >= _FEWEST_LEADING}
    first = max(large, key=lambda g: (not g[0], g[1], len(large[g]), g[0]), default=None)
    return [] if first is None else large[first]


def thinned(related: Sequence[Observation], told_E: Array) -> Array:
    """Keep each design's point of highest fidelity, and at most 128 designs of a task.

    Which designs stay follows from their order alone: they are evenly spaced.

    Args:
        told_E: which observations may be kept, bool.

    Returns:
        Which are kept: bool (E,).
    """
    highest: dict[tuple[str, Key], int] = {}
    for at in map(int, np.flatnonzero(told_E)):
        place = related[at].task, key_of(related[at].design)
        if place not in highest or related[at].fidelity > related[highest[place]].fidelity:
            highest[place] = at
    by_task: dict[str, list[int]] = defaultdict(list)
    for (task, _), at in highest.items():
        by_task[task].append(at)
    kept_E = np.zeros(len(related), dtype=bool)
    for members in by_task.values():
        spaced = np.linspace(0, len(members) - 1, min(len(members), _MOST_ROWS_A_TASK))
        kept_E[np.array(members)[spaced.round().astype(int)]] = True
    return kept_E


def _linked(gains_G: Array, keys: Sequence[Key], anchor: Mapping[Key, float]) -> Array:
    """Predict, from gains at a lower fidelity, those that the anchor has of the shared designs."""
    shared = [at for at, key in enumerate(keys) if key in anchor]
    if not shared:
        return np.asarray((gains_G - gains_G.mean()) / (gains_G.std() or 1.0))
    theirs = np.array([anchor[keys[at]] for at in shared])
    lower = gains_G[shared] - gains_G[shared].mean()
    weight = _DESIGNS_OF_EQUAL_SPREAD * gains_G.var() or 1.0
    slope = (lower @ theirs + weight) / (lower @ lower + weight)
    return np.asarray((gains_G - gains_G[shared].mean()) * slope + theirs.mean())


def _value(scale: Scale, observation: Observation) -> float:
    value = observation.metrics.get(scale.objective.metric, np.nan)
    known = observation.failure is None and (value > 0 or not scale.log10)
    return value if known else np.nan
