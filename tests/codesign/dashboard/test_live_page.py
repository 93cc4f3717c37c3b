"""The live page in a headless Chromium, served by `codesign dashboard` while studies go on."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from codesign.study.folder import StudyFolder, write_json
from tests.support.browser import complaints
from tests.support.studies import rewind, run

SEARCH = {"trials": 8, "proposer": "random"}


@contextlib.contextmanager
def served(study: Path, port: int = 0) -> Iterator[str]:
    """Serve a study's page in a process of its own; yield its address."""
    command = [sys.executable, "-m", "codesign", "dashboard", str(study), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.communicate(timeout=20)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    run(folder, search=SEARCH)
    return folder / "study"


def look(browser: Chrome, address: str, *, width: int = 1280) -> None:
    """Open a page, and wait until it shows what the server has."""
    browser.get("about:blank")
    complaints(browser)  # Of a page whose server has ended.
    browser.set_window_size(width, 900)
    browser.get(address)
    until(browser, lambda: bool(shown(browser)))


def shown(browser: Chrome) -> str:
    return str(browser.execute_script("return document.documentElement.dataset.shows ?? ''"))


def text(browser: Chrome, element: str) -> str:
    return browser.find_element(By.ID, element).text


def rows(browser: Chrome) -> int:
    return int(
        browser.execute_script("return document.querySelectorAll('#trial-table tbody tr').length")
    )


def until(browser: Chrome, condition: Callable[[], bool]) -> None:
    WebDriverWait(browser, 30).until(lambda _: condition())


def test_a_page_that_is_open_shows_each_trial_once_it_has_ended(
    finished: Path, tmp_path: Path, browser: Chrome
) -> None:
    run(tmp_path, search=SEARCH)
    study = tmp_path / "study"
    whole = (study / "snapshot.jsonl").read_text()
    rewind(study, lambda event: (event.trial or 0) < 5)
    with served(study) as address:
        look(browser, address)
        before = shown(browser)
        assert rows(browser) == 5
        browser.execute_script("window.mark = document.getElementById('front-chart')")
        (study / "snapshot.jsonl").write_text(whole)
        until(browser, lambda: shown(browser) != before)
        assert rows(browser) == 8
        # The chart was drawn on, not made anew: a person's zoom stays.
        assert browser.execute_script(
            "return window.mark === document.getElementById('front-chart')"
        )
    assert complaints(browser) == []


def test_a_server_that_went_away_is_told_and_found_again(finished: Path, browser: Chrome) -> None:
    with served(finished) as address:
        look(browser, address)
        port = int(address.rstrip("/").rpartition(":")[2])
    until(browser, lambda: "No connection" in text(browser, "live-link"))
    with served(finished, port):
        until(browser, lambda: text(browser, "live-link") == "connected again")
    errors = complaints(browser)
    assert all("ERR_CONNECTION_REFUSED" in entry["message"] for entry in errors)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_best_within_a_limit_is_found_and_exported_by_keyboard(
    width: int, finished: Path, browser: Chrome
) -> None:
    with served(finished) as address:
        look(browser, address, width=width)
        assert browser.execute_script(
            "return document.documentElement.scrollWidth <= window.innerWidth"
        )
        points = browser.execute_script("return content.points")
        costs = sorted(p["x"] for p in points)
        limit = costs[len(costs) // 2]
        field = browser.find_element(By.CSS_SELECTOR, "#within input[type=number]")
        field.send_keys(str(limit), Keys.ENTER)
        within = [p for p in points if p["x"] <= limit]
        best = min(within, key=lambda p: p["y"])["trial"]
        assert f"trial {best}" in text(browser, "within-best")
        link = browser.find_element(By.CSS_SELECTOR, "#within-best a[href*='design.yaml']")
        source = browser.execute_async_script(
            "const [url, done] = arguments; fetch(url).then(r => r.text()).then(done)",
            link.get_attribute("href"),
        )
    assert yaml.safe_load(source)["trial"] == best
    assert complaints(browser) == []


def test_trials_at_work_show_progress_and_jobs_that_wait_their_reason(
    tmp_path: Path, browser: Chrome
) -> None:
    run(tmp_path, search=SEARCH)
    study = tmp_path / "study"
    rewind(study, lambda e: (e.trial or 0) < 3 or e.kind in ("created", "submitted"))
    folder = StudyFolder(study)
    for trial in (3, 4):
        attempt = folder.attempt(trial, 1)
        said = {"done": 40, "total": 100, "metrics": {"log_loss": 0.5}, "seconds": 6.0}
        write_json(attempt / "progress.json", said)
    jobs = {
        str(trial): {
            "job": f"7_{trial}",
            "state": "RUNNING" if trial < 5 else "PENDING",
            "reason": "" if trial < 5 else "Resources",
            "nodes": "n1" if trial < 5 else "",
            "starts": 1 if trial < 5 else 0,
            "seconds": 6.0,
        }
        for trial in range(3, 8)
    }
    (study / "queue.json").write_text(json.dumps({"time": 0.0, "outage": "", "jobs": jobs}))
    with served(study) as address:
        look(browser, address)
        until(browser, lambda: "40%" in text(browser, "running-table"))
        told = text(browser, "running-table")
        assert "n1" in told
        assert "40%\n9 s log_loss 0.5" in told
        assert "Resources" in text(browser, "waiting-table")
    assert complaints(browser) == []
