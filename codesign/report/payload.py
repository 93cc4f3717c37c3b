"""What the page's scripts draw from, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from codesign.report.checks import Check, cost_checks
from codesign.report.columns import Column, trial_columns
from codesign.report.figures import (
    cost_of,
    figure,
    finite,
    label,
    metric_of,
    sd_of,
    unit_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.report.analysis import Analysis
    from codesign.report.content import ReportContent, ReportTrial
    from codesign.scaling import LogTrend

Item = TypeVar("Item")

CURVES = 12
"""Learning curves of the front drawn at most: more cannot be told apart."""

OTHER_CURVES = 60
"""Curves drawn beside the front's at most: enough to compare with."""

EXAMPLES = "examples"
THROUGHPUT = "examples_per_s"


def payload_json(analysis: Analysis) -> str:
    """Return the JSON, safe inside a script element: no `<` survives in it."""
    text = json.dumps(page_payload(analysis), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def page_payload(analysis: Analysis) -> dict[str, Any]:
    """Return plain JSON values: what the page's scripts call `content`."""
    content = analysis.content
    quality, cost = content.quality, cost_of(content)
    return {
        "study": content.study,
        "quality": _axis(content, quality.metric),
        "cost": _axis(content, cost) if cost else None,
        "floor": {
            "name": content.floor_name,
            "value": finite(content.floor.get(quality.metric)),
        },
        "noise": finite(content.noise_sd.get(quality.metric)),
        # Steps between the points are the front of two objectives only.
        "steps": len(content.objectives) == 2,
        "budget": finite(content.budgets.get(cost)) if cost else None,
        "best": content.best,
        "baseline": content.baseline,
        "trend": _trend(analysis.trend),
        "throughput": _axis(content, THROUGHPUT),
        "checks": [_check(content, check) for check in cost_checks(content)],
        "points": [_point(content, t, quality.metric, cost) for t in content.trials],
        "columns": [_column(content, column) for column in trial_columns(content)],
        "hypervolume": [_short(v) for v in content.hypervolume],
        "curves": _curves(content, cost),
    }


def _axis(content: ReportContent, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label(name),
        "unit": unit_of(content, name),
        "goal": metric_of(content, name).goal,
        "exact": metric_of(content, name).source == "exact",
    }


def _point(
    content: ReportContent, trial: ReportTrial, quality: str, cost: str | None
) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "kind": trial.kind,
        "status": trial.status,
        "x": _short(trial.value(cost)) if cost else float(trial.number),
        "y": _short(trial.value(quality)),
        "sd": _short(sd_of(content, trial, quality)),
        "front": trial.on_front and trial.status == "completed",
        "confirmed": trial.confirmed,
    }


def _column(content: ReportContent, column: Column) -> dict[str, Any]:
    measured = column.group == "measured"
    sds = [_short(sd_of(content, t, column.name)) if measured else None for t in content.trials]
    return {
        **({"sds": sds} if any(sd is not None for sd in sds) else {}),
        "name": column.name,
        "label": column.label,
        "unit": column.unit,
        "group": column.group,
        "meaning": column.meaning,
        "numeric": column.numeric,
        "values": [_short(v) if isinstance(v, float) else v for v in column.values],
        "texts": column.texts,
    }


def _trend(trend: LogTrend | None) -> dict[str, Any] | None:
    if trend is None:
        return None
    lines = {"x": trend.cost_G, "y": trend.quality_G, "low": trend.low_G, "high": trend.high_G}
    return {name: [_short(float(v)) for v in values] for name, values in lines.items()}


def _short(value: float | None) -> float | None:
    """Return seven digits of a finite value: more than a page can show, in half the bytes."""
    return None if finite(value) is None else float(f"{value:.7g}")


def _check(content: ReportContent, check: Check) -> dict[str, Any]:
    return {
        "metric": _axis(content, check.metric),
        "points": [
            {"trial": number, "measured": _short(measured)}
            | {end: _short(getattr(p, end)) for end in ("value", "low", "high")}
            for number, p, measured in check.points
        ],
    }


def _curves(content: ReportContent, cost: str | None) -> dict[str, Any]:
    """Return curves: of the front, cheapest first, evenly thinned to `CURVES`, and of others."""
    recorded = [t for t in content.trials if any(EXAMPLES in point for point in t.curve)]
    front = [t for t in recorded if t.on_front]
    ordered = sorted(front, key=lambda t: (cost and finite(t.value(cost))) or 0.0)
    others = [t for t in recorded if not t.on_front]
    metrics = dict.fromkeys(m for t in recorded for p in t.curve for m in p if m != EXAMPLES)
    return {
        "of": len(ordered),
        "metrics": [{"name": m, "label": label(m), "unit": unit_of(content, m)} for m in metrics],
        "lines": [_line(t, cost) for t in thinned(ordered, CURVES)],
        "others": [_line(t, cost) for t in thinned(others, OTHER_CURVES)],
    }


def thinned(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Return at most so many of the items, evenly spread."""
    return items[:: max(1, -(-len(items) // most))]


def _line(trial: ReportTrial, cost: str | None) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "cost": figure(trial.value(cost)) if cost else "",
        "points": [{k: _short(v) for k, v in point.items()} for point in trial.curve],
    }
