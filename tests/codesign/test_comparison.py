"""Paired comparisons: coverage by simulation, and the verdict's words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from codesign.comparison import Comparison, SeedSpread, compare, seed_spread


def losses(rng: np.random.Generator, examples: int) -> np.ndarray:
    return rng.gamma(0.6, 0.8, examples)


def simulated(
    rng: np.random.Generator, *, true_percent: float, seed_sd: float, seeds: int, examples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Losses of a design and its reference that share most of what makes an example hard."""
    base = losses(rng, examples)
    own = base * (1 + true_percent / 100) + 0.05 * rng.normal(size=examples)
    shift = rng.normal(0, seed_sd, (2, seeds, 1))
    noise = 0.02 * rng.normal(size=(2, seeds, examples))
    return own + shift[0] + noise[0], base + shift[1] + noise[1]


def test_the_interval_without_seeds_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    reference = losses(rng, 4000)
    design = reference * 0.999 + 0.03 * rng.normal(size=4000)
    found = compare(design, reference, family=1)
    interval = stats.ttest_rel(design, reference).confidence_interval(0.95)
    half = 100 * (interval.high - interval.low) / 2 / reference.mean()
    assert found.percent == pytest.approx(100 * (design.mean() / reference.mean() - 1))
    assert found.half_width_percent == pytest.approx(half, rel=0.01)
    assert not found.seeds


def test_pairing_narrows_the_interval_that_two_separate_samples_have() -> None:
    rng = np.random.default_rng(1)
    design, reference = simulated(rng, true_percent=-0.5, seed_sd=0, seeds=1, examples=5000)
    paired = compare(design, reference, family=1).half_width_percent
    apart = compare(rng.permutation(design[0]), reference, family=1).half_width_percent
    assert paired < apart / 5


@pytest.mark.parametrize("seeds", [2, 4])
def test_intervals_with_seeds_cover_the_truth_as_often_as_they_say(seeds: int) -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        design, reference = simulated(
            rng, true_percent=-0.4, seed_sd=0.004, seeds=seeds, examples=400
        )
        others = rng.normal(0, 0.004, (3, seeds))
        runs = {-1: design.mean(axis=1), -2: reference.mean(axis=1), **dict(enumerate(others))}
        found = compare(design, reference, family=1, spread=seed_spread(runs))
        covered += abs(found.percent + 0.4) <= found.half_width_percent
    assert 0.92 <= covered / 300 <= 0.985


def test_all_of_a_family_hold_at_once() -> None:
    rng = np.random.default_rng(3)
    studies, family, held = 200, 8, 0
    for _ in range(studies):
        reference = losses(rng, 500)
        designs = reference + 0.05 * rng.normal(size=(family, 500))
        found = [compare(design, reference, family=family) for design in designs]
        held += all(abs(each.percent) <= each.half_width_percent for each in found)
    assert held / studies >= 0.92


def test_the_luckiest_of_many_runs_is_not_taken_for_better_than_its_equal() -> None:
    rng = np.random.default_rng(5)
    studies, searched = 300, 60
    wrong = {1: 0, searched: 0}
    for _ in range(studies):
        base = losses(rng, 200)
        fresh = rng.normal(0, 0.004, (8, 3))
        spread = seed_spread(dict(enumerate(fresh)))
        luckiest = base + rng.normal(0, 0.004, searched).min()
        for chosen_from in wrong:
            found = compare(
                luckiest,
                base + fresh[0][:, None],
                family=1,
                chosen_from=chosen_from,
                spread=spread,
            )
            wrong[chosen_from] += found.percent < -found.half_width_percent
    assert wrong[searched] / studies <= 0.05
    assert wrong[1] / studies > 0.2


def test_the_spread_between_seeds_is_pooled_over_designs() -> None:
    runs = {0: [0.50, 0.52], 1: [0.40, 0.43, 0.46], 2: [0.30]}
    pooled = math.sqrt((2 * 0.01**2 + 2 * 0.03**2) / 3)
    assert seed_spread(runs) == SeedSpread(sd=pytest.approx(pooled), degrees=3)
    assert seed_spread({0: [0.5]}) is None


@pytest.mark.parametrize(
    ("percent", "half", "said"),
    [
        (-0.04, 0.01, "better by 0.04% ± 0.01, significant at 0.02%"),
        (0.31, 0.05, "worse by 0.31% ± 0.05, significant at 0.02%"),
        (-0.04, 0.03, "better by 0.04% ± 0.03, but perhaps by less than 0.02%"),
        (0.01, 0.005, "equal within 0.02% (+0.01% ± 0.01)"),
        (-0.01, 0.4, "no difference shown (-0.01% ± 0.40)"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(percent: float, half: float, said: str) -> None:
    found = Comparison(
        percent=percent,
        half_width_percent=half,
        noticeable_percent=0.02,
        family=3,
        seeds=True,
    )
    assert found.verdict == said


def test_a_design_compared_with_itself_is_equal() -> None:
    own = losses(np.random.default_rng(4), 100)
    found = compare(own, own, family=4)
    assert (found.percent, found.half_width_percent) == (0.0, 0.0)
    assert found.finding == "equal"
