"""The columns of the trial table: what the page and the terminal show of each trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from codesign.report.figures import (
    Cell,
    figure,
    finite,
    knob_figure,
    label,
    measured_figure,
    metric_of,
    percent_figure,
    prediction_figure,
    relative_log_loss_percent,
    unit_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codesign.contracts import Value
    from codesign.report.content import ReportContent, ReportTrial

Group = Literal["trial", "measured", "exact count", "predicted", "design", "system", "run"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the trial table: a value (None where missing) and a text per trial.

    Attributes:
        group: where the figures come from.
    """

    name: str
    group: Group
    unit: str = ""
    meaning: str = ""
    values: tuple[Cell, ...]
    texts: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name as a person reads it; knobs keep theirs, so that it can be looked up."""
        return self.name if self.group in ("design", "system") else label(self.name)

    @property
    def numeric(self) -> bool:
        """Whether there are values, and they order as numbers."""
        known = [v for v in self.values if v is not None]
        return bool(known) and not any(isinstance(v, str) for v in known)


def trial_columns(content: ReportContent) -> list[Column]:
    """Return the columns of the trial table, objectives first in their group."""
    return [
        *(_attribute(content, name, "trial") for name in ("number", "kind", "status")),
        *(_measured(content, name) for name in _names(content, "metrics")),
        *([_relative_log_loss(content)] if content.baseline is not None else []),
        *(_counted(content, name) for name in _names(content, "costs")),
        *(_predicted(content, name) for name in _names(content, "predictions")),
        *(_knob(content, name) for name in varying_knobs(content)),
        *(_system(content, name) for name in _names(content, "system")),
        _attribute(content, "seed", "run"),
        _attribute(content, "seconds", "run", unit="s", meaning="wall time"),
        _attribute(content, "failure", "run"),
        _attribute(content, "reason", "run"),
    ]


def varying_knobs(content: ReportContent) -> tuple[str, ...]:
    """Return the knobs that differ between trials, in the order of first appearance."""
    return tuple(k for k in _names(content, "design") if k not in constant_knobs(content))


def constant_knobs(content: ReportContent) -> dict[str, Value]:
    """Return the knobs on which all trials agree (none where there is only one trial)."""
    designs = [t.design for t in content.trials]
    if len(designs) < 2:
        return {}
    first = designs[0]
    return {k: v for k, v in first.items() if all(d.get(k) == v for d in designs)}


def _column(
    content: ReportContent,
    name: str,
    group: Group,
    read: Callable[[ReportTrial], Cell],
    *,
    write: Callable[[Cell], str] = figure,
    unit: str = "",
    meaning: str = "",
) -> Column:
    cells = [read(trial) for trial in content.trials]
    return Column(
        name=name,
        group=group,
        unit=unit,
        meaning=meaning,
        values=tuple(finite(c) if isinstance(c, float) else c for c in cells),
        texts=tuple(write(c) for c in cells),
    )


def _attribute(
    content: ReportContent, name: str, group: Group, unit: str = "", meaning: str = ""
) -> Column:
    def read(trial: ReportTrial) -> Cell:
        value: Cell = getattr(trial, name)
        return value

    write = figure if unit else knob_figure
    return _column(content, name, group, read, write=write, unit=unit, meaning=meaning)


def _measured(content: ReportContent, name: str) -> Column:
    unit, meaning = unit_of(content, name), metric_of(content, name).meaning

    def read(trial: ReportTrial) -> Cell:
        return trial.metrics.get(name)

    write = measured_figure if metric_of(content, name).source == "learned" else figure
    return _column(content, name, "measured", read, write=write, unit=unit, meaning=meaning)


def _counted(content: ReportContent, name: str) -> Column:
    unit, meaning = unit_of(content, name), metric_of(content, name).meaning

    def read(trial: ReportTrial) -> Cell:
        return trial.costs.get(name)

    return _column(content, name, "exact count", read, unit=unit, meaning=meaning)


def _predicted(content: ReportContent, name: str) -> Column:
    """The median of each trial; its text holds the interval, too."""
    metric = metric_of(content, name)
    found = [trial.predictions.get(name) for trial in content.trials]
    labels = dict.fromkeys(p.label for p in found if p is not None)
    return Column(
        name=f"predicted_{name}",
        group="predicted",
        unit=unit_of(content, name),
        meaning=f"{metric.meaning}; {', '.join(labels)}",
        values=tuple(None if p is None else finite(p.value) for p in found),
        texts=tuple(prediction_figure(p) for p in found),
    )


def _knob(content: ReportContent, name: str) -> Column:
    def read(trial: ReportTrial) -> Cell:
        return trial.design.get(name)

    return _column(content, name, "design", read, write=knob_figure)


def _system(content: ReportContent, name: str) -> Column:
    """A setting that was chosen for a design; empty where it is the study's own."""

    def read(trial: ReportTrial) -> Cell:
        return trial.system.get(name)

    return _column(content, name, "system", read, write=knob_figure)


def _relative_log_loss(content: ReportContent) -> Column:
    def read(trial: ReportTrial) -> Cell:
        return relative_log_loss_percent(content, trial)

    meaning = f"log loss against trial {content.baseline}; lower is better"
    return _column(
        content,
        "relative_log_loss",
        "measured",
        read,
        write=percent_figure,
        unit="%",
        meaning=meaning,
    )


def _names(
    content: ReportContent,
    part: Literal["design", "metrics", "costs", "predictions", "system"],
) -> Sequence[str]:
    """Return the names in one part of the trials: objectives first, then as first seen."""
    seen: dict[str, None] = {}
    for trial in content.trials:
        seen.update(dict.fromkeys(getattr(trial, part)))
    leading = [o.metric for o in content.objectives if o.metric in seen]
    return [*leading, *(name for name in seen if name not in leading)]
