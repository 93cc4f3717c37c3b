"""What fits recover of laws that rows were drawn from, and what the shipped artifacts hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cost_models.calibrate.artifact import rounded
from cost_models.calibrate.operations import fit_kind
from cost_models.calibrate.read import read_files
from cost_models.calibrate.run import fitted
from cost_models.calibrate.steps import MeasuredTotals
from cost_models.calibrate.totals import fit_total, held_out_scores
from cost_models.hardware import ARTIFACTS, Precision, load_hardware
from cost_models.times.totals import FEATURES, StepSums

MEASURED = ARTIFACTS.parent / "measurements/cpu-epyc-2-threads-onednn.csv"


def drawn(rows: int, *, noise: float, slope: float = 0.0, seed: int = 0) -> MeasuredTotals:
    """Steps of 1.2 × (operations + 10 µs each), of which memory-bound ones take `slope` longer."""
    rng = np.random.default_rng(seed)
    operations_s = 10 ** rng.uniform(-3, 0, rows)
    count = rng.integers(20, 200, rows).astype(float)
    share = rng.uniform(0, 0.8, rows)
    sums = StepSums(operations_s=operations_s, memory_s=share * operations_s, count=count)
    log = slope * FEATURES["share of what is no product"](sums, 1e-5) + rng.normal(0, noise, rows)
    return MeasuredTotals(
        sums=sums,
        seconds=1.2 * (operations_s + 1e-5 * count) * np.exp(log),
        examples=np.full(rows, 64.0),
        design=np.arange(rows),
    )


def test_a_kind_of_operation_is_fitted_to_the_law_that_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    floor_s = 10 ** rng.uniform(-6, -2, 4000)
    noise = np.exp(rng.normal(0, 0.15, 4000))
    fit = fit_kind(floor_s, (floor_s / 0.6 + 2e-5) * noise)
    assert fit.utilisation == pytest.approx(0.6, rel=0.03)
    assert fit.overhead_s == pytest.approx(2e-5, rel=0.15)
    assert fit.sigma == pytest.approx(0.15, rel=0.05)


def test_a_total_is_fitted_to_the_law_that_it_was_drawn_from() -> None:
    measured = drawn(400, noise=0.02, slope=0.5)
    fit = fit_total(measured)
    assert fit.correction.weights["share of what is no product"] == pytest.approx(0.5, rel=0.1)
    assert fit.sigma == pytest.approx(0.02, rel=0.2)
    fresh = drawn(200, noise=0.0, slope=0.5, seed=1)
    np.testing.assert_allclose(fit.median_s(fresh.sums), fresh.seconds, rtol=0.03)


def test_few_steps_get_a_factor_and_an_overhead_alone() -> None:
    fit = fit_total(drawn(20, noise=0.01))
    assert fit.correction.weights == {}
    assert fit.factor == pytest.approx(1.2, rel=0.05)


def test_steps_without_any_law_beyond_the_sum_are_corrected_by_next_to_nothing() -> None:
    correction = fit_total(drawn(200, noise=0.1)).correction
    assert correction.high - correction.low < 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rows", [25, 120])
def test_nine_of_ten_fresh_steps_lie_within_an_interval_of_ninety_percent(
    rows: int, seed: int
) -> None:
    scored = held_out_scores(drawn(rows, noise=0.1, slope=0.4, seed=seed))
    assert 0.8 <= scored["coverage"] <= 1.0
    fit = fit_total(drawn(rows, noise=0.1, slope=0.4, seed=seed))
    fresh = drawn(2000, noise=0.1, slope=0.4, seed=100 + seed)
    log = np.log(fresh.seconds / fit.median_s(fresh.sums))
    assert 0.82 < np.mean(np.abs(log) < 1.645 * fit.sigma) < 0.99


def test_no_total_is_less_than_the_bound_over_all_that_are_as_large() -> None:
    fit = fit_total(drawn(100, noise=0.1, slope=0.8))
    small = drawn(1, noise=0.0).sums
    bound_s = fit.median_factor(small, bound=True) * small.base_s(fit.overhead_s)
    rng = np.random.default_rng(3)
    larger = StepSums(
        operations_s=small.operations_s * rng.uniform(1, 3, 500),
        memory_s=small.operations_s * rng.uniform(0, 1, 500),
        count=small.count * rng.uniform(1, 3, 500),
    )
    assert (fit.median_s(larger) >= bound_s).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_shipped_artifacts_of_the_cpu_are_what_its_measurements_give_today(
    precision: Precision,
) -> None:
    hardware = load_hardware("cpu")
    shipped = json.loads(Path(hardware.artifact[precision]).read_text())
    measured = read_files([MEASURED], hardware, precision)
    made = rounded(fitted(hardware, precision, measured, kind=shipped["kind"]))
    for changing in ("versions", "data"):
        del shipped[changing], made[changing]
    assert made == shipped


def test_nine_of_ten_measured_steps_of_the_cpu_lie_within_their_interval() -> None:
    """Of fewer rows than 20 a single one more or less decides."""
    for precision in ("fp32", "bf16"):
        held_out = json.loads(Path(load_hardware("cpu").artifact[precision]).read_text())[
            "held_out"
        ]
        totals = [scored for scored in held_out.values() if "coverage" in scored]
        assert len(totals) >= 3
        for scored in [each for each in totals if each["rows"] >= 20]:
            assert 0.85 <= scored["coverage"] <= 0.97
