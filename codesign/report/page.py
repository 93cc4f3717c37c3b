"""The study as one self-contained HTML page: no network, light and dark, phone and desktop.

Charts are drawn by Plotly, whose script is embedded compressed and inflated by the browser.
"""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from codesign.errors import MissingPackageError
from codesign.report.columns import constant_knobs, varying_knobs
from codesign.report.figures import (
    cost_of,
    figure,
    finite,
    knob_figure,
    label,
    measured_figure,
    metric_of,
    percent_figure,
    relative_log_loss_percent,
    sd_of,
    shown_costs,
    unit_of,
    with_sd,
)
from codesign.report.payload import payload_json
from codesign.report.units import in_readable_units

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codesign.contracts import Value
    from codesign.report.content import ReportContent, ReportTrial, Status


SCRIPTS = ("table.js", "plotting.js", "front.js", "charts.js")
"""In the order in which the page runs them."""

STATUSES: tuple[Status, ...] = ("completed", "failed", "running", "pending", "cancelled")


def render_page(content: ReportContent) -> str:
    """Return the whole page. Every text of the study is escaped; nothing is fetched.

    Raises:
        MissingPackageError: the plotly package, whose script is embedded, is not installed.
    """
    content = in_readable_units(content)
    return Template(_asset("page.html")).substitute(
        title=escape(content.title or content.study),
        study=escape(content.study),
        task=escape(content.task),
        lede=escape(_lede(content)),
        best=_best(content),
        front_note=escape(_front_note(content)),
        front_alt=escape(_front_alt(content)),
        front_table=_front_table(content),
        volume_note=escape(_volume_note(content)),
        trials_note=escape(_trials_note(content)),
        facts=_definitions([*content.facts.items(), *_floor_facts(content), *_limits(content)]),
        provenance=_definitions(content.provenance.items()),
        spec=escape(content.spec_yaml),
        payload=payload_json(content),
        css=_asset("page.css"),
        js="".join(_asset(name) for name in SCRIPTS),
        plotly=_compressed_plotly(),
    )


def _asset(name: str) -> str:
    return files("codesign.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _compressed_plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingPackageError(
            f"the report's charts need the package plotly, which does not load ({error})",
            hint="pip install 'plotly>=6,<8'",
        ) from error
    # mtime=0: the same study gives the same bytes.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _lede(content: ReportContent) -> str:
    aims = " and ".join(
        f"{'high' if o.goal == 'maximize' else 'low'} {label(o.metric)}" for o in content.objectives
    )
    counts = Counter(t.status for t in content.trials)
    told = ", ".join(f"{counts[s]:,}\N{NO-BREAK SPACE}{s}" for s in STATUSES if counts[s])
    budget = f" of {content.trial_budget:,}" if content.trial_budget else ""
    trials = "trial" if len(content.trials) == 1 else "trials"
    return f"A search for {aims}. {len(content.trials):,} {trials}{budget}" + (
        f": {told}." if told else "."
    )


def _best(content: ReportContent) -> str:
    best = content.trial(content.best)
    if best is None:
        return '<p class="notice">No trial has completed yet, so there is no best design.</p>'
    quality, cost = content.quality.metric, cost_of(content)
    keys = [_key(label(quality), _sd_html(content, best, quality), _sd_source(best))]
    tested = f"test_{quality}"
    if tested in best.metrics:
        keys.append(_key(label(tested), _sd_html(content, best, tested), "held-out rows"))
    if cost is not None:
        unit = unit_of(content, cost)
        shown = f"{figure(best.value(cost))} <small>{escape(unit)}</small>"
        counted = metric_of(content, cost).source == "exact"
        keys.append(_key(label(cost), shown, "exact count" if counted else "measured"))
    relative = relative_log_loss_percent(content, best)
    if relative is not None and best.number != content.baseline:
        keys.append(
            _key(
                "relative log loss",
                f"{percent_figure(relative)} %",
                f"against baseline, trial {content.baseline}",
            )
        )
    knobs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(knob_figure(value))}</dd></div>"
        for name, value in best.design.items()
    )
    return (
        f'<section class="best" aria-labelledby="best-title"><h2 id="best-title">Best design: '
        f'<a href="#trial-{best.number}">trial {best.number}</a></h2>'
        f'<dl class="keys">{"".join(keys)}</dl>'
        f'<p class="verdict">{escape(_verdict(content, best))}</p>'
        f'<dl class="design">{knobs}</dl></section>'
    )


def _key(name: str, shown: str, sub: str) -> str:
    return (
        f'<div><dt>{escape(name)}</dt><dd>{shown}<span class="sub">{escape(sub)}</span></dd></div>'
    )


def _sd_html(content: ReportContent, trial: ReportTrial, metric: str) -> str:
    sd = sd_of(content, trial, metric)
    spread = f" <small>± {sd:.4f}</small>" if sd is not None else ""
    return measured_figure(trial.value(metric)) + spread


def _sd_source(trial: ReportTrial) -> str:
    return "mean ± 1 sd over fresh seeds" if trial.confirmed else "one run, ± 1 sd of sampling"


