"""What the report fits to the trials: a trend, the knobs' importance. Fitted, never measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codesign.importance import TRIALS, Importance, knob_importance
from codesign.report.figures import cost_of, finite, label
from codesign.report.units import in_readable_units
from codesign.scaling import LogTrend, log_trend

if TYPE_CHECKING:
    from codesign.report.content import ReportContent, ReportTrial


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A study as its report shows it, and what was fitted to it.

    Attributes:
        content: in readable units.
        trend: median quality against the cost on the horizontal axis; None where the costs are
            too few, or what stands there is no counted cost.
        importance: of the knobs, for the order of the designs by quality.
    """

    content: ReportContent
    trend: LogTrend | None
    importance: Importance


def analyse(content: ReportContent) -> Analysis:
    """Fit both, to completed designs, each once: a confirmed one by its mean over fresh seeds."""
    content = in_readable_units(content)
    quality, cost = content.quality, cost_of(content)
    sign = 1.0 if quality.goal == "minimize" else -1.0
    designs = [
        (trial, value)
        for trial in content.trials
        if trial.status == "completed" and trial.kind != "confirm"
        and (value := finite(trial.value(quality.metric))) is not None
    ]  # fmt: skip
    importance = knob_importance([t.design for t, _ in designs], [sign * v for _, v in designs])
    trend = None
    if cost is not None and any(cost in trial.costs for trial, _ in designs):
        trend = log_trend(
            [_cost(trial, cost) for trial, _ in designs],
            [value for _, value in designs],
            rng=np.random.default_rng(0),
        )
    return Analysis(content=content, trend=trend, importance=importance)


def _cost(trial: ReportTrial, name: str) -> float:
    value = trial.value(name)
    return float("nan") if value is None else value


def trend_note(content: ReportContent, trend: LogTrend | None) -> str:
    """Say what the trend says, with its interval; empty where there is none."""
    cost = cost_of(content)
    if trend is None or cost is None:
        return ""
    quality = label(content.quality.metric)
    told = (
        f"Dashed: the fitted median of all {trend.designs} completed designs, with its 95% band. "
        f"Ten times the {label(cost)} changes {quality} by {trend.per_decade:+.4f} (95% interval "
        f"{trend.per_decade_low:+.4f} to {trend.per_decade_high:+.4f}); it accounts for "
        f"{100 * trend.explained:.0f}% of the designs' deviation"
    )
    if trend.per_decade_low <= 0 <= trend.per_decade_high:
        return f"{told}. The interval holds 0: whether there is a trend is open."
    return f"{told}, the rest is other knobs and noise."


def importance_note(importance: Importance) -> str:
    """Say how importance was measured, or why it was not."""
    if not importance.knobs:
        return (
            f"Not enough trials to tell knobs apart: {importance.trials} completed designs with "
            f"knobs that vary; at least {TRIALS} are needed."
        )
    method = (
        "Permutation importance: a random forest predicts the designs' order by quality from "
        "their knobs, and the bar shows what it loses on designs it has not seen when one knob is "
        "shuffled (1: this knob alone decides; 95% interval over designs). "
        f"It predicts {100 * max(0.0, importance.r2):.0f}% of the variance of {importance.trials} "
        "designs left out in turn (cross-validated R²)."
    )
    if importance.reliable:
        return f"{method} Costs are counted, not estimated: codesign cost explains them."
    return (
        f"{method} That is not told apart from nothing, so no knob is shown; more trials may help."
    )
