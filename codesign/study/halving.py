"""Asynchronous successive halving: how far a trial trains, and which trains on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), algorithm 2: whoever is
free trains on the best trial that may be promoted, from the highest rung down, else a new design.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from codesign import pareto
from codesign.contracts import Objective
from codesign.report.content import Savings
from codesign.spec.model import FidelitySpec, StudySpec
from codesign.study.state import StudyState, Trial


def next_share(trial: Trial, fidelity: FidelitySpec | None) -> float:
    """Return the share of the full training up to which a trial's next attempt trains, in (0, 1].

    Confirming runs train in full; so do all where no fidelity is declared.
    """
    if fidelity is None or trial.kind == "confirm":
        return 1.0
    return next(share for share in fidelity.shares if share > trial.share)


def promotion(state: StudyState, spec: StudySpec) -> Trial | None:
    """Return the paused trial that trains on next, if one may.

    The baseline always may. Of n designs that reached a rung the best `keep` · n may, rounded
    down: by the objective, or by nondominated fronts of the objectives as measured at the rung,
    with the exact and predicted costs, and within a front by crowding distance.
    """
    fidelity = spec.search.fidelity
    if fidelity is None:
        return None
    for baseline in state.of_kind("baseline"):
        if baseline.status == "paused":
            return baseline
    searched = state.of_kind("baseline", "search")
    for rung in reversed(fidelity.rungs):
        if (found := _best_waiting(searched, rung, spec.objectives, fidelity.keep)) is not None:
            return found
    return None


def last_resort(state: StudyState, spec: StudySpec) -> Trial | None:
    """Return the trial that trains on where a search would end without a full training.

    The best of those that wait at the highest rung; None where one design, beside the baseline,
    has trained in full, or none waits.
    """
    fidelity = spec.search.fidelity
    searched = state.of_kind("search")
    if fidelity is None or any(trial.status == "completed" for trial in searched):
        return None
    for rung in reversed(fidelity.rungs):
        if (found := _best_waiting(searched, rung, spec.objectives, 1.0)) is not None:
            return found
    return None


def savings(state: StudyState, spec: StudySpec) -> Savings | None:
    """Count what pausing has saved so far; None where no design paused, or may.

    Failed, cancelled and running trials are left out, and so is what was trained twice.
    """
    if spec.search.fidelity is None:
        return None
    known = [
        (trial.examples, trial.share)
        for trial in state.of_kind("baseline", "search")
        if trial.status in ("paused", "completed") and trial.examples is not None
    ]
    if all(share == 1 for _, share in known):
        return None
    return Savings(
        trained_examples=round(sum(examples * share for examples, share in known), 3),
        full_examples=sum(examples for examples, _ in known),
        paused=sum(share < 1 for _, share in known),
        designs=len(known),
    )


def _best_waiting(
    searched: Sequence[Trial], rung: float, objectives: Sequence[Objective], keep: float
) -> Trial | None:
    """Return the best that waits at a rung, if it is among the best `keep` of all that came there.

    Equally good ones are told apart by their numbers.
    """
    there = [trial for trial in searched if rung in trial.reached]
    # A product such as 0.29 · 100 lies just below the whole number that it stands for.
    kept = math.floor(keep * len(there) + 1e-9)
    if not any(_waits_at(trial, rung) for trial in there):
        return None
    known = [{**t.costs, **t.predicted, **t.reached[rung]} for t in there]
    values_ND = np.array([[each[o.name] for o in objectives] for each in known], dtype=float)
    order = pareto.nondominated_order(
        values_ND.reshape(-1, len(objectives)), [o.goal for o in objectives], most=kept
    )
    return next((there[i] for i in order if _waits_at(there[i], rung)), None)


def _waits_at(trial: Trial, rung: float) -> bool:
    return trial.status == "paused" and trial.share == rung
