"""Comparisons read from the trials' files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from codesign.comparison import Comparison
from codesign.contracts import TEST_LOSSES
from codesign.study.findings import findings
from codesign.study.folder import StudyFolder
from codesign.study.paired import comparisons
from codesign.study.state import StudyState, Trial
from tests.codesign.study.test_results import AUC, GFLOP, spec, state, trial

EXAMPLES = 400


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


def record(folder: StudyFolder, number: int, losses: np.ndarray) -> np.ndarray:
    path = folder.attempt(number, 1)
    path.mkdir(parents=True)
    np.save(path / TEST_LOSSES, losses.astype(np.float32))
    return losses


def compared(
    folder: StudyFolder, *trials: Trial, top: int = 0
) -> tuple[int | None, dict[int, Comparison]]:
    made = spec(AUC, GFLOP, top=top)
    held = StudyState(trials={t.number: t for t in trials})
    return comparisons(held, findings(held, made), made.objectives, folder)


BASE = trial(0, 0.70, 1.0, kind="baseline", attempt=1)
GOOD, DEAR = trial(1, 0.80, 2.0, attempt=1), trial(2, 0.90, 3.0, attempt=1)


def test_front_designs_are_compared_with_the_baseline_example_by_example(
    folder: StudyFolder,
) -> None:
    rng = np.random.default_rng(0)
    base = record(folder, 0, rng.gamma(1, 0.5, EXAMPLES))
    good = record(folder, 1, base * 0.9995 + 0.01 * rng.normal(size=EXAMPLES))
    record(folder, 2, base * 0.9)
    reference, found = compared(folder, BASE, GOOD, DEAR)
    assert (reference, set(found)) == (0, {1, 2})
    assert found[1].percent == pytest.approx(100 * (good.mean() / base.mean() - 1), rel=1e-4)
    # Two designs are looked at: each at 97.5% for 95% of both.
    interval = stats.ttest_rel(good, base).confidence_interval(0.975)
    half = 100 * (interval.high - interval.low) / 2 / base.mean()
    assert found[1].half_width_percent == pytest.approx(half, rel=0.05)
    assert not found[1].seeds


def test_without_a_baseline_the_cheapest_of_the_front_is_the_reference(
    folder: StudyFolder,
) -> None:
    for number in (1, 2):
        record(folder, number, np.random.default_rng(number).gamma(1, 0.5, EXAMPLES))
    reference, found = compared(folder, GOOD, DEAR)
    assert (reference, set(found)) == (1, {2})


def test_a_confirmed_design_stands_for_its_fresh_seeds_and_their_spread(
    folder: StudyFolder,
) -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.49, 0.51, EXAMPLES)
    runs = []
    for number, of, shift in [(3, 0, 2e-4), (4, 0, -2e-4), (5, 1, -1e-3), (6, 1, -6e-4)]:
        record(folder, number, base + shift)
        auc, gflop = (0.7, 1.0) if of == 0 else (0.8, 2.0)
        runs.append(trial(number, auc, gflop, kind="confirm", of=of, attempt=1))
    record(folder, 0, base + 9)  # the run that chose it counts no more
    record(folder, 1, base - 9)
    reference, found = compared(folder, BASE, GOOD, *runs, top=2)
    assert (reference, set(found)) == (0, {1})
    assert found[1].percent == pytest.approx(100 * -8e-4 / base.mean(), rel=1e-3)
    # Shifts are all that differs, so the interval is Student's of two means with pooled spread.
    test = stats.ttest_ind([-1e-3, -6e-4], [2e-4, -2e-4])
    half = test.confidence_interval(0.95).high - (-8e-4)
    assert found[1].half_width_percent == pytest.approx(100 * half / base.mean(), rel=0.02)
    assert found[1].seeds


def test_a_design_of_one_run_answers_for_all_that_it_was_chosen_from(folder: StudyFolder) -> None:
    base = np.random.default_rng(1).uniform(0.49, 0.51, EXAMPLES)
    record(folder, 0, base)
    record(folder, 1, base + 1e-3)
    runs = []
    for number, of, shift in [(3, 0, 2e-4), (4, 0, -2e-4), (5, 1, -1e-3), (6, 1, -6e-4)]:
        record(folder, number, base + shift)
        auc, gflop = (0.7, 1.0) if of == 0 else (0.8, 2.0)
        runs.append(trial(number, auc, gflop, kind="confirm", of=of, attempt=1))
    record(folder, 2, base - 4e-4)
    beaten = [trial(number, 0.6, 5.0, attempt=1) for number in (7, 8, 9)]
    _, found = compared(folder, BASE, GOOD, DEAR, *beaten, *runs, top=2)
    # Two are compared; trial 2 is one of four that the search could have put in its place.
    sd, degrees = np.sqrt((2 * 2e-4**2 + 2 * 2e-4**2) / 2), 2
    for number, compared_runs, tests in [(1, 2, 2), (2, 1, 2 * 4)]:
        half = stats.t.ppf(1 - 0.05 / 2 / tests, degrees) * sd * np.sqrt(1 / compared_runs + 1 / 2)
        assert found[number].half_width_percent == pytest.approx(100 * half / base.mean(), rel=0.02)


@pytest.mark.parametrize("broken", ["missing", "torn", "other rows", "no number"])
def test_what_cannot_be_compared_is_left_out(folder: StudyFolder, broken: str) -> None:
    losses = np.random.default_rng(0).gamma(1, 0.5, EXAMPLES)
    record(folder, 0, losses)
    record(folder, 2, 0.9 * losses)
    if broken == "no number":
        record(folder, 1, np.where(np.arange(EXAMPLES) == 7, np.nan, losses))
    elif broken != "missing":
        record(folder, 1, losses[:-1])
    if broken == "torn":
        path = folder.attempt(1, 1) / TEST_LOSSES
        path.write_bytes(path.read_bytes()[:50])
    reference, found = compared(folder, BASE, GOOD, DEAR)
    assert (reference, set(found)) == (0, {2})


def test_a_study_without_recorded_losses_has_no_reference(folder: StudyFolder) -> None:
    assert compared(folder, BASE, GOOD, DEAR) == (None, {})
    assert comparisons(state(), [], (AUC, GFLOP), folder) == (None, {})
