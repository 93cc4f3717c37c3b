"""Learned times of products, against tiles counted one by one, scikit-learn and drawn laws."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor

from codesign.errors import ConfigError
from cost_models.artifacts import cost_model
from cost_models.calibrate.artifact import rounded
from cost_models.exact import Array
from cost_models.hardware import load_hardware
from cost_models.operations.ops import OpColumns
from cost_models.times.learned.features import NAMES, TILES, Shapes, features
from cost_models.times.learned.fit import Products, cross_validated, fit, written
from cost_models.times.learned.model import Learned, members
from cost_models.times.learned.trees import LEAF, Trees
from cost_models.times.roofline import ASSUMED_SIGMA, KindFit, Roofline

H100 = load_hardware("h100-sxm")
ROOFLINE = Roofline(hardware=H100, precision="fp32")
DIM = st.integers(1, 70_000)
SMALL_BATCH = st.integers(2, 3_000)


def shipped() -> dict[str, Any]:
    return json.loads(Path(H100.artifact["fp32"]).read_text(encoding="utf-8"))


@cache
def model() -> Learned:
    found = cost_model(H100, "fp32").operations
    assert isinstance(found, Learned)
    return found


def product(dims: Array, kind: str = "bmm", count: float = 1.0) -> OpColumns:
    """Products of dims (batch, m, n, k), (U, 4)."""
    batch, m, n, k = np.asarray(dims, dtype=float).T
    size = 4 * batch * (m * k + k * n + m * n)
    columns = {"batch": batch, "m": m, "n": n, "k": k, "bytes": size}
    return OpColumns(
        kind=kind, phase="forward", dtype="float32", count=np.full(1, count), **columns
    )


def shapes_of(dims: Array, batched: bool = True) -> Shapes:
    batch, m, n, k = np.asarray(dims, dtype=float).T
    return Shapes(batched=np.full(len(m), batched), batch=batch, m=m, n=n, k=k)


@given(st.tuples(SMALL_BATCH, *[st.integers(1, 3_000)] * 3))
@settings(max_examples=40, deadline=None)
def test_tiles_and_waves_are_those_counted_one_by_one(dims: tuple[int, ...]) -> None:
    batch, m, n, k = dims
    [found] = features(shapes_of([dims]), H100)
    said = dict(zip(NAMES, found, strict=True))
    for a, b in TILES:
        tiles = batch * len(range(0, m, a)) * len(range(0, n, b))
        waves, in_last = len(range(0, tiles, 132)), tiles % 132 or 132
        tile = f"{a} × {b}"
        assert said[f"log2 tiles, {tile}"] == pytest.approx(math.log2(tiles), abs=1e-5)
        assert said[f"waves, {tile}"] == min(waves, 64)
        last = said[f"last wave's share, {tile}"] * waves * 132
        assert last == pytest.approx((waves - 1) * 132 + in_last, abs=1e-5 * waves * 132)
        used = sum(min(a, m - row) for row in range(0, m, a)) * sum(
            min(b, n - column) for column in range(0, n, b)
        )
        covered = tiles / batch * a * b
        assert said[f"tiles' share, {tile}"] == pytest.approx(used / covered, abs=1e-5)
    assert said["log2 power of 2 in k"] == min(len(f"{k:b}") - len(f"{k:b}".rstrip("0")), 9)


def test_a_tree_is_read_in_prefix_order() -> None:
    trees = Trees.parse(["b1a0+5-70+300", "+2"], [np.array([0.5]), np.array([1.0, 2.0])])
    rows = np.array([[0.5, 2.0], [0.6, 2.0], [0.0, 2.1]])
    np.testing.assert_allclose(
        trees(rows), np.array([[5, 2], [-70, 2], [300, 2]]) * LEAF, rtol=1e-12
    )


@pytest.mark.parametrize(
    "line", ["", "a0", "a0+1", "a0+1+2+3", "a0+1-", "+1+2", "a0 +1+2", "a1.5+1+2"]
)
def test_what_is_no_tree_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is no tree"):
        Trees.parse([line], [np.array([0.0])])


def drawn(rows: int, seed: int = 0) -> Products:
    """Products of a device with one kernel: 128 × 128 tiles, waves and nothing else."""
    rng = np.random.default_rng(seed)
    dims = np.column_stack(
        [2 ** rng.integers(1, 9, rows), *(16 * 2 ** rng.integers(0, 8, (3, rows)))]
    )
    dims[:, 1:] += 16 * rng.integers(0, 4, (rows, 3))
    batch, m, n, k = dims.T
    waves = np.ceil(batch * np.ceil(m / 128) * np.ceil(n / 128) / 132)
    seconds = 2e-5 + waves * k * 128 * 128 * 132 * 2 / 50e12
    return Products(shapes=shapes_of(dims), seconds=seconds * np.exp(rng.normal(0, 0.01, rows)))


def test_trees_as_text_predict_what_scikit_learn_predicts() -> None:
    products = drawn(600)
    columns = features(products.shapes, H100)
    boosting = HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=15)
    boosting.fit(columns, np.log(products.seconds))
    thresholds, lines = written([[tree.nodes for [tree] in boosting._predictors]])
    [trees] = members(lines, thresholds)
    others = features(drawn(500, seed=1).shapes, H100)
    for rows in (columns, others):
        start = np.mean(np.log(products.seconds))
        off = boosting.predict(rows) - start - trees(rows).sum(1)
        assert np.abs(off).max() <= 40 * LEAF / 2


def test_a_drawn_law_is_learned_and_its_intervals_hold() -> None:
    products = drawn(1200)
    found = fit(products, H100, "fp32", rounds=40)
    error = np.abs(np.exp(found.seen.log_ratio) - 1)
    floor_s = ROOFLINE.floor_s(products.shapes.flop, products.shapes.bytes)
    ratio = products.seconds / (floor_s + 2e-5)
    assert np.mean(error) < 0.25 * np.mean(np.abs(ratio / np.median(ratio) - 1))
    within = np.abs(found.seen.log_ratio) <= 1.645 * found.sigma(found.seen)
    assert 0.88 < np.mean(within) < 0.97

    artifact = {"features": list(NAMES), "kinds": {}, "products": found.content}
    again = json.loads(json.dumps(rounded(artifact)))
    op = product(drawn(300, seed=2).shapes.dims)
    one, other = (Learned.from_artifact(H100, "fp32", content) for content in (artifact, again))
    np.testing.assert_array_equal(one.seconds(op), other.seconds(op))
    np.testing.assert_array_equal(one.sigma(op), other.sigma(op))
    assert "products fitted to 1,200 measured ones" in one.label


def test_products_alike_are_held_out_together() -> None:
    products = drawn(400)
    twins = Products(
        shapes=shapes_of(np.repeat(products.shapes.dims, 2, axis=0)),
        seconds=np.repeat(products.seconds, 2) * np.tile([1.0, 3.0], 400),
    )
    found = cross_validated(twins, ROOFLINE, rounds=5)
    np.testing.assert_allclose(np.diff(found.log_ratio)[::2], np.log(3))


def test_too_few_products_are_refused() -> None:
    with pytest.raises(ConfigError, match="999 measured products are too few"):
        fit(drawn(1200)[np.arange(999)], H100, "fp32")


@given(
    low=st.tuples(st.one_of(st.just(1), SMALL_BATCH), DIM, DIM, DIM),
    more=st.tuples(*[st.one_of(st.just(0), st.integers(0, 9_000))] * 4),
)
@settings(max_examples=150, deadline=None)
def test_no_product_of_a_box_takes_less_than_the_bound_of_the_box(
    low: tuple[int, ...], more: tuple[int, ...]
) -> None:
    corners = np.array(list(itertools.product(*zip(low, np.add(low, more), strict=True))))
    for kind in ("gemm", "bmm"):
        [bound] = model().least_seconds(product(corners[:1], kind))
        op = product(corners, kind)
        assert (model().seconds(op) >= bound * (1 - 1e-12)).all()
        assert (model().seconds(op) >= ROOFLINE.floor_s(op.flop, op.bytes)).all()
        assert (model().sigma(op) <= ASSUMED_SIGMA).all()


def test_what_is_kept_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    dims = rng.choice([1, 7, 64, 100, 4096, 65_536, 3_000_000], (400, 4))  # keys beyond 64 bits
    once = model().seconds(product(dims))
    for order in (np.arange(400), rng.permutation(400)):
        fresh = dataclasses.replace(model(), _kept={}, _last=[])
        one_by_one = [fresh.seconds(product(dims[[row]]))[0] for row in order[:40]]
        np.testing.assert_array_equal(one_by_one, once[order[:40]])
        op = product(dims[order])
        np.testing.assert_array_equal(fresh.seconds(op), once[order])
        alone = dataclasses.replace(model(), _kept={}, _last=[])
        np.testing.assert_array_equal(fresh.sigma(op), alone.sigma(op))


def test_an_uneven_share_of_a_batch_is_predicted_alone_as_in_company() -> None:
    """A device's mean share may be 512.5 examples, or less than one: some device has one more."""
    shares = np.array([[1, share, 640, 512] for share in (0.01, 0.9, 512, 512.5, 513)])
    for ask in ("seconds", "sigma"):
        together = getattr(dataclasses.replace(model(), _kept={}, _last=[]), ask)(product(shares))
        alone = [
            getattr(dataclasses.replace(model(), _kept={}, _last=[]), ask)(product(one))[0]
            for one in shares[::-1, None]
        ]
        assert together.tolist() == alone[::-1]
        assert np.isfinite(together).all()


