"""Fits a learned model to measured products: a law, trees for what it leaves, and the spread.

The law is the roofline's with one overhead and one utilisation; bagged gradient boosting
(scikit-learn) learns the logarithm of measured over law, by absolute error. Held-out errors are
those of 5-fold cross-validation grouped by shape: products whose kind and rounded log2 dims agree
never straddle a fold. R products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from codesign.errors import ConfigError
from cost_models.evaluation.scores import CONFIDENCE, Z_ONE_SIDED, Z_TWO_SIDED
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.times.learned.features import DECIMALS, NAMES, Shapes, features
from cost_models.times.learned.model import Law, ProductSpread, mean_and_sd, members
from cost_models.times.learned.trees import LEAF, LETTERS
from cost_models.times.roofline import Roofline

FEWEST_PRODUCTS = 1000  # of four dims: fewer leave most of the range unseen
FOLDS = 5
ROUNDS = 600
_MEMBERS = 3
_LARGE = 0.9  # products beyond this quantile of flop are large
_LEAST_DISAGREEMENT, _LEAST_ERROR = 1e-3, 1e-4  # of logarithms


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


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A learned model of products.

    Attributes:
        content: what `cost_models.times.learned.model.Learned` reads as `products` of an artifact.
        spread: the one in there.
        seen: all products, by fits to other folds.
        largest: the largest tenth by flop, by a fit to the rest.
    """

    content: dict[str, Any]
    spread: ProductSpread
    seen: Predicted
    largest: Predicted

    def sigma(self, predicted: Predicted) -> Array:
        """Return the spread predicted of such products, (R,)."""
        return self.spread.sigma(predicted.disagreement, predicted.law_s, np.zeros(1))


def fit(
    products: Products, hardware: Hardware, precision: Precision, *, rounds: int = ROUNDS
) -> Fitted:
    """Fit a learned model to all products, and find how it fares on those it has not seen.

    Args:
        rounds: trees of each member.

    Raises:
        ConfigError: there are fewer than `FEWEST_PRODUCTS`.
        ImportError: scikit-learn is missing.
    """
    if len(products.seconds) < FEWEST_PRODUCTS:
        raise ConfigError(
            f"{len(products.seconds):,} measured products are too few for a learned model; the "
            f"least is {FEWEST_PRODUCTS:,}",
            hint="fit a roofline, or measure more products",
        )
    roofline = Roofline(hardware=hardware, precision=precision)
    seen = cross_validated(products, roofline, rounds=rounds)
    largest = extrapolated(products, roofline, rounds=rounds)
    spread = _fit_spread(seen, largest, products.shapes)
    return Fitted(
        content={**_fit_trees(products, roofline, rounds), "spread": asdict(spread)},
        spread=spread,
        seen=seen,
        largest=largest,
    )


def shape_folds(shapes: Shapes, *, seed: int = 0, count: int = FOLDS) -> Array:
    """Return the fold of each product, (R,): those of one kind and rounded log2 dims share one."""
    rounded = np.round(np.log2(shapes.dims))
    _, group = np.unique(np.column_stack([shapes.batched, rounded]), axis=0, return_inverse=True)
    order = np.random.default_rng(seed).permutation(group.max() + 1)
    return order[group] % count


def cross_validated(
    products: Products, roofline: Roofline, *, seed: int = 0, rounds: int = ROUNDS
) -> Predicted:
    """Predict each product by a fit to the other folds."""
    found = np.zeros((3, len(products.seconds)))
    fold = shape_folds(products.shapes, seed=seed)
    for number in range(FOLDS):
        held_out = fold == number
        found[:, held_out] = _held_out(products[~held_out], products[held_out], roofline, rounds)
    return Predicted(log_ratio=found[0], disagreement=found[1], law_s=found[2])


def extrapolated(products: Products, roofline: Roofline, *, rounds: int = ROUNDS) -> Predicted:
    """Predict the largest tenth by flop by a fit to the rest."""
    flop = products.shapes.flop
    large = flop >= np.quantile(flop, _LARGE)
    found = _held_out(products[~large], products[large], roofline, rounds)
    return Predicted(log_ratio=found[0], disagreement=found[1], law_s=found[2])


def _held_out(train: Products, rest: Products, roofline: Roofline, rounds: int) -> Array:
    """`Predicted` of the rest, (3, R)."""
    content = _fit_trees(train, roofline, rounds)
    law = Law(**content["law"])
    floor_s = roofline.floor_s(rest.shapes.flop, rest.shapes.bytes)
    columns = features(rest.shapes, roofline.hardware)
    mean, sd = mean_and_sd(members(content["members"], content["thresholds"]), columns)
    law_s = law.seconds(floor_s)
    predicted_s = np.maximum(law_s * np.exp(mean), law.least_seconds(floor_s))
    return np.array([np.log(rest.seconds / predicted_s), sd, law_s])


