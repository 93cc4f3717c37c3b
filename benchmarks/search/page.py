"""The figures of `search.json` as tables of a Markdown page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_AXES = {"log10": "axis of compute log10", "linear": "axis of compute linear"}


def tables(results: Mapping[str, Any]) -> str:
    """Write the page."""
    finished, planned = results["searches_finished"], results["searches_planned"]
    lines = [
        "# Searches replayed on recorded runs",
        "",
        "Written by `python -m benchmarks.search`. All figures are *measured*.",
        "Medians over seeds, with their 95% bootstrap intervals.",
        f"{finished:,} of {planned:,} searches are finished.",
    ]
    for name, found in results["fronts"].items():
        lines += ["", f"## {name}: {found['designs']:,} designs", ""]
        counts = ", ".join(f"{m} {count}" for m, count in found["distinct_searches"].items())
        lines.append(f"Searches that differ from each other within 30 trials: {counts}.")
        for axis, title in _AXES.items():
            scores = dict(found[f"hypervolume_share_{axis}"])
            reference = ", ".join(f"{value:.4g}" for value in scores.pop("reference"))
            heading = f"share of the whole hypervolume, {title}, reference ({reference})"
            lines += ["", *mark_table(heading, scores)]
        lines += ["", *mark_table("regret of log loss, in units of its range", found[REGRET])]
    if results["ranks"]:
        lines += ["", *rank_table(results["ranks"])]
    return "\n".join(lines) + "\n"


REGRET = "regret_log_loss"


def mark_table(heading: str, scores: Mapping[str, Any]) -> Iterator[str]:
    """A row a method: medians at each mark."""
    marks = list(dict.fromkeys(mark for found in scores.values() for mark in found["at"]))
    yield f"| {heading} | seeds | " + " | ".join(f"{mark} trials" for mark in marks) + " |"
    yield "|---" * (len(marks) + 2) + "|"
    for method, found in scores.items():
        cells = [_cell(found["at"].get(mark)) for mark in marks]
        yield f"| {method} | {found['seeds']} | " + " | ".join(cells) + " |"


def _cell(at: Mapping[str, Any] | None) -> str:
    if at is None:
        return ""
    low, high = at["median_95"]
    return f"{at['median']:.4f} ({low:.4f} – {high:.4f})"


def rank_table(ranks: Mapping[str, Any]) -> Iterator[str]:
    """A row a method: its mean rank."""
    small = sum(rows < 50 for rows in ranks["tables"].values())
    yield f"## Mean rank on {len(ranks['tables'])} tables of BARS ({small} of them count half)"
    yield ""
    if ranks["left_out"]:
        yield f"Not run on every table, and so not ranked: {', '.join(ranks['left_out'])}."
        yield ""
    yield "| method | mean rank | 95% interval | seeds a table |"
    yield "|---|---|---|---|"
    ordered = sorted(ranks["methods"].items(), key=lambda item: item[1]["mean_rank"])
    for method, found in ordered:
        low, high = found["interval_95"]
        seeds = found["fewest_seeds"]
        yield f"| {method} | {found['mean_rank']:.2f} | {low:.2f} – {high:.2f} | {seeds} |"
