"""Parts of the page that need no script, but for the front: importance, failures, facts."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from codesign.report.checks import cost_checks
from codesign.report.figures import figure, finite, label, metric_of, unit_of, with_sd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codesign.contracts import TrialStatus, Value
    from codesign.importance import Importance
    from codesign.report.content import ReportContent

STATUSES: tuple[TrialStatus, ...] = (
    "completed", "paused", "failed", "running", "pending", "cancelled"
)  # fmt: skip

FAILURE_ROWS, FAILURE_LINKS = 20, 8


def lede(content: ReportContent) -> str:
    """Say in a line what was searched for, and how far it has come."""
    aims = " and ".join(
        f"{'high' if o.goal == 'maximize' else 'low'} {label(o.name)}" for o in content.objectives
    )
    counts = Counter(t.status for t in content.trials)
    told = ", ".join(f"{counts[s]:,}\N{NO-BREAK SPACE}{s}" for s in STATUSES if counts[s])
    budget = f" of {content.trial_budget:,}" if content.trial_budget else ""
    trials = "trial" if len(content.trials) == 1 else "trials"
    said = f"A search for {aims}. {len(content.trials):,} {trials}{budget}" + (
        f": {told}." if told else "."
    )
    return said if content.savings is None else f"{said} {content.savings.told}."


def importance_table(importance: Importance) -> str:
    """Return a bar with its interval for each knob; nothing where nothing can be said."""
    if not importance.reliable:
        return ""
    full = max(1e-9, *(each.high for each in importance.knobs))
    rows = []
    for each in importance.knobs:
        low, high = (100 * max(0.0, x) / full for x in (each.low, each.high))
        bar = 100 * max(0.0, each.share) / full
        half = (each.high - each.low) / 2
        rows.append(
            f'<tr><th scope="row">{escape(each.knob)}</th><td class="bar">'
            f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect x="0" y="1" width="{bar:.1f}" height="8"/>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="5" y2="5"/></svg></td>'
            f'<td class="n">{round(each.share, 2) + 0.0:.2f} ± {half:.2f}</td></tr>'
        )
    return (
        '<table class="importance"><thead><tr><th scope="col">knob</th><td></td>'
        '<th scope="col" class="n">share<small>fitted, 95%</small></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def failures(content: ReportContent) -> list[tuple[str, str, list[int]]]:
    """Return kind, reason and trials of all failures alike, the most frequent first."""
    alike: dict[tuple[str, str], list[int]] = {}
    for trial in content.trials:
        if trial.status == "failed":
            alike.setdefault((trial.failure or "", trial.reason), []).append(trial.number)
    return sorted(((*what, trials) for what, trials in alike.items()), key=lambda f: -len(f[2]))


def failure_table(content: ReportContent, *, logs: bool = False) -> str:
    """Return failures by kind and reason, with links to their trials."""
    found = failures(content)
    if not found:
        return '<p class="note">No trial has failed.</p>'
    rows = []
    for kind, reason, trials in found[:FAILURE_ROWS]:
        links = ", ".join(_failed(n, logs=logs) for n in trials[:FAILURE_LINKS])
        more = f" and {len(trials) - FAILURE_LINKS:,} more" if len(trials) > FAILURE_LINKS else ""
        rows.append(
            f'<tr><td>{escape(kind.replace("_", " "))}</td><td class="n">{len(trials):,}</td>'
            f'<td class="reason">{escape(reason)}</td><td>{links}{more}</td></tr>'
        )
    rest = sum(len(trials) for _, _, trials in found[FAILURE_ROWS:])
    left_out = f'<p class="note">{rest:,} trials failed for other reasons.</p>' if rest else ""
    return (
        '<div class="scroller" role="region" aria-label="Failures" tabindex="0">'
        '<table id="failure-table"><thead><tr><th scope="col">kind</th>'
        '<th scope="col" class="n">trials</th><th scope="col">reason</th>'
        f'<th scope="col">which</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        + left_out
    )


def _failed(trial: int, *, logs: bool) -> str:
    name = f"log of trial {trial}"
    log = (
        f' <button type="button" class="plain" data-log="{trial}" aria-label="{name}">log</button>'
    )
    return f'<a href="#trial-{trial}">{trial}</a>{log if logs else ""}'


def data_facts(content: ReportContent) -> str:
    """Return what the data are, what a trivial predictor reaches on them, and the budgets."""
    floor = [
        (f"{content.floor_name}, {label(m)}", with_sd(v, None)) for m, v in content.floor.items()
    ]
    noise = [(f"±1 sd of {label(m)}", f"{v:.4f}") for m, v in content.noise_sd.items()]
    limits = []
    for name, limit in content.budgets.items():
        bound = "≥" if metric_of(content, name).goal == "maximize" else "≤"
        limits.append((label(name), f"{bound} {figure(limit)} {unit_of(content, name)}".strip()))
    return definitions([*content.facts.items(), *floor, *noise, *limits])


def check_charts(content: ReportContent) -> str:
    """Return the places of the charts of predicted against measured costs, each with its note."""
    return "".join(
        f"<div><h2>{escape(label(check.metric))}: predicted against measured</h2>"
        f'<p class="note">{escape(check.note)}</p>'
        f'<div class="chart" id="check-{place}-chart" role="img" '
        f'aria-label="Predicted against measured, one point a trial"></div></div>'
        for place, check in enumerate(cost_checks(content))
    )


def definitions(pairs: Iterable[tuple[str, Value]]) -> str:
    """Return labels and values as a list."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(figure(value))}</dd>" for name, value in pairs
    )
    return f'<dl class="facts">{rows}</dl>' if rows else '<p class="note">None recorded.</p>'


def volume_note(content: ReportContent) -> str:
    """Say what the hypervolume is."""
    known = [o for o in content.objectives if finite(o.reference) is not None]
    if not known:
        return "The volume that the front dominates, after each completed trial."
    corner = ", ".join(f"{label(o.name)} {figure(o.reference)}" for o in known)
    return f"The volume that the front dominates, up to the reference point {corner}."
