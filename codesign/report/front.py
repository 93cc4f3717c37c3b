"""The best design and the front as HTML that needs no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from codesign.report.columns import varying_knobs
from codesign.report.figures import (
    cost_of,
    figure,
    finite,
    knob_figure,
    label,
    measured_figure,
    metric_of,
    percent_figure,
    prediction_figure,
    relative_log_loss_percent,
    sd_of,
    shown_costs,
    unit_of,
    with_sd,
)

if TYPE_CHECKING:
    from codesign.report.content import ReportContent, ReportTrial


def best_design(content: ReportContent) -> str:
    """Return the card of the best design: its figures, what they are worth, its knobs."""
    best = content.trial(content.best)
    if best is None:
        return '<p class="notice">No trial has completed yet, so there is no best design.</p>'
    knobs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(knob_figure(value))}</dd></div>"
        for name, value in best.design.items()
    )
    said = "".join(
        f'<p class="verdict">{escape(text)}</p>'
        for text in (reference_verdict(content, best), floor_verdict(content, best))
        if text
    )
    return (
        f'<section class="best" aria-labelledby="best-title"><h2 id="best-title">Best design: '
        f'<a href="#trial-{best.number}">trial {best.number}</a></h2>'
        f'<dl class="keys">{"".join(_keys(content, best))}</dl>{said}'
        f'<dl class="design">{knobs}</dl></section>'
    )


def _keys(content: ReportContent, best: ReportTrial) -> list[str]:
    quality, cost = content.quality.metric, cost_of(content)
    keys = [_key(label(quality), _sd_html(content, best, quality), _sd_source(best))]
    tested = f"test_{quality}"
    if tested in best.metrics:
        keys.append(_key(label(tested), _sd_html(content, best, tested), "held-out rows"))
    if cost is not None:
        shown = f"{figure(best.value(cost))} <small>{escape(unit_of(content, cost))}</small>"
        keys.append(_key(label(cost), shown, _cost_source(content, best, cost)))
    relative = relative_log_loss_percent(content, best)
    if relative is not None and best.number != content.baseline:
        against = f"validation, against baseline, trial {content.baseline}"
        keys.append(_key("relative log loss", f"{percent_figure(relative)} %", against))
    return keys


def _cost_source(content: ReportContent, best: ReportTrial, cost: str) -> str:
    source = metric_of(content, cost).source
    if source == "predicted":
        found = best.predictions[cost.removeprefix("predicted_")]
        return f"predicted, {figure(found.low)} to {figure(found.high)}; {found.label}"
    return "exact count" if source == "exact" else "measured"


def _key(name: str, shown: str, sub: str) -> str:
    return (
        f'<div><dt>{escape(name)}</dt><dd>{shown}<span class="sub">{escape(sub)}</span></dd></div>'
    )


def _sd_html(content: ReportContent, trial: ReportTrial, metric: str) -> str:
    sd = sd_of(content, trial, metric)
    spread = f" <small>± {sd:.4f}</small>" if sd is not None else ""
    return measured_figure(trial.value(metric)) + spread


def _sd_source(trial: ReportTrial) -> str:
    if not trial.confirmed:
        return "one run, ± 1 sd of sampling"
    return "mean ± 1 sd over fresh seeds" if trial.spread else "one run on a fresh seed"


def reference_verdict(content: ReportContent, trial: ReportTrial) -> str:
    """Say how a design compares with the reference; empty where that is not known."""
    if trial.comparison is None:
        return ""
    return f"Against {reference_name(content)}, log loss on test rows: {trial.comparison.verdict}."


def reference_name(content: ReportContent) -> str:
    """Name the trial that comparisons are with."""
    kind = "the baseline" if content.reference == content.baseline else "the front's cheapest"
    return f"{kind} (trial {content.reference})"


def floor_verdict(content: ReportContent, best: ReportTrial) -> str:
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


def front_note(content: ReportContent) -> str:
    """Say what the marks of the front's chart mean."""
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


