"""Parallel coordinates: ranges kept by mouse and keyboard, and what follows them."""

from __future__ import annotations

import dataclasses

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from codesign.report.content import ReportContent, ReportTrial
from tests.support.browser import Show, complaints, missing_browser
from tests.support.report_example import example_content

absent = missing_browser()
pytestmark = pytest.mark.skipif(bool(absent), reason=absent or "a browser is there")


def axis(browser: Chrome, name: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, f"#parallel .axis[aria-label='{name}']")


def designs(content: ReportContent) -> list[ReportTrial]:
    return [t for t in content.trials if t.status == "completed" and t.kind != "confirm"]


def rows(browser: Chrome) -> list[int]:
    """Return the trials of the table that are in sight, once the page has followed a change."""
    script = """const done = arguments[arguments.length - 1];
        requestAnimationFrame(() => requestAnimationFrame(() => done(
        [...document.querySelectorAll('#trial-table tbody tr')].filter(r => !r.hidden)
        .map(r => Number(r.cells[0].textContent)))))"""
    numbers: list[int] = browser.execute_async_script(script)
    return numbers


def drag(browser: Chrome, handle: WebElement, start: float, end: float) -> None:
    """Drag from one share of the axis to another; 0 is its lower end."""
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", handle
    )
    height = handle.size["height"]
    place = [round((0.5 - share) * height) for share in (start, end)]
    chain = ActionChains(browser).move_to_element_with_offset(handle, 0, place[0]).click_and_hold()
    chain.move_to_element_with_offset(handle, 0, place[1]).release().perform()


def test_a_range_dragged_among_2000_trials_keeps_its_designs_in_table_and_chart(
    show: Show,
) -> None:
    content = example_content(2000)
    browser = show(content)
    drag(browser, axis(browser, "mlp_width"), 0.6, 1.1)  # levels 64, 128, 256 and 512
    kept = [t.number for t in designs(content) if int(t.design["mlp_width"]) >= 256]
    assert rows(browser) == kept
    said = browser.find_element(By.ID, "parallel-kept").text
    assert said == f"{len(kept):,} of {len(designs(content)):,} designs kept."
    clear = browser.execute_script(
        """return document.getElementById('front-chart').data.filter(t => t.customdata)
        .flatMap(t => t.selectedpoints.map(i => t.customdata[i])).sort((a, b) => a - b)"""
    )
    assert clear == kept
    assert complaints(browser) == []


def test_ranges_on_two_axes_keep_what_both_keep_and_a_button_frees_all(show: Show) -> None:
    content = example_content(60)
    browser = show(content)
    drag(browser, axis(browser, "l"), 0.5, 1.1)
    drag(browser, axis(browser, "k"), 0.02, 0.2)
    kept = [t.number for t in designs(content) if int(t.design["l"]) >= 3 and t.design["k"] == 4]
    assert kept
    assert rows(browser) == kept
    browser.find_element(By.ID, "parallel-free").click()
    assert rows(browser) == [t.number for t in content.trials]


def test_a_range_is_set_moved_widened_and_freed_by_keyboard(show: Show) -> None:
    content = example_content(60)
    browser = show(content)
    handle = axis(browser, "n")

    def kept(*levels: int) -> list[int]:
        return [t.number for t in designs(content) if t.design["n"] in levels]

    handle.send_keys(Keys.ARROW_UP)
    assert (rows(browser), handle.get_attribute("aria-valuetext")) == (kept(4), "keeps 4 to 4")
    handle.send_keys(Keys.ARROW_UP)
    assert rows(browser) == kept(8)
    handle.send_keys(Keys.SHIFT, Keys.ARROW_UP)
    assert rows(browser) == kept(8, 16)
    assert handle.get_attribute("aria-valuetext") == "keeps 8 to 16"
    handle.send_keys(Keys.ESCAPE)
    assert rows(browser) == [t.number for t in content.trials]


def test_the_filter_and_a_kept_range_hold_together(show: Show) -> None:
    content = example_content(60)
    browser = show(content)
    drag(browser, axis(browser, "mlp_width"), 0.6, 1.1)
    browser.find_element(By.ID, "filter").send_keys("baseline")
    wide = [t.number for t in designs(content) if int(t.design["mlp_width"]) >= 256]
    assert rows(browser) == [n for n in wide if n == 0]


def test_a_knob_that_sleeps_has_a_place_of_its_own(show: Show) -> None:
    content = example_content(60)
    asleep = {t.number for t in designs(content)[::4]}
    trials = tuple(
        dataclasses.replace(t, design={k: v for k, v in t.design.items() if k != "k"})
        if t.number in asleep
        else t
        for t in content.trials
    )
    browser = show(dataclasses.replace(content, trials=trials))
    handle = axis(browser, "k")
    handle.send_keys(Keys.ARROW_UP)
    assert handle.get_attribute("aria-valuetext") == "keeps - to -"
    assert set(rows(browser)) == asleep
    assert complaints(browser) == []


def test_kept_ranges_survive_a_change_to_the_dark(show: Show) -> None:
    content = example_content(60)
    browser = show(content)
    drag(browser, axis(browser, "mlp_width"), 0.6, 1.1)
    before = rows(browser)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        WebDriverWait(browser, 5).until(
            lambda d: d.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
        )
        assert rows(browser) == before
        assert len(before) < len(content.trials)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
