"""How well costs were predicted: trials that have both, predicted and measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.report.figures import finite

if TYPE_CHECKING:
    from codesign.contracts import Prediction
    from codesign.report.content import ReportContent


@dataclass(frozen=True, kw_only=True)
class Check:
    """One metric, predicted before the trials ran and measured in them.

    Attributes:
        points: number of a trial, what was *predicted* of it, and what was *measured*, above 0.
    """

    metric: str
    points: tuple[tuple[int, Prediction, float], ...]

    @property
    def note(self) -> str:
        """Say where the predictions come from and how far they are off."""
        errors = [abs(p.value / measured - 1) for _, p, measured in self.points]
        within = sum(p.low <= measured <= p.high for _, p, measured in self.points)
        labels = "; ".join(dict.fromkeys(p.label for _, p, _ in self.points))
        return (
            f"Predicted by {labels}. Median error {100 * statistics.median(errors):.0f}% of the "
            f"measured figure; {within} of {len(self.points)} measured figures lie within the "
            "bars. On the dashed line both are equal."
        )


def cost_checks(content: ReportContent) -> list[Check]:
    """Return what some trial has both predicted and measured."""
    names = dict.fromkeys(name for t in content.trials for name in t.predictions)
    checks = []
    for name in names:
        points = tuple(
            (t.number, t.predictions[name], measured)
            for t in content.trials
            if name in t.predictions
            and (measured := finite(t.metrics.get(name))) is not None
            and measured > 0
        )
        checks += [Check(metric=name, points=points)] if points else []
    return checks
