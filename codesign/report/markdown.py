"""The study as Markdown, to paste into a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from codesign.report import front, sections
from codesign.report.analysis import importance_note, trend_note
from codesign.report.columns import constant_knobs, varying_knobs
from codesign.report.figures import (
    figure,
    knob_figure,
    label,
    prediction_figure,
    sd_of,
    shown_costs,
    unit_of,
    with_sd,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codesign.importance import Importance
    from codesign.report.analysis import Analysis
    from codesign.report.content import ReportContent, ReportTrial

MOST_FAILURES = 10


def render_markdown(analysis: Analysis) -> str:
    """Return the whole text; what the study says of itself is escaped."""
    content = analysis.content
    parts = [
        f"# {_plain(content.title or content.study)}",
        _plain(sections.lede(content)),
        *_best(content),
        "## Pareto front",
        _front(content),
        _plain(front.comparison_note(content)),
        _plain(trend_note(content, analysis.trend)),
        "## Which knobs mattered",
        _plain(importance_note(analysis.importance)),
        _importance(analysis.importance),
        *_failures(content),
        "## Provenance",
        _table(["", ""], ([label, value] for label, value in content.provenance.items())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _best(content: ReportContent) -> list[str]:
    best = content.trial(content.best)
    if best is None:
        return ["No trial has completed yet."]
    knobs = ", ".join(f"{name} = {knob_figure(value)}" for name, value in best.design.items())
    said = [front.reference_verdict(content, best), front.floor_verdict(content, best)]
    return [f"**Best design: trial {best.number}.** {_plain(knobs)}.", *map(_plain, said)]


def _front(content: ReportContent) -> str:
    if not content.front:
        return "No trial is on the front yet."
    quality = content.quality.metric
    measured = [quality, *(m for m in [f"test_{quality}"] if m in content.front[0].metrics)]
    costs, knobs = shown_costs(content), varying_knobs(content)
    predicted = [o.metric for o in content.objectives if o.predicted]
    compared = content.reference is not None
    head = ["trial", *(f"{label(m)} (measured, ± 1 sd)" for m in measured)]
    head += [
        f"{label(m)} ({', '.join(filter(None, (unit_of(content, m), 'exact')))})" for m in costs
    ]
    head += [
        f"{label(m)} ({', '.join(filter(None, (unit_of(content, m), 'predicted')))})"
        for m in predicted
    ]
    head += ["log loss on test rows, compared"] if compared else []
    rows = []
    for trial in content.front:
        row = [_name(content, trial)]
        row += [with_sd(trial.metrics.get(m), sd_of(content, trial, m)) for m in measured]
        row += [figure(trial.costs.get(m)) for m in costs]
        row += [prediction_figure(trial.predictions.get(m)) for m in predicted]
        row += [front.verdict_cell(content, trial)] if compared else []
        rows.append([*row, *(knob_figure(trial.design.get(knob)) for knob in knobs)])
    same = ", ".join(f"{k} = {knob_figure(v)}" for k, v in constant_knobs(content).items())
    note = f"\n\nThe same in all trials: {_plain(same)}." if same else ""
    return _table([*head, *knobs], rows) + note


def _name(content: ReportContent, trial: ReportTrial) -> str:
    return " ".join([str(trial.number), *(f"({mark})" for mark in front.marks(content, trial))])


def _importance(importance: Importance) -> str:
    if not importance.reliable:
        return ""
    rows = ([k.knob, f"{k.share:.2f}", f"{k.low:.2f} to {k.high:.2f}"] for k in importance.knobs)
    return _table(["knob", "share (fitted)", "95% interval"], rows)


def _failures(content: ReportContent) -> list[str]:
    found = sections.failures(content)
    if not found:
        return []
    rows = [
        [kind.replace("_", " "), str(len(trials)), str(trials[0]), reason]
        for kind, reason, trials in found[:MOST_FAILURES]
    ]
    rest = sum(len(trials) for _, _, trials in found[MOST_FAILURES:])
    return [
        "## Failures",
        _table(["kind", "trials", "first", "reason"], rows),
        f"{rest} trials failed for other reasons." if rest else "",
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(map(_plain, head)), ["---"] * len(head), *(list(map(_plain, r)) for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Keep text as it is: nothing in it is Markdown or HTML, and it stays on one line."""
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
