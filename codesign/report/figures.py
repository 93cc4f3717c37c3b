"""How the report names and writes figures, and which of them it puts on the axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from codesign.contracts import Metric, Prediction, Value
from codesign.metrics import split_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codesign.report.content import ReportContent, ReportTrial

Cell = Value | None

LOG_LOSS = "log_loss"
MISSING = "-"
_SPELLED = {"auc": "AUC", "ne": "NE", "gflop": "GFLOP", "mflop": "MFLOP", "id": "ID", "lr": "LR"}


def label(name: str) -> str:
    """Spell a metric or knob for a person: `test_auc.ctr` is `test AUC of ctr`."""
    metric, task = split_name(name)
    words = metric.replace("_per_", "_/_").split("_")
    spelled = " ".join(_SPELLED.get(word, word) for word in words)
    return f"{spelled} of {task}" if task else spelled


def figure(value: Cell) -> str:
    """Write one value: four significant digits, whole numbers in full, `-` where missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{value:,.0f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    return f"{value:.4g}"


def brief_figures(found: Mapping[str, float], objectives: Sequence[str]) -> list[str]:
    """Write what one line has room for: the objectives, and the AUC that any search is judged by.

    Args:
        found: metric → value; those that are missing are left out.
        objectives: names of metrics.
    """
    names = dict.fromkeys([*objectives, "auc"])
    return [f"{name} {figure(found[name])}" for name in names if name in found]


def knob_figure(value: Cell) -> str:
    """Write a knob's value, a seed or a trial's number: as `figure`, digits not grouped."""
    return str(value) if type(value) is int else figure(value)


def measured_figure(value: Cell) -> str:
    """Write a learned figure (AUC, log loss): four decimals below 10."""
    if isinstance(value, float) and math.isfinite(value) and abs(value) < 10:
        return f"{value:.4f}"
    return figure(value)


def percent_figure(value: Cell) -> str:
    """Write a difference in %: its sign and two decimals, `-` where missing."""
    return f"{value:+.2f}" if isinstance(value, float) and math.isfinite(value) else MISSING


def prediction_figure(prediction: Prediction | None) -> str:
    """Write a predicted figure with its interval; `-` where there is none."""
    if prediction is None:
        return MISSING
    return f"{figure(prediction.value)} ({figure(prediction.low)} to {figure(prediction.high)})"


def finite(value: float | None) -> float | None:
    """Return the value, None where it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def metric_of(content: ReportContent, name: str) -> Metric:
    """Return what is known of a metric; an entry without unit where the study has none."""
    if name in content.metrics:
        return content.metrics[name]
    for objective in content.objectives:
        if objective.name == name:
            return Metric(name=name, unit="", goal=objective.goal, source="measured", meaning="")
    return Metric(name=name, unit="", goal="minimize", source="measured", meaning="")


def unit_of(content: ReportContent, name: str) -> str:
    """Return the unit to print beside the label, empty where the label already says it."""
    unit = metric_of(content, name).unit
    said = unit.split("/")[0].lower() in label(name).lower().split()
    return "" if said else unit


def cost_of(content: ReportContent) -> str | None:
    """Return the metric on the horizontal axis: another objective, else a counted cost."""
    quality = content.quality.metric
    others = [o.name for o in content.objectives if o.name != quality]
    exact = [name for name in others if metric_of(content, name).source == "exact"]
    counted = [name for t in content.trials for name in t.costs]
    return next(iter(exact + others + counted), None)


def shown_costs(content: ReportContent) -> list[str]:
    """Return the counted costs worth a column beside the front: searched, bounded, or the size."""
    counted = dict.fromkeys(name for t in content.front for name in t.costs)
    chosen = (
        {o.name for o in content.objectives}
        | set(content.budgets)
        | {"parameters", cost_of(content)}
    )
    return [name for name in counted if name in chosen]


def sd_of(content: ReportContent, trial: ReportTrial, metric: str) -> float | None:
    """Return ±1 sd of a measured metric: the trial's own, else the study's sampling noise.

    A confirmed trial has that over its fresh seeds, and none where there was only one.
    """
    other = None if trial.confirmed else content.noise_sd.get(metric)
    return finite(trial.spread.get(metric, other))


def with_sd(value: float | None, sd: float | None, plus_minus: str = "±") -> str:
    """Write a measured value and, where known, its ±1 sd."""
    shown = measured_figure(value)
    return shown if sd is None or finite(value) is None else f"{shown} {plus_minus} {sd:.4f}"


def relative_log_loss_percent(content: ReportContent, trial: ReportTrial) -> float | None:
    """Return 100 (L / L_baseline - 1), the paper's measure of quality; lower is better."""
    baseline = content.trial(content.baseline)
    reference = finite(baseline.metrics.get(LOG_LOSS)) if baseline else None
    own = finite(trial.metrics.get(LOG_LOSS))
    return 100 * (own / reference - 1) if own is not None and reference else None
