"""The report as Markdown, read by an independent parser."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from codesign.contracts import Objective
from codesign.report.analysis import analyse
from codesign.report.content import ReportContent
from codesign.report.figures import with_sd
from codesign.report.markdown import render_markdown
from tests.support.report_example import HOSTILE, example_content


def parsed(content: ReportContent) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(render_markdown(analyse(content)))


def text_of(token: Token) -> str:
    return "".join(child.content for child in token.children or ())


def tables(tokens: list[Token]) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for before, token in itertools.pairwise(tokens):
        if token.type == "table_open":
            found.append([])
        if token.type == "tr_open":
            found[-1].append([])
        if before.type in ("td_open", "th_open"):
            found[-1][-1].append(text_of(token))
    return found


def test_the_front_is_a_table_with_figures_and_verdicts() -> None:
    content = example_content(60)
    front = tables(parsed(content))[0][1:]
    assert len(front) == len(content.front)
    for row, trial in zip(front, content.front, strict=True):
        assert row[0].split()[0] == str(trial.number)
        assert row[1] == with_sd(trial.metrics["auc"], trial.spread["auc"])
        assert (trial.comparison.verdict if trial.comparison else "the reference") in row
        assert row[-1 - 4 : -1] == [str(trial.design[k]) for k in ("l", "n", "k", "mlp_width")]


def test_failures_and_provenance_are_tables_and_few_trials_show_no_importance() -> None:
    content = example_content(60)
    _, failures, provenance = tables(parsed(content))
    assert sum(int(row[1]) for row in failures[1:]) == sum(
        t.status == "failed" for t in content.trials
    )
    assert dict(map(tuple, provenance[1:])) == dict(content.provenance)
    assert len(tables(parsed(example_content(200)))) == 4


def test_hostile_text_stays_text() -> None:
    content = dataclasses.replace(example_content(60, hostile=True), title=f"*x* `y` |z| {HOSTILE}")
    tokens = parsed(content)
    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or ()}
    assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "image", "em_open"})
    heading = next(b for a, b in itertools.pairwise(tokens) if a.tag == "h1")
    assert text_of(heading) == f"*x* `y` |z| {HOSTILE}"
    assert all(HOSTILE in row[3] for row in tables(tokens)[1][1:])


@pytest.mark.parametrize("trials", [0, 1])
def test_studies_without_results_say_so(trials: int) -> None:
    text = render_markdown(analyse(example_content(trials)))
    assert ("No trial has completed yet." in text) == (trials == 0)
    assert "Not enough trials" in text


def test_quality_against_another_quality_is_no_trend_of_cost() -> None:
    content = example_content(60)
    assert "Ten times" in render_markdown(analyse(content))
    qualities = tuple(
        Objective(metric=name, goal=goal)
        for name, goal in (("auc", "maximize"), ("log_loss", "minimize"))
    )
    told = render_markdown(analyse(dataclasses.replace(content, objectives=qualities)))
    assert "Ten times" not in told
