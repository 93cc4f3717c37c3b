"""Fits a learned model to measured products: a law, trees for what it leaves, and the spread.

The law is the roofline's with one overhead and one utilisation; bagged gradient boosting
(scikit-learn) learns the logarithm of measured over law, by absolute error. Held-out errors are
those of 5-fold cross-validation grouped by shape: products whose kind and rounded log2 dims agree
never straddle a fold. R products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.errors import ConfigError
from cost_models.hardware import Hardware, Precision
from cost_models.learned.features import DECIMALS, NAMES, Array, Shapes, features
from cost_models.learned.model import Law, Spread, mean_and_sd, members
from cost_models.learned.trees import LEAF, LETTERS
from cost_models.roofline import Roofline

FEWEST_PRODUCTS = 200
FOLDS = 5
CONFIDENCE = 0.9
_MEMBERS = 3
_OVERHEADS_S = np.concatenate([[0.0], np.geomspace(1e-6, 1e-4, 41)])
_LEAST_DISAGREEMENT = 1e-3


@dataclass(frozen=True, kw_only=True)
class Products:
    """Measured products.

    Attributes:
        shapes: of R products.
        seconds: measured, (R,), > 0.
    """

    shapes: Shapes
    seconds: Array

    def __getitem__(self, rows: Any) -> Products:
        return Products(shapes=self.shapes[rows], seconds=self.seconds[rows])


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a fit says of products that it has not seen, each field (R,).

    Attributes:
        log_ratio: log(measured / predicted).
        disagreement: standard deviation of the members' predictions.
        law_s: what the law alone says.
    """

    log_ratio: Array
    disagreement: Array
    law_s: Array


def fit(products: Products, hardware: Hardware, precision: Precision) -> dict[str, Any]:
    """Fit a learned model to all products, and find its held-out errors.

    Args:
        products: `FEWEST_PRODUCTS` at least.

    Returns:
        What an artifact of kind `learned` holds of single operations: `features`, `kinds` (none:
        what is no product is not fitted here), `products` and `held_out`, the errors of
        cross-validation (`operations`) and of the largest tenth by flop, predicted by a fit to the
        rest (`largest_operations`).

    Raises:
        ConfigError: too few products.
        ImportError: scikit-learn is missing.
    """
    if len(products.seconds) < FEWEST_PRODUCTS:
        raise ConfigError(
            f"{len(products.seconds)} measured products are too few for a learned model; "
            f"{FEWEST_PRODUCTS} is the least",
            hint="fit a roofline, or measure more products",
        )
    roofline = Roofline(hardware=hardware, precision=precision)
    seen = cross_validated(products, roofline)
    spread = _fit_spread(seen, products.shapes)
    content = _fit_trees(products, roofline)
    content["spread"] = asdict(spread)
    return {
        "features": list(NAMES),
        "kinds": {},
        "products": content,
        "held_out": {
            "operations": errors(seen, spread),
            "largest_operations": errors(extrapolated(products, roofline), spread),
        },
    }


def folds(shapes: Shapes, seed: int = 0) -> Array:
    """Return the fold of each product, (R,): those of one kind and rounded log2 dims share one."""
    rounded = np.round(np.log2(shapes.dims))
    _, group = np.unique(np.column_stack([shapes.batched, rounded]), axis=0, return_inverse=True)
    order = np.random.default_rng(seed).permutation(group.max() + 1)
    return order[group] % FOLDS


def cross_validated(products: Products, roofline: Roofline, seed: int = 0) -> Predicted:
    """Predict each product by a fit to the other folds."""
    fold = folds(products.shapes, seed)
    found = np.zeros((3, len(fold)))
    for number in range(FOLDS):
        held_out = fold == number
        found[:, held_out] = _held_out(products[~held_out], products[held_out], roofline)
    return Predicted(log_ratio=found[0], disagreement=found[1], law_s=found[2])


def extrapolated(products: Products, roofline: Roofline) -> Predicted:
    """Predict the largest tenth by flop by a fit to the rest."""
    flop = products.shapes.flop
    large = flop >= np.quantile(flop, 0.9)
    found = _held_out(products[~large], products[large], roofline)
    return Predicted(log_ratio=found[0], disagreement=found[1], law_s=found[2])


def errors(predicted: Predicted, spread: Spread) -> dict[str, Any]:
    """Sum up how products fare that no fit had seen."""
    sigma = spread.sigma(predicted.disagreement, predicted.law_s, np.zeros(1))
    relative = np.abs(np.exp(-predicted.log_ratio) - 1)
    one_sided, two_sided = (NormalDist().inv_cdf(p) for p in (CONFIDENCE, (1 + CONFIDENCE) / 2))
    return {
        "rows": len(relative),
        "mean_relative_error": float(relative.mean()),
        "median_relative_error": float(np.median(relative)),
        "p90_relative_error": float(np.quantile(relative, 0.9)),
        "share_below_upper_bound": float(np.mean(predicted.log_ratio <= one_sided * sigma)),
        "share_above_lower_bound": float(np.mean(predicted.log_ratio >= -one_sided * sigma)),
        "share_within_interval": float(np.mean(np.abs(predicted.log_ratio) <= two_sided * sigma)),
        "confidence": CONFIDENCE,
    }


