"""Step times by the roofline, against its formula by hand, measured rows and drawn ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cost_models.artifacts import cost_model
from cost_models.hardware import load_hardware
from cost_models.operations.ops import OpColumns
from cost_models.times.cost_model import CostModel
from cost_models.times.roofline import ASSUMED_SIGMA, KindFit, Roofline
from cost_models.times.totals import TotalFit

H100 = load_hardware("h100-sxm")
ONE = np.ones(1)


def gemm(m: float, n: float, k: float, count: float = 1.0) -> OpColumns:
    size = 4 * (m * n + m * k + n * k)
    dims = {"m": m * ONE, "n": n * ONE, "k": k * ONE, "bytes": size * ONE}
    return OpColumns(kind="gemm", phase="forward", dtype="float32", count=count * ONE, **dims)


def test_an_operation_is_bound_by_the_slower_of_flop_and_bytes() -> None:
    kinds = {"gemm": KindFit(utilisation=0.5, overhead_s=1e-5, sigma=0.2)}
    model = CostModel(operations=Roofline(hardware=H100, precision="fp32", kinds=kinds))
    [large] = model.seconds([gemm(8192, 8192, 8192)], "step")
    assert large[0] == pytest.approx(2 * 8192**3 / 67e12 / 0.5 + 1e-5)
    [thin] = model.seconds([gemm(8192, 8192, 1, count=3)], "step")
    assert thin[0] == pytest.approx(3 * (4 * (8192**2 + 2 * 8192) / 3.35e12 / 0.5 + 1e-5))


def test_quantiles_of_operations_add_up_where_no_step_was_measured() -> None:
    model = CostModel(operations=Roofline(hardware=H100, precision="fp32"))
    median, upper = model.seconds([gemm(512, 512, 512)], "step", (0.0, 1.0))
    assert upper / median == pytest.approx(np.exp(ASSUMED_SIGMA))
    assert model.label == "roofline of h100-sxm, fp32: uncalibrated"


@pytest.mark.parametrize(("sigma", "shown"), [(0.1, ASSUMED_SIGMA), (0.8, 0.8)])
def test_operations_alone_never_make_an_interval_narrower_than_the_assumed_one(
    sigma: float, shown: float
) -> None:
    fit = KindFit(utilisation=0.5, overhead_s=0.0, sigma=sigma, rows=1000)
    operations = Roofline(hardware=H100, precision="fp32", kinds={"gemm": fit})
    model = CostModel(operations=operations)
    median, upper = model.seconds([gemm(512, 512, 512)], "step", (0.0, 1.0))
    assert upper / median == pytest.approx(np.exp(shown))


def test_a_measured_total_corrects_the_sum_and_sets_the_spread() -> None:
    total = TotalFit(factor=1.5, overhead_s=1e-3, sigma=0.1, rows=9)
    bare = CostModel(operations=Roofline(hardware=H100, precision="fp32"))
    model = CostModel(operations=bare.operations, totals={"step": total})
    operations = [gemm(512, 512, 512, count=4), gemm(64, 64, 64)]
    [alone] = bare.seconds(operations, "step")
    low, median = model.seconds(operations, "step", (-2.0, 0.0))
    assert median == pytest.approx(1.5 * (alone + 5e-3))
    assert low / median == pytest.approx(np.exp(-0.2))
    np.testing.assert_array_equal(
        model.seconds(operations, "forward"), bare.seconds(operations, "forward")
    )


def test_nine_of_ten_measured_steps_lie_beyond_neither_end_of_their_interval() -> None:
    for name in ("cpu", "h100-sxm"):
        path = load_hardware(name).artifact["fp32"]
        held_out = json.loads(Path(path).read_text())["held_out"]
        # Of fewer rows a single one more or less decides.
        for errors in [each for each in held_out.values() if each["rows"] >= 20]:
            assert errors["share_below_upper_bound"] > 0.87
            assert errors["share_above_lower_bound"] > 0.87


def test_only_measured_devices_claim_a_calibration() -> None:
    labels = {name: cost_model(load_hardware(name), "fp32").label for name in ("cpu", "h100-sxm")}
    assert "58 steps" in labels["cpu"]
    assert labels["h100-sxm"] == (
        "learned model of h100-sxm, fp32: products fitted to 3,517 measured ones, "
        "other operations by the roofline, uncalibrated; no step was measured"
    )
    for name in ("a100", "h100-pcie", "h200"):
        assert cost_model(load_hardware(name), "fp32").label.endswith("uncalibrated")
    assert cost_model(H100, "tf32").label.endswith("uncalibrated")
