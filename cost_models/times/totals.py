"""How totals fare: measured steps, forward passes and peaks against what is predicted for them.

The operations of a step, added up, are a first guess of its time. What is measured differs by a
factor, by what each operation costs the program that starts it, and by a correction from few
features of the whole step. The correction never leaves the range that was seen in fitting, so what
bounds a sum of operations from below bounds the step, too. N steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from cost_models.exact import Array
from cost_models.operations.ops import PRODUCTS, OpColumns

# A whole step of the trainer with its lookups and its waiting for data, as studies measure it; a
# step of the dense part and its optimizer, as the profiler does; the forward pass of that.
Total = Literal["training", "step", "forward"]
COMPILED = "compiled_"  # before the name of a total: its model went through torch.compile


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How measured totals fare against predicted ones.

    Attributes:
        factor: median of measured / predicted.
        sigma: standard deviation of its logarithm.
        rows: measured steps behind it; 0: assumed.
    """

    factor: float
    sigma: float
    rows: int = 0

    def quantile(self, value: Array, z: float) -> Array:
        """Return the quantile at `z` standard deviations from the median."""
        return value * self.factor * np.exp(z * self.sigma)


@dataclass(frozen=True, kw_only=True)
class StepSums:
    """Sums over the operations of N steps, each field (N,) or (1,).

    Attributes:
        operations_s: what they take one by one.
        memory_s: the part of it that is no matrix product.
        count: how many they are.
    """

    operations_s: Array
    memory_s: Array
    count: Array

    @classmethod
    def of(cls, operations: Iterable[OpColumns], seconds: Callable[[OpColumns], Array]) -> Self:
        """Add operations up, each taking `seconds` of it."""
        total_s, memory_s, count = np.zeros(1), np.zeros(1), np.zeros(1)
        for op in operations:
            op_s = op.count * seconds(op)
            total_s, count = total_s + op_s, count + op.count
            memory_s = memory_s if op.kind in PRODUCTS else memory_s + op_s
        return cls(operations_s=total_s, memory_s=memory_s, count=count)

    @classmethod
    def total(cls, parts: Iterable[StepSums]) -> Self:
        """Add up what steps consist of."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        operations_s, memory_s, count = (sum(each, np.zeros(1)) for each in columns)
        return cls(operations_s=operations_s, memory_s=memory_s, count=count)

    def __getitem__(self, rows: Array) -> StepSums:
        return StepSums(**{name: values[rows] for name, values in vars(self).items()})

    def base_s(self, overhead_s: float) -> Array:
        """Return the sum of operations that each cost `overhead_s` besides, (N,) or (1,)."""
        return self.operations_s + overhead_s * self.count


def _mean_s(sums: StepSums, overhead_s: float) -> Array:
    return np.log(sums.base_s(overhead_s) / np.maximum(sums.count, 1.0))


def _count(sums: StepSums, overhead_s: float) -> Array:  # noqa: ARG001
    return np.log(np.maximum(sums.count, 1.0))


def _memory_share(sums: StepSums, overhead_s: float) -> Array:
    return sums.memory_s / sums.base_s(overhead_s)


def _launch_share(sums: StepSums, overhead_s: float) -> Array:
    return overhead_s * sums.count / sums.base_s(overhead_s)


# What a correction may depend on: name → its value for each step.
FEATURES: Mapping[str, Callable[[StepSums, float], Array]] = {
    "log seconds of an operation": _mean_s,
    "log number of operations": _count,
    "share of what is no product": _memory_share,
    "share of overheads": _launch_share,
}


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Logarithm of a factor, linear in features of the step: weights · (features - centers).

    Attributes:
        weights, centers: by name of a feature.
        low, high: the range of corrections over the steps that it was fitted to; none leaves it.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    centers: Mapping[str, float] = field(default_factory=dict)
    low: float = 0.0
    high: float = 0.0

    def log(self, sums: StepSums, overhead_s: float) -> Array:
        """Return it for each step, (N,) or (1,), within [low, high]."""
        found = np.zeros(1)
        for name, weight in self.weights.items():
            found = found + weight * (FEATURES[name](sums, overhead_s) - self.centers[name])
        return np.clip(found, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class TotalFit(Spread):
    """How measured steps fare against the sum of their operations.

    Attributes:
        overhead_s: what each operation costs the program that starts it, which measuring
            operations one by one leaves out.
        correction: what else the whole step is known by.
    """

    overhead_s: float
    correction: Correction = field(default_factory=Correction)

    @classmethod
    def from_artifact(cls, fitted: Mapping[str, Any]) -> TotalFit:
        """Build it from the content of an artifact.

        Raises:
            KeyError, TypeError: the content is none.
        """
        correction = Correction(**fitted.get("correction", {}))
        if unknown := correction.weights.keys() - FEATURES.keys():
            raise KeyError(f"correction.weights: {', '.join(sorted(unknown))}")
        return cls(**{**fitted, "correction": correction})

    def median_s(self, sums: StepSums) -> Array:
        """Return the median of such steps' time, (N,) or (1,)."""
        return self.median_factor(sums) * sums.base_s(self.overhead_s)

    def median_factor(self, sums: StepSums, *, bound: bool = False) -> Array:
        """Return the median of measured / `base_s`, (N,) or (1,).

        Args:
            bound: the least over all steps.
        """
        log = self.correction.log(sums, self.overhead_s)
        return self.factor * np.exp(np.full(1, self.correction.low) if bound else log)


# What the allocator of a device adds to the tensors, where it was not measured.
ASSUMED_SLACK = Spread(factor=1.05, sigma=0.05)
