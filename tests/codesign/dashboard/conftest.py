"""A browser that all tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import missing_browser, open_browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A headless Chromium; skipped where there is none."""
    if absent := missing_browser():
        pytest.skip(absent)
    with open_browser() as opened:
        yield opened