def _verdict(content: ReportContent, best: ReportTrial) -> str:
    """Say how far the best design is from the trivial predictor, in sd of sampling noise."""
    metric = content.quality.metric
    value, floor = finite(best.value(metric)), finite(content.floor.get(metric))
    if value is None or floor is None:
        return ""
    sign = 1 if content.quality.goal == "maximize" else -1
    gain, sd = sign * (value - floor), finite(content.noise_sd.get(metric))
    told = (
        f"{label(metric)} is {abs(gain):.4f} {'better' if gain > 0 else 'worse'} than the "
        f"{content.floor_name} alone ({floor:.4f})"
    )
    if not sd:
        return told + "."
    if abs(gain) < 2 * sd:
        return f"{told}: less than 2 sd of sampling noise ({sd:.4f}), so not a difference."
    return f"{told}: {abs(gain) / sd:.1f} sd of sampling noise ({sd:.4f})."


def _front_note(content: ReportContent) -> str:
    failed = "Failed trials are crosses on the axis, at their cost."
    if not content.front:
        return failed
    asked = any(t.confirmed is not None for t in content.front)
    told = (
        "The line joins designs confirmed on fresh seeds (filled); hollow points rest on one run. "
    )
    told = told if asked else "No point was confirmed on fresh seeds: each rests on one run. "
    quality = content.quality.metric
    noise = finite(content.noise_sd.get(quality))
    if noise is not None:
        told += (
            "Bars show ±1 sd: over the seeds of a confirmed design, of sampling for a single run. "
            f"The band is the sampling noise around the best ({label(quality)} ± {noise:.4f}): "
            "a difference within it may be noise alone. "
        )
    return told + failed


def _front_alt(content: ReportContent) -> str:
    cost = cost_of(content)
    against = f" against {label(cost)}" if cost else ""
    return (
        f"{label(content.quality.metric)}{against}: {len(content.front)} trials on the front "
        f"of {len(content.trials)}. The table below lists the front."
    )


def _front_table(content: ReportContent) -> str:
    """Return the front as a table that needs no script."""
    if not content.front:
        return '<p class="note">No trial is on the front yet.</p>'
    quality, knobs = content.quality.metric, varying_knobs(content)
    costs = shown_costs(content)
    head = '<th scope="col">trial</th>' + _head(label(quality), "± 1 sd (see above)")
    head += _head("relative log loss", "%, measured") if content.baseline is not None else ""
    for name in costs:
        head += _head(label(name), ", ".join(filter(None, (unit_of(content, name), "exact count"))))
    head += "".join(_head(knob, "knob") for knob in knobs)
    rows = []
    for t in content.front:
        texts = [with_sd(t.value(quality), sd_of(content, t, quality))]
        if content.baseline is not None:
            texts.append(percent_figure(relative_log_loss_percent(content, t)))
        texts += [figure(t.costs.get(name)) for name in costs]
        texts += [knob_figure(t.design.get(knob)) for knob in knobs]
        marks = ["best"] if t.number == content.best else []
        marks += ["one run"] if t.confirmed is False else []
        mark = f" ({', '.join(marks)})" if marks else ""
        first = f'<td><a href="#trial-{t.number}">{t.number}</a>{mark}</td>'
        cells = "".join(f'<td class="n">{escape(text)}</td>' for text in texts)
        rows.append(f"<tr>{first}{cells}</tr>")
    return (
        '<div class="scroller bounded" role="region" aria-label="The front" tabindex="0">'
        f'<table id="front-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _head(name: str, below: str) -> str:
    return f'<th scope="col" class="n">{escape(name)}<small>{escape(below)}</small></th>'


def _volume_note(content: ReportContent) -> str:
    known = [o for o in content.objectives if finite(o.reference) is not None]
    if not known:
        return "The volume that the front dominates, after each completed trial."
    corner = ", ".join(f"{label(o.metric)} {figure(o.reference)}" for o in known)
    return f"The volume that the front dominates, up to the reference point {corner}."


def _trials_note(content: ReportContent) -> str:
    same = ", ".join(f"{k} = {knob_figure(v)}" for k, v in constant_knobs(content).items())
    told = "Press a column's name to sort by it. Front trials have a coloured number."
    return f"{told} The same in all trials: {same}." if same else told


def _floor_facts(content: ReportContent) -> list[tuple[str, str]]:
    named = [
        (f"{content.floor_name}, {label(m)}", with_sd(v, None)) for m, v in content.floor.items()
    ]
    return named + [(f"±1 sd of {label(m)}", f"{v:.4f}") for m, v in content.noise_sd.items()]


def _limits(content: ReportContent) -> list[tuple[str, str]]:
    limits = []
    for name, limit in content.budgets.items():
        bound = "≥" if metric_of(content, name).goal == "maximize" else "≤"
        limits.append((label(name), f"{bound} {figure(limit)} {unit_of(content, name)}".strip()))
    return limits


def _definitions(pairs: Iterable[tuple[str, Value]]) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(figure(value))}</dd>" for name, value in pairs
    )
    return f'<dl class="facts">{rows}</dl>' if rows else '<p class="note">None recorded.</p>'
