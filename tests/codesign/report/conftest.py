"""A browser that shows the page of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from codesign.report.analysis import analyse
from codesign.report.content import ReportContent
from codesign.report.page import render_page
from tests.support.browser import Show, open_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    with open_browser() as driver:
        yield driver


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ReportContent], Path]:
    """Write a study's page; a study that several tests show is rendered once."""
    known: dict[int, tuple[ReportContent, Path]] = {}

    def write(content: ReportContent) -> Path:
        if id(content) not in known:
            path = tmp_path_factory.mktemp("page") / "report.html"
            path.write_text(render_page(analyse(content)))
            known[id(content)] = content, path
        return known[id(content)][1]

    return write


@pytest.fixture
def show(browser: Chrome, page_of: Callable[[ReportContent], Path]) -> Show:
    def open_page(content: ReportContent, width: int = 1280, height: int = 900) -> Chrome:
        page = page_of(content)
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.get(page.as_uri())
        WebDriverWait(browser, 20).until(
            lambda d: d.execute_script("return document.documentElement.dataset.ready") == "yes"
        )
        return browser

    return open_page
