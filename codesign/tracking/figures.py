"""Charts of a study for trackers: its front, and predicted against measured figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from codesign.report.figures import cost_of, finite, label, unit_of
from codesign.tracking.records import Figure

if TYPE_CHECKING:
    from codesign.report.content import ReportContent, ReportTrial

# Of Okabe and Ito's palette: told apart by the colour-blind, too; shapes say the same.
FRONT, OTHER, EVEN = "#d55e00", "#0072b2", "#7f7f7f"


def front_figure(content: ReportContent) -> Figure:
    """Draw quality against cost: the front joined by a line, designs in the points' labels."""
    quality, cost = content.quality.metric, cost_of(content)
    shown = [
        (x, y, trial)
        for trial in content.trials
        if trial.kind != "confirm"
        and (y := finite(trial.value(quality))) is not None
        and (x := finite(trial.value(cost)) if cost else float(trial.number)) is not None
    ]
    front = sorted((each for each in shown if each[2].on_front), key=lambda each: each[:2])
    others = [each for each in shown if not each[2].on_front]
    figure = go.Figure()
    for name, points, colour, marker, mode in (
        ("other designs", others, OTHER, "circle-open", "markers"),
        ("Pareto front", front, FRONT, "circle", "lines+markers"),
    ):
        figure.add_scatter(
            name=name,
            x=[x for x, _, _ in points],
            y=[y for _, y, _ in points],
            text=[_told(trial) for _, _, trial in points],
            mode=mode,
            marker={"color": colour, "symbol": marker, "size": 9},
            line={"color": colour},
        )
    across = _titled(content, cost) if cost else "trial"
    return _laid_out(figure, content.study, across, _titled(content, quality), log_x=bool(cost))


def check_figure(
    content: ReportContent, metric: str, points: Sequence[tuple[int, float, float, float, float]]
) -> Figure:
    """Draw predicted against measured figures; on the dashed line both are equal.

    Args:
        points: trial, the *predicted* median, both ends of its interval, and the *measured* figure.
    """
    figure = go.Figure()
    figure.add_scatter(
        name="trials",
        x=[measured for *_, measured in points],
        y=[median for _, median, *_ in points],
        error_y={
            "array": [high - median for _, median, _, high, _ in points],
            "arrayminus": [median - low for _, median, low, _, _ in points],
        },
        text=[f"trial {trial}" for trial, *_ in points],
        mode="markers",
        marker={"color": OTHER},
    )
    ends = [value for _, median, _, _, measured in points for value in (median, measured)]
    ends = [min(ends), max(ends)]
    figure.add_scatter(
        name="equal", x=ends, y=ends, mode="lines", line={"color": EVEN, "dash": "dash"}
    )
    named = _titled(content, metric)
    return _laid_out(figure, content.study, f"measured {named}", f"predicted {named}")


def _told(trial: ReportTrial) -> str:
    knobs = "<br>".join(f"{name} {value}" for name, value in trial.design.items())
    return f"trial {trial.number}<br>{knobs}"


def _titled(content: ReportContent, metric: str) -> str:
    unit = unit_of(content, metric)
    return f"{label(metric)} ({unit})" if unit else label(metric)


def _laid_out(
    figure: go.Figure, title: str, across: str, up: str, *, log_x: bool = False
) -> Figure:
    axis: dict[str, Any] = {"title": across, **({"type": "log"} if log_x else {})}
    figure.update_layout(title=title, xaxis=axis, yaxis={"title": up}, template="none")
    return Figure(json=figure.to_json())
