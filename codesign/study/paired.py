"""The front's designs compared with the reference, example by example, from the trials' files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from codesign.comparison import Comparison, compare, seed_spread
from codesign.contracts import TEST_LOSSES, Objective
from codesign.study.findings import Finding
from codesign.study.folder import StudyFolder
from codesign.study.state import StudyState, Trial

Losses = np.ndarray[Any, np.dtype[np.float32]]


def comparisons(
    state: StudyState,
    found: Sequence[Finding],
    objectives: Sequence[Objective],
    folder: StudyFolder,
) -> tuple[int | None, dict[int, Comparison]]:
    """Compare each design of the front with the baseline, else with the front's cheapest.

    A confirmed design is its fresh seeds together, any other its one run: the run that chose it,
    lucky perhaps, so its interval, where it covers seeds, is widened to hold for all it was chosen
    from.

    Returns:
        The number of the reference, None where nothing can be compared; number → comparison.
    """
    front = [f for f in found if f.on_front]
    reference = _reference(front, found, objectives)
    if reference is None:
        return None, {}
    read = [f for f in found if f.on_front or f.confirmed or f is reference]
    losses = {
        f.trial.number: losses_SN
        for f in read
        if (losses_SN := _losses_SN(state, f, folder)) is not None
    }
    base_SN = losses.get(reference.trial.number)
    if base_SN is None:
        return None, {}
    comparable = [
        f
        for f in front
        if f is not reference
        and f.trial.number in losses
        and losses[f.trial.number].shape[1] == base_SN.shape[1] > 1
    ]
    spread = seed_spread({number: own.mean(axis=1).tolist() for number, own in losses.items()})
    others = [f for f in found if f is not reference]
    chosen_from = _of_one_run(others) / max(_of_one_run(comparable), 1) if spread else 1.0
    compared = {
        f.trial.number: compare(
            losses[f.trial.number],
            base_SN,
            family=len(comparable),
            chosen_from=1.0 if f.confirmed else chosen_from,
            spread=spread,
        )
        for f in comparable
    }
    return reference.trial.number if compared else None, compared


def _of_one_run(found: Sequence[Finding]) -> int:
    return sum(not f.confirmed for f in found)


def _reference(
    front: Sequence[Finding], found: Sequence[Finding], objectives: Sequence[Objective]
) -> Finding | None:
    baseline = next((f for f in found if f.trial.kind == "baseline"), None)
    costs = front[0].trial.costs if front else {}
    cost = next((o.metric for o in objectives if o.metric in costs), next(iter(costs), None))
    if baseline is not None or cost is None:
        return baseline
    return min(front, key=lambda f: f.trial.costs[cost])


def _losses_SN(state: StudyState, finding: Finding, folder: StudyFolder) -> Losses | None:
    """The losses of a design's runs; None where a run has not recorded them as numbers."""
    runs: list[Trial] = [finding.trial]
    if finding.confirmed:
        repeated = state.confirming(finding.trial.number)
        runs = [run for run in repeated if run.status == "completed"]
    kept = []
    for run in runs:
        path = folder.attempt(run.number, run.attempt) / TEST_LOSSES
        try:
            kept.append(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None
    if len({losses.shape for losses in kept}) != 1 or kept[0].ndim != 1:
        return None
    # Not a number where the rows kept hold no label of a task.
    losses_SN = np.stack(kept)
    return losses_SN if np.isfinite(losses_SN).all() else None