def front_alt(content: ReportContent) -> str:
    """Describe the front's chart for those who do not see it."""
    cost = cost_of(content)
    against = f" against {label(cost)}" if cost else ""
    return (
        f"{label(content.quality.metric)}{against}: {len(content.front)} trials on the front "
        f"of {len(content.trials)}. The table below lists the front."
    )


def comparison_note(content: ReportContent) -> str:
    """Say what the comparisons' intervals are; empty where nothing was compared."""
    found = next((t.comparison for t in content.front if t.comparison), None)
    if found is None:
        return ""
    seeds = (
        "it covers the spread between seeds, pooled over the confirmed designs, and is wider for "
        "a design of one run, since the luck of that run may have chosen it"
        if found.seeds
        else "no design ran on several seeds, so it is of these very weights: another seed may "
        "answer otherwise"
    )
    return (
        f"Compared with {reference_name(content)}: log loss on the same test rows, row by row, in "
        f"% of the reference's; ± is half of a 95% interval that holds for all {found.family} "
        f"designs at once (Bonferroni); {seeds}. "
        f"Differences up to {found.noticeable_percent:g}% count as none."
    )


def front_table(content: ReportContent) -> str:
    """Return the front as a table."""
    if not content.front:
        return '<p class="note">No trial is on the front yet.</p>'
    quality, knobs, costs = content.quality.metric, varying_knobs(content), shown_costs(content)
    predicted = [o.metric for o in content.objectives if o.predicted]
    compared = content.reference is not None
    head = '<th scope="col">trial</th>' + _head(label(quality), "± 1 sd (see above)")
    if content.baseline is not None:
        head += _head("relative log loss", "%, validation")
    for name in costs:
        head += _head(label(name), ", ".join(filter(None, (unit_of(content, name), "exact count"))))
    for name in predicted:
        below = f"{unit_of(content, name)}, predicted".removeprefix(", ")
        head += _head(label(f"predicted_{name}"), below)
    if compared:
        head += '<th scope="col">compared<small>relative log loss, test</small></th>'
    head += "".join(_head(knob, "knob") for knob in knobs)
    rows = []
    for t in content.front:
        texts = [with_sd(t.value(quality), sd_of(content, t, quality))]
        if content.baseline is not None:
            texts.append(percent_figure(relative_log_loss_percent(content, t)))
        texts += [figure(t.costs.get(name)) for name in costs]
        texts += [prediction_figure(t.predictions.get(name)) for name in predicted]
        cells = _cells(texts)
        if compared:
            cells += f"<td>{escape(verdict_cell(content, t))}</td>"
        cells += _cells([knob_figure(t.design.get(knob)) for knob in knobs])
        mark = "".join(f" ({each})" for each in [", ".join(marks(content, t))] if each)
        rows.append(f"<tr><td>{_tick(t)}{mark}</td>{cells}</tr>")
    return (
        '<div class="scroller bounded" role="region" aria-label="The front" tabindex="0">'
        f'<table id="front-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _tick(trial: ReportTrial) -> str:
    tick = f'<input type="checkbox" data-compare="{trial.number}"'
    said = f'aria-label="compare trial {trial.number}">'
    return f'{tick} {said}<a href="#trial-{trial.number}">{trial.number}</a>'


def marks(content: ReportContent, trial: ReportTrial) -> list[str]:
    """Return what to say of a front trial beside its number."""
    found = ["best"] if trial.number == content.best else []
    return found + (["one run"] if trial.confirmed is False else [])


def verdict_cell(content: ReportContent, trial: ReportTrial) -> str:
    """Return a trial's verdict, or why it has none."""
    if trial.number == content.reference:
        return "the reference"
    return trial.comparison.verdict if trial.comparison else "no losses recorded"


def _cells(texts: list[str]) -> str:
    return "".join(f'<td class="n">{escape(text)}</td>' for text in texts)


def _head(name: str, below: str) -> str:
    return f'<th scope="col" class="n">{escape(name)}<small>{escape(below)}</small></th>'
