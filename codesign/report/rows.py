"""All trials as a table for machines: `trials.csv`. Its columns: docs/report.md."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from codesign.report.figures import finite, relative_log_loss_percent

if TYPE_CHECKING:
    from codesign.report.content import ReportContent, ReportTrial
    from codesign.report.figures import Cell

PARTS = {"measured": "metrics", "sd": "spread", "exact": "costs", "design": "design"}
"""Prefix of a group of columns → the part of a trial that they hold."""


def trial_rows(content: ReportContent) -> list[dict[str, Cell]]:
    """Return a row a trial, all with the same columns, in the units of the record.

    None stands for what a trial does not have or what is not finite.
    """
    names = {
        prefix: list(dict.fromkeys(name for t in content.trials for name in getattr(t, part)))
        for prefix, part in PARTS.items()
    }
    return [_row(content, trial, names) for trial in content.trials]


def trials_csv(content: ReportContent) -> str:
    """Return the rows as CSV with a header; empty cells where there is nothing."""
    rows = trial_rows(content)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["trial"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(
    content: ReportContent, trial: ReportTrial, names: dict[str, list[str]]
) -> dict[str, Cell]:
    compared = trial.comparison
    row: dict[str, Cell] = {
        "trial": trial.number,
        "kind": trial.kind,
        "of": trial.of,
        "status": trial.status,
        "on_front": trial.on_front,
        "confirmed": trial.confirmed,
        "seed": trial.seed,
        "seconds": trial.seconds,
        "failure": trial.failure,
        "reason": trial.reason or None,
        "relative_log_loss_percent": relative_log_loss_percent(content, trial),
        "compared_percent": compared.percent if compared else None,
        "compared_half_width_percent": compared.half_width_percent if compared else None,
        "verdict": compared.verdict if compared else None,
    }
    for prefix, part in PARTS.items():
        values = getattr(trial, part)
        row |= {f"{prefix}.{name}": values.get(name) for name in names[prefix]}
    return {name: finite(v) if isinstance(v, float) else v for name, v in row.items()}
