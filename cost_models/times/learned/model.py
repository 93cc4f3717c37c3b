"""Products by a law and by what trees have learned of measured ones; all else by a roofline.

    seconds(product) = (overhead + floor / utilisation) · exp(mean of the members' trees)

`floor` is what the roofline allows at the device's peaks. Law and trees are fitted to measured
products (`cost_models.times.learned.fit`), whose layouts do not matter to them: products of a
backward pass are taken to be as fast as forward ones of the same dims. No prediction is better than
the best utilisation that was measured, nor shorter than the shortest product. U shapes, N designs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.operations.ops import PRODUCTS, OpColumns
from cost_models.times.learned.features import NAMES, Shapes, features
from cost_models.times.learned.trees import Trees
from cost_models.times.roofline import ASSUMED_SIGMA, Basis, Roofline

_MOST_KEPT = 1_000_000  # shapes whose trees are remembered
_KEYS = 1 << 62
_ASSUMED_AT_OCTAVES = 3.0  # as far from measured dims, the spread is the assumed one


@dataclass(frozen=True, kw_only=True)
class Law:
    """What products take roughly.

    Attributes:
        overhead_s: what each takes besides: the least seconds that any took.
        utilisation: share of the roofline that the largest reach.
        best: highest utilisation that any reached.
    """

    overhead_s: float
    utilisation: float
    best: float

    def seconds(self, floor_s: Array) -> Array:
        """Return the law's seconds for the roofline's, (U,)."""
        return self.overhead_s + floor_s / self.utilisation

    def least_seconds(self, floor_s: Array) -> Array:
        """Return the least that is ever predicted, (U,); it does not fall as the floor grows."""
        return np.maximum(floor_s / self.best, self.overhead_s)


@dataclass(frozen=True, kw_only=True)
class ProductSpread:
    """How far measured products lie from predicted ones: sd of log(measured / predicted).

        constant · disagreement ** of_disagreement · law's seconds ** of_seconds

    Disagreement is the standard deviation of the members' predictions, at least `least`. With each
    octave that a dim lies outside `low` to `high` the spread comes nearer to the assumed one.

    Attributes:
        low, high: log2 of the least and the largest dims that were measured; kind → (4,).
    """

    constant: float
    of_disagreement: float
    of_seconds: float
    least: float
    low: Mapping[str, Sequence[float]]
    high: Mapping[str, Sequence[float]]

    def sigma(self, disagreement: Array, law_s: Array, octaves: Array) -> Array:
        """Return it, (U,), at most the assumed one."""
        inside = (
            self.constant
            * np.maximum(disagreement, self.least) ** self.of_disagreement
            * law_s**self.of_seconds
        )
        outside = ASSUMED_SIGMA * np.minimum(octaves / _ASSUMED_AT_OCTAVES, 1.0)
        return np.minimum(np.hypot(inside, outside), ASSUMED_SIGMA)

    def octaves_outside(self, shapes: Shapes) -> Array:
        """Sum over dims of the octaves beyond the measured ones, (U,)."""
        logs = np.log2(shapes.dims)
        found = np.zeros(len(logs))
        for kind, is_kind in (("gemm", ~shapes.batched), ("bmm", shapes.batched)):
            if kind in self.low:
                beyond = np.maximum(self.low[kind] - logs, logs - self.high[kind])
                found = np.where(is_kind, np.maximum(beyond, 0.0).sum(1), found)
            else:
                found = np.where(is_kind, np.inf, found)
        return found


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Learned times of one device's products; satisfies `cost_models.times.cost_model.Operations`.

    Attributes:
        others: predicts what is no product.
        members: sums of trees; their mean counts.
        products: measured ones behind it.
    """

    others: Roofline
    law: Law
    members: Sequence[Trees]
    spread: ProductSpread
    products: int
    _kept: dict[tuple[float, ...], tuple[float, float, float]] = field(
        default_factory=dict, repr=False, compare=False
    )
    # Whoever asks for seconds asks for the spread of the same columns next.
    _last: list[tuple[OpColumns, Array]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def from_artifact(
        cls, hardware: Hardware, precision: Precision, fitted: Mapping[str, Any]
    ) -> Learned:
        """Build it from the content of an artifact.

        Raises:
            KeyError, TypeError, ValueError: the content is no learned model, or one of
                other features.
        """
        content = fitted["products"]
        if list(fitted["features"]) != list(NAMES):
            raise ValueError("its features are not those of this version; fit it again")
        return cls(
            others=Roofline.from_artifact(hardware, precision, fitted),
            law=Law(**content["law"]),
            members=members(content["members"], content["thresholds"]),
            spread=ProductSpread(**content["spread"]),
            products=content["rows"],
        )

    @property
    def hardware(self) -> Hardware:
        """The device."""
        return self.others.hardware

    @property
    def precision(self) -> Precision:
        """Of matrix products."""
        return self.others.precision

    @property
    def label(self) -> str:
        """What it is and what it was fitted to, for people."""
        rest = f"calibrated on {self.others.rows:,}" if self.others.rows else "uncalibrated"
        of = f"learned model of {self.hardware.name}, {self.precision}"
        return (
            f"{of}: products fitted to {self.products:,} measured ones, "
            f"other operations by the roofline, {rest}"
        )

    @property
    def rows(self) -> int:
        """Measured operations behind it."""
        return self.products + self.others.rows

    def seconds(self, op: OpColumns) -> Array:
        """Return the median time of one such operation by itself, (N,) or (1,)."""
        if op.kind not in PRODUCTS:
            return self.others.seconds(op)
        floor_s = self.others.floor_s(op.flop, op.bytes)
        log_ratio, _, _ = self._learned(op).T
        return np.maximum(
            self.law.seconds(floor_s) * np.exp(log_ratio), self.law.least_seconds(floor_s)
        )

    def least_seconds(self, op: OpColumns) -> Array:
        """Bound `seconds` from below over all operations that are at least as large."""
        if op.kind not in PRODUCTS:
            return self.others.least_seconds(op)
        return self.law.least_seconds(self.others.floor_s(op.flop, op.bytes))

    def sigma(self, op: OpColumns) -> Array:
        """Return the standard deviation of log(measured / predicted), (N,) or (1,)."""
        if op.kind not in PRODUCTS:
            return self.others.sigma(op)
        _, disagreement, octaves = self._learned(op).T
        law_s = self.law.seconds(self.others.floor_s(op.flop, op.bytes))
        return self.spread.sigma(disagreement, law_s, octaves)

    def basis(self, op: OpColumns) -> Basis:
        """Say whether such operations are learned."""
        return "learned" if op.kind in PRODUCTS else self.others.basis(op)

    def _learned(self, op: OpColumns) -> Array:
        """The members' mean and disagreement, and octaves outside; each shape is asked for once.

        (N, 3) or (1, 3).
        """
        if self._last and self._last[0][0] is op:
            return self._last[0][1]
        shapes = _shapes(op)
        first, place = _distinct(shapes.dims)
        distinct = shapes[first]
        keys = [(op.kind, *dims) for dims in distinct.dims.tolist()]
        if any(key not in self._kept for key in keys):
            self._ask(keys, distinct)
        found: Array = np.array([self._kept[key] for key in keys])[place]
        self._last[:] = [(op, found)]
        return found

    def _ask(self, keys: Sequence[tuple[float, ...]], shapes: Shapes) -> None:
        """Have the trees answer for those of U shapes that they were not asked for before."""
        if len(self._kept) + len(keys) > _MOST_KEPT:
            self._kept.clear()
        missing = [at for at, key in enumerate(keys) if key not in self._kept]
        new = shapes[missing]
        mean, sd = mean_and_sd(self.members, features(new, self.hardware))
        found = np.column_stack([mean, sd, self.spread.octaves_outside(new)]).tolist()
        for at, (log_ratio, disagreement, octaves) in zip(missing, found, strict=True):
            self._kept[keys[at]] = log_ratio, disagreement, octaves


def members(lines: Sequence[Sequence[str]], thresholds: Sequence[str]) -> list[Trees]:
    """Read the members of an artifact.

    Args:
        lines: of each member, one for each tree (`cost_models.times.learned.trees`).
        thresholds: of each feature, one line of numbers.

    Raises:
        ValueError: they cannot be read.
    """
    numbers = [np.array([float(number) for number in line.split()]) for line in thresholds]
    found = []
    for place, trees in enumerate(lines):
        try:
            found.append(Trees.parse(trees, numbers))
        except (ValueError, IndexError) as error:
            raise ValueError(f"products.members[{place}]: {error}") from error
    return found


def mean_and_sd(members: Sequence[Trees], features_UF: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of what the members predict, each (U,)."""
    each = np.array([trees(features_UF).sum(1) for trees in members])
    return each.mean(0), each.std(0)


def _shapes(op: OpColumns) -> Shapes:
    """The dims of a product, whole as on the busiest device; 1 where no design has it."""
    dims = np.broadcast_arrays(op.count, op.batch, op.m, op.n, op.k)
    batch, m, n, k = (np.where(dims[0] > 0, np.ceil(dim), 1.0) for dim in dims[1:])
    return Shapes(batched=np.full(len(m), op.kind == "bmm"), batch=batch, m=m, n=n, k=k)


def _distinct(dims_N4: Array) -> tuple[Array, Array]:
    """First rows of distinct dims, and which of these each row has: (U,) and (N,)."""
    key, span = np.zeros(len(dims_N4), dtype=np.int64), 1
    for dim in dims_N4.T:
        code, values = dim.astype(np.int64), int(dim.max()) + 1
        if span * values > _KEYS:
            _, key = np.unique(key, return_inverse=True)
            _, code = np.unique(code, return_inverse=True)
            span, values = int(key.max()) + 1, int(code.max()) + 1
        key, span = key * values + code, span * values
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return first, place
