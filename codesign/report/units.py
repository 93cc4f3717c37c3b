"""Small FLOP counts in MFLOP, so that a person reads 1.8 and not 1.77e-04. For display only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from codesign.report.content import ReportContent

GFLOP, MFLOP = "gflop_per_example", "mflop_per_example"
MFLOP_PER_GFLOP = 1e3


def in_readable_units(content: ReportContent) -> ReportContent:
    """Return the content with `gflop_per_example` as MFLOP where every trial is below 1 GFLOP."""
    counts = [trial.costs[GFLOP] for trial in content.trials if GFLOP in trial.costs]
    if not counts or max(counts) >= 1:
        return content
    objectives = tuple(
        dataclasses.replace(
            o,
            metric=MFLOP,
            reference=None if o.reference is None else o.reference * MFLOP_PER_GFLOP,
        )
        if o.metric == GFLOP
        else o
        for o in content.objectives
    )
    searched = any(o.metric == GFLOP for o in content.objectives)
    metrics = dict(content.metrics)
    if GFLOP in metrics:
        metrics[MFLOP] = dataclasses.replace(metrics.pop(GFLOP), name=MFLOP, unit="MFLOP")
    return dataclasses.replace(
        content,
        objectives=objectives,
        metrics=metrics,
        budgets=_scaled(content.budgets),
        hypervolume=tuple(v * MFLOP_PER_GFLOP if searched else v for v in content.hypervolume),
        trials=tuple(dataclasses.replace(t, costs=_scaled(t.costs)) for t in content.trials),
    )


def _scaled(amounts: Mapping[str, float]) -> dict[str, float]:
    return {
        MFLOP if name == GFLOP else name: value * MFLOP_PER_GFLOP if name == GFLOP else value
        for name, value in amounts.items()
    }
