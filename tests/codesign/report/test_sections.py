"""The page beside its front: trend, importance, verdicts, costs, failures; and on paper."""

from __future__ import annotations

import dataclasses

import pytest
from selenium.webdriver.common.by import By

from codesign.contracts import Prediction
from codesign.report.analysis import analyse
from codesign.report.content import ReportTrial
from tests.support.browser import Show, complaints, missing_browser
from tests.support.report_example import HOSTILE, example_content

absent = missing_browser()
pytestmark = pytest.mark.skipif(bool(absent), reason=absent or "a browser is there")


def test_the_trend_is_drawn_with_its_band_and_its_figures_are_said(show: Show) -> None:
    content = example_content(200)
    browser = show(content)
    trend = analyse(content).trend
    assert trend is not None
    x, y = browser.execute_script(
        """const t = document.getElementById('front-chart').data.find(
        t => t.name === 'fitted median'); return [t.x, t.y]"""
    )
    assert x == pytest.approx(trend.cost_G, rel=1e-6)
    assert y == pytest.approx(trend.quality_G, rel=1e-6)
    said = browser.find_element(By.TAG_NAME, "main").text
    assert f"changes AUC by {trend.per_decade:+.4f}" in said


def test_the_knobs_that_matter_stand_in_order_with_their_intervals(show: Show) -> None:
    content = example_content(200)
    found = analyse(content).importance
    assert found.reliable
    rows = show(content).find_elements(By.CSS_SELECTOR, ".importance tbody tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == [
        each.knob for each in found.knobs
    ]
    for row, each in zip(rows, found.knobs, strict=True):
        shown, half = map(float, row.text.split(maxsplit=1)[1].split(" ± "))
        assert shown == pytest.approx(each.share, abs=0.005)
        assert half == pytest.approx((each.high - each.low) / 2, abs=0.005)


def test_with_few_trials_no_knob_is_said_to_matter(show: Show) -> None:
    browser = show(example_content(12))
    assert browser.find_elements(By.CSS_SELECTOR, ".importance") == []
    assert "Not enough trials" in browser.find_element(By.TAG_NAME, "main").text


def test_every_design_of_the_front_has_its_verdict_and_says_what_it_is(show: Show) -> None:
    content = example_content(30)
    browser = show(content)
    cells = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#front-table tbody tr")]
    assert len(cells) == len(content.front)
    for text, trial in zip(cells, content.front, strict=True):
        assert (trial.comparison.verdict if trial.comparison else "the reference") in text
    best = content.trial(content.best)
    assert best is not None
    assert best.comparison is not None
    card = browser.find_element(By.CSS_SELECTOR, ".best").text
    assert (
        f"Against the baseline (trial 0), log loss on test rows: {best.comparison.verdict}." in card
    )


def test_failures_alike_stand_together_with_their_reason_as_text(show: Show) -> None:
    content = example_content(200, hostile=True)
    rows = show(content).find_elements(By.CSS_SELECTOR, "#failure-table tbody tr")
    failed = [t for t in content.trials if t.status == "failed"]
    counts = [int(row.find_elements(By.TAG_NAME, "td")[1].text) for row in rows]
    assert (len(rows), sum(counts)) == (2, len(failed))
    assert all(HOSTILE in row.text for row in rows)


def test_throughput_is_shown_as_measured_against_the_cost(show: Show) -> None:
    content = example_content(30)
    drawn = show(content).execute_script(
        """const t = document.getElementById('throughput-chart').data[0];
        return Object.fromEntries(t.customdata.map((trial, i) => [trial, [t.x[i], t.y[i]]]))"""
    )
    done = [t for t in content.trials if t.status == "completed"]
    assert drawn.keys() == {str(t.number) for t in done}
    for t in done:
        expected = [1000 * t.costs["gflop_per_example"], t.metrics["examples_per_s"]]
        assert drawn[str(t.number)] == pytest.approx(expected, rel=1e-6)


def test_print_is_light_fits_the_sheet_and_leaves_the_long_table_out(show: Show) -> None:
    browser = show(example_content(30))
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    sheet = {"width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    try:
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": "print", "features": features}
        )
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sheet)
        browser.execute_script("dispatchEvent(new Event('beforeprint'))")
        paper, chart, room = browser.execute_script(
            """const chart = document.getElementById('front-chart');
            return [getComputedStyle(document.body).backgroundColor,
            chart.querySelector('svg').getBoundingClientRect().width, chart.clientWidth]"""
        )
        assert paper == "rgb(255, 255, 255)"
        assert chart == pytest.approx(room, abs=1)
        assert not browser.find_element(By.ID, "trial-table").is_displayed()
        assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
        assert complaints(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_predicted_costs_stand_against_measured_ones_with_their_interval_and_error(
    show: Show,
) -> None:
    content = example_content(30)
    off = {t.number: 1.1 if t.number % 2 else 0.7 for t in content.trials}

    def predicted(trial: ReportTrial) -> ReportTrial:
        if trial.status != "completed":
            return trial
        value = off[trial.number] * trial.metrics["examples_per_s"]
        made = Prediction(value=value, low=0.8 * value, high=1.2 * value, label="roofline: cpu")
        return dataclasses.replace(trial, predictions={"examples_per_s": made})

    trials = tuple(map(predicted, content.trials))
    browser = show(dataclasses.replace(content, trials=trials))
    done = [t for t in trials if t.status == "completed"]
    drawn = browser.execute_script(
        """const t = document.getElementById('check-0-chart').data[1]; return t.customdata.map(
        (trial, i) => [trial, t.x[i], t.y[i], t.error_y.array[i], t.error_y.arrayminus[i]])"""
    )
    for row, trial in zip(drawn, done, strict=True):
        value = trial.predictions["examples_per_s"].value
        measured = trial.metrics["examples_per_s"]
        expected = [trial.number, measured, value, 0.2 * value, 0.2 * value]
        assert row == pytest.approx(expected, rel=1e-4)
    odd = sum(t.number % 2 for t in done)
    error = 10 if odd > len(done) / 2 else 30
    said = browser.find_element(By.TAG_NAME, "main").text
    assert f"Predicted by roofline: cpu. Median error {error}%" in said
    assert f"{odd} of {len(done)} measured figures lie within" in said
    assert complaints(browser) == []


def test_without_predictions_there_is_no_chart_of_them(show: Show) -> None:
    assert show(example_content(30)).find_elements(By.ID, "check-0-chart") == []
