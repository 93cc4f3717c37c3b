from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from codesign.report.terminal import front_as_json, print_front
from tests.support.report_example import example_content


def printed(trials: int, *, terminal: bool = False, width: int = 200) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, color_system=None)
    print_front(example_content(trials), console)
    return file.getvalue()


def test_each_front_trial_has_a_line_best_quality_first() -> None:
    content = example_content(30)
    lines = printed(30).splitlines()
    rows = lines[2 : 2 + len(content.front)]
    assert [int(row.split()[0].rstrip("*?")) for row in rows] == [t.number for t in content.front]
    shown = [float(row.split()[1]) for row in rows]
    assert shown == [round(t.metrics["auc"], 4) for t in content.front]
    assert shown == sorted(shown, reverse=True)


def test_best_and_unconfirmed_are_marked_and_the_noise_is_said() -> None:
    content = example_content(60)
    text = printed(60)
    assert f"{content.best}*" in text
    unsure = [t for t in content.front if t.confirmed is False]
    assert unsure
    for trial in unsure:
        mark = "*?" if trial.number == content.best else "?"
        assert f"{trial.number}{mark}" in text
    assert "item mean alone: AUC 0.7046" in text
    assert "±1 sd of one model's AUC from sampling: 0.0052" in text


def test_without_a_terminal_no_line_is_wrapped_and_nothing_is_styled() -> None:
    text = printed(30, width=40)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) > 40


@pytest.mark.parametrize("width", [30, 80, 120, 250])
def test_a_terminal_of_any_width_shows_every_figure_whole(width: int) -> None:
    content = example_content(30)
    text = printed(30, terminal=True, width=width)
    words = text.split()
    for trial in content.front:
        quality = f"{trial.metrics['auc']:.4f} ± {trial.spread['auc']:.4f}".split()
        figures = [*quality, f"{trial.costs['parameters']:,.0f}"]
        assert [figure for figure in figures if figure not in words] == []


def test_a_narrow_terminal_lists_the_designs_below_the_figures() -> None:
    content = example_content(30)
    narrow = printed(30, terminal=True, width=80)
    for trial in content.front:
        knobs = " ".join(f"{name}={trial.design[name]}" for name in ("l", "n", "k", "mlp_width"))
        assert f": {knobs} table_init_std=" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert "mlp_width" in printed(30, terminal=True, width=250).splitlines()[2]


def test_an_empty_front_says_so() -> None:
    assert printed(0).splitlines()[0] == "No trial is on the front yet."


def test_json_has_finite_values_only_and_unscaled_counts() -> None:
    content = example_content(30)
    found = front_as_json(content)
    json.dumps(found, allow_nan=False)
    by_number = {t.number: t for t in content.trials}
    for row in found["front"]:
        trial = by_number[row["trial"]]
        assert row["exact"]["gflop_per_example"] == trial.costs["gflop_per_example"]
        for name, value in trial.metrics.items():
            assert row["measured"][name] == (None if math.isnan(value) else value)
