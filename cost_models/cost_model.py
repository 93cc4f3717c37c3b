"""What a device takes for steps: its times of operations added up, and corrected as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.ops import OpColumns
from cost_models.roofline import ASSUMED_SIGMA
from cost_models.totals import ASSUMED_SLACK, Spread, Total, TotalFit


class Operations(Protocol):
    """Predicts single operations on one device in one precision."""

    @property
    def hardware(self) -> Hardware:
        """The device."""

    @property
    def precision(self) -> Precision:
        """Of matrix products."""

    @property
    def label(self) -> str:
        """What it is and what it was fitted to, for people."""

    @property
    def rows(self) -> int:
        """Measured operations behind it; 0: all is assumed."""

    def seconds(self, op: OpColumns) -> Array:
        """Return the median time of one such operation by itself, (N,) or (1,)."""

    def least_seconds(self, op: OpColumns) -> Array:
        """Bound `seconds` from below over all operations that are at least as large.

        As large: in every dim. (N,) or (1,).
        """

    def sigma(self, op: OpColumns) -> Array:
        """Return the standard deviation of log(measured / predicted), (N,) or (1,)."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Predicts seconds from operations, and how far off a peak of memory may be.

    Attributes:
        totals: how whole training steps and forward passes fare, where measured.
        memory: how peaks of memory fare.
    """

    operations: Operations
    totals: Mapping[str, TotalFit] = field(default_factory=dict)
    memory: Spread = ASSUMED_SLACK

    @property
    def label(self) -> str:
        """Where its times come from, for people."""
        steps = max((spread.rows for spread in self.totals.values()), default=0)
        if not self.operations.rows:
            return self.operations.label
        return self.operations.label + (
            f" and {steps} steps" if steps else "; no step was measured"
        )

    @property
    def memory_label(self) -> str:
        """Where the bounds of memory come from, for people."""
        device = f"{self.operations.hardware.name}, {self.operations.precision}"
        if not self.memory.rows:
            return f"closed form; slack of {device} assumed"
        return f"closed form; {device} compared with {self.memory.rows} measured steps"

    def seconds(
        self,
        operations: Iterable[OpColumns],
        total: Total,
        zs: Sequence[float] = (0.0,),
        *,
        bound: bool = False,
    ) -> list[Array]:
        """Predict how long operations take one after the other: `parts_seconds` of one part."""
        [found] = self.parts_seconds([operations], total, zs, bound=bound)
        return found

    def parts_seconds(
        self,
        parts: Iterable[Iterable[OpColumns]],
        total: Total,
        zs: Sequence[float] = (0.0,),
        *,
        bound: bool = False,
    ) -> list[list[Array]]:
        """Predict how long each part of a total takes, one operation after the other.

        Args:
            parts: operations of N designs.
            total: what all parts are together.
            zs: quantiles, as standard deviations above the median. Where such totals were not
                measured, the operations' quantiles are added up, as if all were as slow together,
                each at least as wide as the assumed spread: measured one by one, operations do not
                say how a whole step fares.
            bound: bound from below what parts take whose operations are all at least as large.

        Returns:
            For each part, for each quantile seconds, (N,), or (1,) where no column is longer; the
            parts add up to the total's quantiles.
        """
        return [self._part_seconds(part, total, zs, bound=bound) for part in parts]

    def _part_seconds(
        self, operations: Iterable[OpColumns], total: Total, zs: Sequence[float], *, bound: bool
    ) -> list[Array]:
        measured = self.totals.get(total)
        found = [np.zeros(1) for _ in zs]
        for op in operations:
            each_s = (self.operations.least_seconds if bound else self.operations.seconds)(op)
            each_s = each_s + (measured.overhead_s if measured else 0.0)
            seconds = op.count * each_s
            sigma = 0.0 if measured else np.maximum(self.operations.sigma(op), ASSUMED_SIGMA)
            found = [
                sum_s + seconds * np.exp(z * sigma) for sum_s, z in zip(found, zs, strict=True)
            ]
        if measured:
            return [measured.quantile(sum_s, z) for sum_s, z in zip(found, zs, strict=True)]
        return found
