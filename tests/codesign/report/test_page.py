"""The page in a real headless Chromium: what a person sees, on a desktop and on a phone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from codesign.report.analysis import analyse
from codesign.report.content import ReportTrial
from codesign.report.page import render_page
from tests.support.browser import Show, complaints, missing_browser
from tests.support.report_example import HOSTILE, example_content

absent = missing_browser()
pytestmark = pytest.mark.skipif(bool(absent), reason=absent or "a browser is there")


def points(browser: Chrome) -> int:
    script = """return (document.getElementById('front-chart').data ?? [])
        .filter(t => t.mode === 'markers').reduce((n, t) => n + t.x.length, 0)"""
    return int(browser.execute_script(script))


@pytest.mark.parametrize("trials", [0, 1, 30])
def test_studies_of_any_size_render_without_a_complaint(show: Show, trials: int) -> None:
    content = example_content(trials)
    browser = show(content)
    assert complaints(browser) == []
    ended = [t for t in content.trials if t.status in ("completed", "failed")]
    assert points(browser) == len(ended)
    assert first_column(browser) == [t.number for t in content.trials]


def test_two_thousand_trials_of_sixty_figures_stay_below_5_mb_and_open_without_a_complaint(
    show: Show,
) -> None:
    content = example_content(2000)
    wide = tuple(
        dataclasses.replace(
            t,
            metrics={f"{name}_{i}": x for name, x in t.metrics.items() for i in range(6)}
            | dict(t.metrics),
            design={f"{name}[{i}]": x for name, x in t.design.items() for i in range(5)},
        )
        for t in content.trials
    )
    content = dataclasses.replace(content, trials=wide)
    browser = show(content)
    assert Path(urlsplit(browser.current_url).path).stat().st_size < 5_000_000
    assert complaints(browser) == []
    assert len(first_column(browser)) == 2000


def test_the_page_is_one_file_that_asks_for_nothing_else(show: Show) -> None:
    browser = show(example_content(30))
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []


def test_hostile_text_stays_text(show: Show) -> None:
    browser = show(example_content(30, hostile=True))
    assert "pwned" not in browser.title.split("codesign")[-1]
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert HOSTILE in browser.find_element(By.CSS_SELECTOR, ".spec").text
    assert complaints(browser) == []


def place_of(browser: Chrome, series: str) -> tuple[int, int, int]:
    """Return where the first point of a series lies from the chart's middle, and its trial."""
    x, y, trial = browser.execute_script(
        """const g = document.getElementById('front-chart');
        g.scrollIntoView({block: 'center', behavior: 'instant'});
        const t = g.data.find(t => t.name?.startsWith(arguments[0]));
        const l = g._fullLayout, b = g.getBoundingClientRect();
        return [l.xaxis.d2p(t.x[0]) + l._size.l - b.width / 2,
                l.yaxis.d2p(t.y[0]) + l._size.t - b.height / 2, t.customdata[0]]""",
        series,
    )
    return round(x), round(y), int(trial)


def test_hovering_over_a_point_shows_its_design(show: Show) -> None:
    content = example_content(30)
    browser = show(content)
    x, y, trial = place_of(browser, "front")
    chart = browser.find_element(By.ID, "front-chart")
    ActionChains(browser).move_to_element_with_offset(chart, x, y).perform()
    hover = WebDriverWait(browser, 5).until(
        lambda d: d.find_element(By.CSS_SELECTOR, "#front-chart .hoverlayer .hovertext")
    )
    design = content.trial(trial).design  # type: ignore[union-attr]
    assert f"trial {trial}" in hover.text
    assert f"mlp_width  {design['mlp_width']}" in hover.text.replace("\xa0", " ")


def first_column(browser: Chrome) -> list[int]:
    script = """return [...document.querySelectorAll('#trial-table tbody tr')]
        .filter(row => row.offsetHeight > 0).map(row => Number(row.cells[0].textContent))"""
    numbers: list[int] = browser.execute_script(script)
    return numbers


def sort_button(browser: Chrome, name: str) -> WebElement:
    return browser.find_element(
        By.XPATH, f"//table[@id='trial-table']//button[span[normalize-space()='{name}']]"
    )


@pytest.mark.parametrize("presses", [1, 2])
def test_a_header_sorts_by_keyboard_and_missing_values_stay_last(show: Show, presses: int) -> None:
    content = example_content(30)
    browser = show(content)
    for _ in range(presses):
        sort_button(browser, "test AUC").send_keys(Keys.ENTER)
    sign = 1 if presses == 1 else -1

    def place(trial: ReportTrial) -> tuple[bool, float, int]:
        value = trial.metrics.get("test_auc", math.nan)
        missing = math.isnan(value)
        return missing, 0.0 if missing else sign * value, trial.number

    assert any(place(t)[0] for t in content.trials)
    assert first_column(browser) == [t.number for t in sorted(content.trials, key=place)]


