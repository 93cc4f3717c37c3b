"""A headless Chromium for tests that look at a page."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# Opens the page of a study, at a width and height in pixels.
Show: TypeAlias = "Callable[..., Chrome]"

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def missing_browser() -> str:
    """Say what is missing for `open_browser`; empty where nothing is."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@contextmanager
def open_browser() -> Iterator[Chrome]:
    """Yield a browser with an empty profile that is thrown away; its console log is kept."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


def complaints(browser: Chrome) -> list[Any]:
    """Return what the console says since the last call, but for what is mere information."""
    return [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]  # type: ignore[no-untyped-call]