def test_dims_mean_nothing_where_no_design_has_the_product() -> None:
    op = product(np.array([[2, 64, 64, 64], [0, -1, 0, 5]]))
    op = dataclasses.replace(op, count=np.array([1.0, 0.0]), bytes=op.bytes * [1, 0])
    alone = model().seconds(product(np.array([[2, 64, 64, 64]])))
    assert model().seconds(op)[0] == alone[0]
    assert np.isfinite(model().seconds(op)).all()


def test_a_factor_that_products_share_makes_none_slower() -> None:
    op = product(np.array([[512, 8, 64, 64], [512, 512, 512, 512]]))
    shared = dataclasses.replace(op, bytes=op.bytes / 2)
    assert (model().seconds(shared) <= model().seconds(op)).all()
    assert model().seconds(shared)[0] < model().seconds(op)[0]


def test_far_from_what_was_measured_the_spread_is_the_assumed_one() -> None:
    near = model().sigma(product(np.array([[1, 4096, 4096, 4096]]), "gemm"))
    far = model().sigma(product(np.array([[1, 4, 4, 4]]), "gemm"))
    assert near[0] < 0.1
    assert far[0] == ASSUMED_SIGMA


def test_what_is_no_product_is_a_matter_of_the_roofline() -> None:
    kinds = {"copy": KindFit(utilisation=0.9, overhead_s=1e-6, sigma=0.1, rows=12)}
    found = Learned.from_artifact(
        H100, "fp32", {**shipped(), "kinds": {"copy": dataclasses.asdict(kinds["copy"])}}
    )
    others = Roofline(hardware=H100, precision="fp32", kinds=kinds)
    op = OpColumns(
        kind="copy",
        phase="forward",
        dtype="float32",
        count=np.ones(1),
        m=np.ones(1),
        bytes=8e9 * np.ones(1),
    )
    for ask in ("seconds", "least_seconds", "sigma", "basis"):
        assert getattr(found, ask)(op) == getattr(others, ask)(op)
    assert found.label.endswith("other operations by the roofline, calibrated on 12")
    assert found.rows == 3517 + 12


def test_the_shipped_model_is_as_good_as_it_says_it_has_to_be() -> None:
    artifact = shipped()
    found, largest = artifact["held_out"]["operations"], artifact["held_out"]["largest_products"]
    assert found["rows"] == artifact["products"]["rows"] == 3517
    assert found["mean_relative_error"] <= 0.03
    assert largest["mean_relative_error"] <= 0.015
    assert {len(file["sha256"]) for file in artifact["data"]} == {64}
    assert Path(H100.artifact["fp32"]).stat().st_size < 400_000


def test_an_artifact_of_other_features_is_named(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    path.write_text(json.dumps({**shipped(), "features": ["log2 m"]}))
    device = dataclasses.replace(H100, artifact={"fp32": str(path)})
    with pytest.raises(ConfigError, match="features are not those of this version") as error:
        cost_model(device, "fp32")
    assert str(path) in str(error.value)