def test_the_filter_keeps_the_rows_that_contain_its_text(show: Show) -> None:
    content = example_content(30)
    browser = show(content)
    browser.find_element(By.ID, "filter").send_keys("diverged")
    diverged = [t.number for t in content.trials if t.failure == "diverged"]
    assert diverged
    assert first_column(browser) == diverged
    assert browser.find_element(By.ID, "shown").text == f"{len(diverged)} of 30 trials"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_body_never_scrolls_sideways(show: Show, width: int) -> None:
    browser = show(example_content(30), width=width)
    scroll, client = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert (scroll, client) == (width, width)


def test_a_pressed_point_stands_among_the_designs_side_by_side(show: Show) -> None:
    browser = show(example_content(30))
    x, y, trial = place_of(browser, "front")
    chart = browser.find_element(By.ID, "front-chart")
    ActionChains(browser).move_to_element_with_offset(chart, x, y).click().perform()
    link = WebDriverWait(browser, 5).until(
        lambda d: d.find_element(By.CSS_SELECTOR, "#compare-table thead a")
    )
    assert link.text == str(trial)
    assert urlsplit(link.get_attribute("href")).fragment == f"trial-{trial}"


def test_the_learning_curves_switch_to_another_metric_by_keyboard(show: Show) -> None:
    content = example_content(30)
    browser = show(content)
    browser.find_element(By.CSS_SELECTOR, "input[name='curve-metric'][value='log_loss']").send_keys(
        Keys.SPACE
    )
    drawn = browser.execute_script(
        """return Object.fromEntries(document.getElementById('curves-chart').data
        .filter(t => t.name !== 'other trials').map(t => [t.name, t.y]))"""
    )
    assert drawn == {
        f"trial {t.number}": pytest.approx([point["log_loss"] for point in t.curve], rel=1e-6)
        for t in content.front
    }


def test_a_browser_that_cannot_unpack_the_charts_says_so_and_keeps_its_tables(show: Show) -> None:
    content = example_content(30)
    browser = show(content)
    lack = {"source": "delete window.DecompressionStream"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", lack)
    try:
        browser.refresh()
        notice = browser.find_element(By.CSS_SELECTOR, "#front-chart .notice").text
        assert "DecompressionStream" in notice
        assert first_column(browser) == [t.number for t in content.trials]
        assert complaints(browser) == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_dark_mode_changes_page_and_charts(show: Show) -> None:
    browser = show(example_content(30))

    def colours() -> list[str]:
        found: list[str] = browser.execute_script(
            """return [getComputedStyle(document.body).backgroundColor,
            document.getElementById('front-chart').layout.font.color]"""
        )
        return found

    light = colours()
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        WebDriverWait(browser, 5).until(lambda _: colours()[1] != light[1])
        assert colours()[0] != light[0]
        assert complaints(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def visible_floor(browser: Chrome) -> tuple[str, bool]:
    script = """const l = document.getElementById('front-chart')._fullLayout;
        const a = l.annotations.find(a => a.text.includes('item mean'));
        return [a.text, a.yref === 'y']"""
    text, inside = browser.execute_script(script)
    return text, inside


def test_a_trivial_predictor_far_below_does_not_flatten_the_front(show: Show) -> None:
    content = example_content(30)
    near = min(t.metrics["auc"] for t in content.front) - 0.001
    text, inside = visible_floor(show(dataclasses.replace(content, floor={"auc": near})))
    assert (text, inside) == (f"item mean {near:.4f}", True)
    far = dataclasses.replace(content, floor={"auc": 0.2})
    text, inside = visible_floor(show(far))
    assert (text, inside) == ("\u2193 item mean 0.2000", False)
    low, _ = show(far).execute_script(
        "return document.getElementById('front-chart')._fullLayout.yaxis.range"
    )
    assert low > 0.5


def test_without_scripts_the_best_design_and_the_front_can_be_read() -> None:
    content = example_content(30)
    page = render_page(analyse(content))
    before_scripts = page[: page.index('<script type="application/json"')]
    for trial in content.front:
        assert f'href="#trial-{trial.number}"' in before_scripts
    assert "<noscript>" in before_scripts
    assert "item mean" in before_scripts


def test_the_line_of_the_front_joins_the_confirmed_designs(show: Show) -> None:
    content = example_content(60)
    script = """return document.getElementById('front-chart').data
        .find(t => t.line?.shape === 'hv').x"""
    drawn = show(content).execute_script(script)
    sure = [t for t in content.front if t.confirmed]
    assert 0 < len(sure) < len(content.front)
    expected = sorted(1000 * t.costs["gflop_per_example"] for t in sure)
    assert drawn[:-1] == pytest.approx(expected)


def test_a_study_of_one_objective_without_counted_costs_is_shown_without_a_trend(
    show: Show,
) -> None:
    content = example_content(30)
    trials = tuple(dataclasses.replace(t, costs={}) for t in content.trials)
    alone = dataclasses.replace(content, trials=trials, objectives=content.objectives[:1])
    browser = show(alone)
    assert complaints(browser) == []
    assert points(browser) == sum(t.status in ("completed", "failed") for t in trials)
    assert "fitted median" not in browser.find_element(By.TAG_NAME, "main").text
