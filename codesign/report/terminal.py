"""The Pareto front in a terminal, and as plain JSON values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from codesign.report.columns import constant_knobs, varying_knobs
from codesign.report.figures import (
    figure,
    finite,
    knob_figure,
    label,
    percent_figure,
    prediction_figure,
    relative_log_loss_percent,
    sd_of,
    shown_costs,
    unit_of,
    with_sd,
)
from codesign.report.front import reference_verdict
from codesign.report.units import in_readable_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from codesign.report.content import ReportContent, ReportTrial

BEST_MARK, UNCONFIRMED_MARK = "*", "?"


def print_front(content: ReportContent, console: Console) -> None:
    """Print the Pareto front, best quality first, with notes on what its figures mean.

    Without a terminal (a pipe, a log) the lines are plain and never wrapped.
    """
    content = in_readable_units(content)
    plus_minus = "±" if console.encoding.lower().startswith("utf") else "+/-"
    table = _front_table(content, plus_minus)
    if not table.rows:
        console.print("No trial is on the front yet.", markup=False)
    else:
        _print_table(table, console)
    for note in _notes(content, plus_minus):
        console.print(note, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def front_as_json(content: ReportContent) -> dict[str, Any]:
    """Return the front as plain JSON values: best quality first, null where not finite."""
    return {
        "study": content.study,
        "objectives": [
            {"metric": o.name, "goal": o.goal, "reference": finite(o.reference)}
            for o in content.objectives
        ],
        "warm_start": dict(content.warm_start),
        "best": content.best,
        "reference": content.reference,
        "floor": {"name": content.floor_name, "metrics": _finite_values(content.floor)},
        "noise_sd": _finite_values(content.noise_sd),
        "savings": None if content.savings is None else asdict(content.savings),
        "front": [_trial_as_json(content, trial) for trial in content.front],
    }


def _trial_as_json(content: ReportContent, trial: ReportTrial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "design": dict(trial.design),
        "measured": _finite_values(trial.metrics),
        "sd": _finite_values(trial.spread),
        "exact": _finite_values(trial.costs),
        "predicted": {name: asdict(found) for name, found in trial.predictions.items()},
        "system": dict(trial.system),
        "relative_log_loss_percent": relative_log_loss_percent(content, trial),
        "comparison": _comparison_as_json(trial),
        "confirmed": trial.confirmed,
        "seed": trial.seed,
    }


def _comparison_as_json(trial: ReportTrial) -> dict[str, Any] | None:
    found = trial.comparison
    return None if found is None else {**asdict(found), "verdict": found.verdict}


def _finite_values(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: finite(value) for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Texts: a header of (label, unit) a column, and a row a trial; knobs come last."""

    header: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    knobs: int


def _front_table(content: ReportContent, plus_minus: str) -> _Table:
    front = content.front
    objectives = [o.metric for o in content.objectives]
    # Only what was searched or judges the search: the page has every other figure.
    named = dict.fromkeys([*objectives, *(f"test_{name}" for name in objectives), "auc"])
    measured = [m for m in named if any(m in t.metrics for t in front)]
    costs = shown_costs(content)
    predicted = [o.metric for o in content.objectives if o.predicted]
    relative = content.baseline is not None
    knobs = varying_knobs(content)
    header = [("trial", "")]
    header += [(label(m), unit_of(content, m) or "measured") for m in measured]
    header += [("rel. log loss", "%")] if relative else []
    header += [(label(m), unit_of(content, m) or "exact") for m in costs]
    header += [(label(f"predicted_{m}"), unit_of(content, m)) for m in predicted]
    header += [(knob, "") for knob in knobs]
    rows = []
    for t in front:
        row = [_marked(content, t)]
        row += [with_sd(t.metrics.get(m), sd_of(content, t, m), plus_minus) for m in measured]
        row += [percent_figure(relative_log_loss_percent(content, t))] if relative else []
        row += [figure(t.costs.get(m)) for m in costs]
        row += [prediction_figure(t.predictions.get(m)) for m in predicted]
        row += [knob_figure(t.design.get(knob)) for knob in knobs]
        rows.append(tuple(row))
    return _Table(header=tuple(header), rows=tuple(rows), knobs=len(knobs))