def _fit_trees(products: Products, roofline: Roofline, rounds: int) -> dict[str, Any]:
    """Law and members, as an artifact holds them."""
    floor_s = roofline.floor_s(products.shapes.flop, products.shapes.bytes)
    law = _fit_law(products, floor_s)
    target = np.log(products.seconds / law.seconds(floor_s))
    columns = features(products.shapes, roofline.hardware)
    boosted = [_boost(columns, target, seed, rounds) for seed in range(_MEMBERS)]
    thresholds, lines = written(boosted)
    first = f"{round(float(np.median(target)) / LEAF):+d}"  # where boosting starts
    return {
        "rows": len(target),
        "law": asdict(law),
        "thresholds": thresholds,
        "members": [[first, *trees] for trees in lines],
    }


def _fit_law(products: Products, floor_s: Array) -> Law:
    """The shortest, and what the largest tenth reaches."""
    flop, utilisation = products.shapes.flop, floor_s / products.seconds
    large = flop >= np.quantile(flop, _LARGE)
    return Law(
        overhead_s=_rounded(np.min(products.seconds)),
        utilisation=_rounded(np.median(utilisation[large])),
        best=_rounded(np.max(utilisation)),
    )


def _fit_spread(seen: Predicted, largest: Predicted, shapes: Shapes) -> ProductSpread:
    """Least squares on the logarithm of errors, scaled to hold `CONFIDENCE` of them.

    Of all products and of the largest, on either side and within both.
    """
    powers = np.linalg.lstsq(
        _known(seen), np.log(np.maximum(np.abs(seen.log_ratio), _LEAST_ERROR)), rcond=None
    )[0]
    scale = 0.0
    for predicted in (seen, largest):
        each = predicted.log_ratio / np.exp(_known(predicted) @ powers)
        scale = max(
            scale,
            np.quantile(np.abs(each), CONFIDENCE) / Z_TWO_SIDED,
            np.quantile(each, CONFIDENCE) / Z_ONE_SIDED,
            np.quantile(-each, CONFIDENCE) / Z_ONE_SIDED,
        )
    dims = np.log2(shapes.dims)
    by_kind = {"gemm": dims[~shapes.batched], "bmm": dims[shapes.batched]}
    measured = {kind: logs for kind, logs in by_kind.items() if len(logs)}
    return ProductSpread(
        constant=_rounded(np.exp(powers[0]) * scale),
        of_disagreement=_rounded(powers[1]),
        of_seconds=_rounded(powers[2]),
        least=_LEAST_DISAGREEMENT,
        low={kind: [_rounded(log) for log in logs.min(0)] for kind, logs in measured.items()},
        high={kind: [_rounded(log) for log in logs.max(0)] for kind, logs in measured.items()},
    )


def _known(predicted: Predicted) -> Array:
    """What a spread may depend on, (R, 3)."""
    disagreement = np.maximum(predicted.disagreement, _LEAST_DISAGREEMENT)
    return np.column_stack(
        [np.ones(len(disagreement)), np.log(disagreement), np.log(predicted.law_s)]
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def written(boosted: Sequence[Sequence[Array]]) -> tuple[list[str], list[list[str]]]:
    """Write trees as `cost_models.times.learned.model.members` reads them.

    Args:
        boosted: of each member the nodes of each tree, as scikit-learn has them.

    Returns:
        A line of thresholds for each feature, and for each member a line for each tree.
    """
    nodes = np.concatenate([nodes[nodes["is_leaf"] == 0] for trees in boosted for nodes in trees])
    asked = [
        np.unique(nodes["num_threshold"][nodes["feature_idx"] == feature])
        for feature in range(len(NAMES))
    ]
    # A threshold is a feature or lies halfway between two: one digit more than these have.
    digits = DECIMALS + 1
    lines = [" ".join(f"{value:.{digits}f}".rstrip("0") for value in each) for each in asked]
    return lines, [[_line(nodes, asked) for nodes in trees] for trees in boosted]


def _line(nodes: Array, asked: Sequence[Array]) -> str:
    """One tree in prefix order."""
    found, ahead = [], [0]
    while ahead:
        node = nodes[ahead.pop()]
        if node["is_leaf"]:
            found.append(f"{round(float(node['value']) / LEAF):+d}")
            continue
        feature = int(node["feature_idx"])
        number = int(np.searchsorted(asked[feature], node["num_threshold"]))
        found.append(f"{LETTERS[feature]}{number}")
        ahead += [int(node["right"]), int(node["left"])]
    return "".join(found)


def _boost(columns: Array, target: Array, seed: int, rounds: int) -> list[Array]:
    """Boost trees; return the nodes of each."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        learning_rate=0.1,
        max_iter=rounds,
        max_leaf_nodes=31,
        min_samples_leaf=5,
        max_features=0.8,
        random_state=seed,
    )
    model.fit(columns, target)
    return [tree.nodes for [tree] in model._predictors]