def _held_out(train: Products, rest: Products, roofline: Roofline) -> Array:
    """`Predicted` of the rest, (3, R)."""
    content = _fit_trees(train, roofline)
    law = Law(**content["law"])
    floor_s = roofline.floor_s(rest.shapes.flop, rest.shapes.bytes)
    columns = features(rest.shapes, roofline.hardware)
    mean, sd = mean_and_sd(members(content["members"], content["thresholds"]), columns)
    law_s = law.seconds(floor_s)
    predicted_s = np.maximum(law_s * np.exp(mean), law.least_seconds(floor_s))
    return np.array([np.log(rest.seconds / predicted_s), sd, law_s])


def _fit_trees(products: Products, roofline: Roofline) -> dict[str, Any]:
    """Law and members, as an artifact holds them."""
    floor_s = roofline.floor_s(products.shapes.flop, products.shapes.bytes)
    law = _fit_law(floor_s, products.seconds)
    target = np.log(products.seconds / law.seconds(floor_s))
    columns = features(products.shapes, roofline.hardware)
    boosted = [_boost(columns, target, seed) for seed in range(_MEMBERS)]
    places = _thresholds(boosted)
    first = f"{round(float(np.median(target)) / LEAF):+d}"
    return {
        "rows": len(target),
        "law": asdict(law),
        "thresholds": [" ".join(map(_written, place)) for place in places],
        "members": [[first, *(_line(nodes, places) for nodes in trees)] for trees in boosted],
    }


def _fit_law(floor_s: Array, seconds: Array) -> Law:
    """Of a grid of overheads, the one that leaves the least absolute error of logarithms."""

    def error(overhead_s: float) -> float:
        logs = np.log(seconds / (floor_s + overhead_s))
        return float(np.mean(np.abs(logs - np.median(logs))))

    overhead_s = float(min(_OVERHEADS_S, key=error))
    factor = float(np.median(seconds / (floor_s + overhead_s)))
    return Law(
        overhead_s=float(f"{overhead_s * factor:.4g}"),
        utilisation=float(f"{1 / factor:.4g}"),
        best=float(f"{np.max(floor_s / seconds):.4g}"),
        shortest_s=float(f"{np.min(seconds):.4g}"),
    )


def _fit_spread(seen: Predicted, shapes: Shapes) -> Spread:
    """Least squares on the logarithm of errors, scaled to hold `CONFIDENCE` of them."""
    error = np.abs(seen.log_ratio)
    logs = np.log([np.maximum(seen.disagreement, _LEAST_DISAGREEMENT), seen.law_s])
    known = np.column_stack([np.ones(len(error)), *logs])
    powers = np.linalg.lstsq(known, np.log(np.maximum(error, 1e-4)), rcond=None)[0]
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    scale = np.quantile(error / np.exp(known @ powers), CONFIDENCE) / z
    dims = np.log2(shapes.dims)
    kinds = {"gemm": ~shapes.batched, "bmm": shapes.batched}
    return Spread(
        constant=float(f"{np.exp(powers[0]) * scale:.4g}"),
        of_disagreement=float(f"{powers[1]:.4g}"),
        of_seconds=float(f"{powers[2]:.4g}"),
        least=_LEAST_DISAGREEMENT,
        low={
            kind: _rounded(dims[is_kind].min(0)) for kind, is_kind in kinds.items() if is_kind.any()
        },
        high={
            kind: _rounded(dims[is_kind].max(0)) for kind, is_kind in kinds.items() if is_kind.any()
        },
    )


def _written(threshold: float) -> str:
    """Halfway between two features at the closest."""
    return f"{threshold:.{DECIMALS + 1}f}".rstrip("0")


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _boost(columns: Array, target: Array, seed: int) -> list[Array]:
    """Boost trees; return the nodes of each."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        learning_rate=0.1,
        max_iter=600,
        max_leaf_nodes=31,
        min_samples_leaf=5,
        max_features=0.8,
        random_state=seed,
    )
    model.fit(columns, target)
    return [tree.nodes for [tree] in model._predictors]


def _thresholds(boosted: Sequence[Sequence[Array]]) -> list[Array]:
    """Those that any tree asks for, of each feature."""
    nodes = np.concatenate([nodes[nodes["is_leaf"] == 0] for trees in boosted for nodes in trees])
    return [
        np.unique(nodes["num_threshold"][nodes["feature_idx"] == feature])
        for feature in range(len(NAMES))
    ]


def _line(nodes: Array, places: Sequence[Array]) -> str:
    """One tree as `cost_models.learned.trees` reads it."""
    found, ahead = [], [0]
    while ahead:
        node = nodes[ahead.pop()]
        if node["is_leaf"]:
            found.append(f"{round(float(node['value']) / LEAF):+d}")
            continue
        feature = int(node["feature_idx"])
        number = int(np.searchsorted(places[feature], node["num_threshold"]))
        found.append(f"{LETTERS[feature]}{number}")
        ahead += [int(node["right"]), int(node["left"])]
    return "".join(found)