def _marked(content: ReportContent, trial: ReportTrial) -> str:
    best = BEST_MARK if trial.number == content.best else ""
    return f"{trial.number}{best}{UNCONFIRMED_MARK if trial.confirmed is False else ''}"


def _print_table(table: _Table, console: Console) -> None:
    """Print it as well as the console can: no figure is ever wrapped or cut."""
    designs: list[str] = []
    if console.is_terminal and _width(table) > console.width:
        table, designs = _narrowed(table)
    if console.is_terminal and _width(table) <= console.width:
        console.print(_rich_table(table))
    else:
        designs = [*_plain_lines(table), *designs]
    for line in designs:
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _narrowed(table: _Table) -> tuple[_Table, list[str]]:
    """Split a wide table: its figures under broken names, and a line `7: l=2 n=8` a trial."""
    figures = len(table.header) - table.knobs
    names = [name for name, _ in table.header[figures:]]
    lines = []
    for row in table.rows if table.knobs else ():
        knobs = map("=".join, zip(names, row[figures:], strict=True))
        lines.append(f"{row[0]}: {' '.join(knobs)}")
    header = tuple(("\n".join(name.rsplit(" ", 1)), unit) for name, unit in table.header[:figures])
    rows = tuple(row[:figures] for row in table.rows)
    return _Table(header=header, rows=rows, knobs=0), lines


def _widths(table: _Table) -> list[int]:
    cells = zip(*table.rows, strict=True)
    return [
        max(map(len, [*name.split("\n"), unit, *texts]))
        for (name, unit), texts in zip(table.header, cells, strict=True)
    ]


def _width(table: _Table) -> int:
    return sum(_widths(table)) + 2 * len(table.header)


def _rich_table(table: _Table) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=box.SIMPLE_HEAD,
        title="Pareto front",
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for name, unit in table.header:
        head = Text.assemble(name, ("\n" + unit, "dim not bold"))
        made.add_column(head, justify="right", vertical="bottom", no_wrap=True)
    for row in table.rows:
        made.add_row(*map(Text, row), style="bold" if BEST_MARK in row[0] else "")
    return made


def _plain_lines(table: _Table) -> list[str]:
    names = tuple(name.replace("\n", " ") for name, _ in table.header)
    units = tuple(unit for _, unit in table.header)
    lines = (names, units, *table.rows)
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    return [
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _notes(content: ReportContent, plus_minus: str) -> list[str]:
    front, quality = content.front, content.quality.metric
    notes = []
    if any(t.number == content.best for t in front):
        notes.append(f"{BEST_MARK} best")
    if any(t.confirmed is False for t in front):
        notes.append(
            f"{UNCONFIRMED_MARK} one run, {plus_minus} its sampling noise; "
            f"the others: mean {plus_minus} 1 sd over fresh seeds"
        )
    best = content.trial(content.best)
    if best is not None and best.comparison is not None:
        notes.append(reference_verdict(content, best).replace("±", plus_minus))
    floor = finite(content.floor.get(quality))
    if floor is not None:
        notes.append(f"{content.floor_name} alone: {label(quality)} {with_sd(floor, None)}")
    noise = finite(content.noise_sd.get(quality))
    if noise is not None:
        notes.append(f"{plus_minus}1 sd of one model's {label(quality)} from sampling: {noise:.4f}")
    if content.savings is not None:
        notes.append(content.savings.told)
    for study, trials in content.warm_start.items():
        notes.append(f"warm start: {trials} trial{'s' * (trials != 1)} of {study}")
    same = constant_knobs(content)
    if same and front:
        notes.append("same in all: " + " ".join(f"{k}={knob_figure(v)}" for k, v in same.items()))
    return notes
