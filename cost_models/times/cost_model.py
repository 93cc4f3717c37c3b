"""What a device takes for steps: its times of operations added up, and corrected as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.operations.ops import OpColumns
from cost_models.times.roofline import ASSUMED_SIGMA, Basis
from cost_models.times.totals import ASSUMED_SLACK, COMPILED, Spread, StepSums, Total, TotalFit


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

    def basis(self, op: OpColumns) -> Basis:
        """Say what the time of such operations rests on."""


# One and several of them, for people.
_NAMES: Mapping[Total, tuple[str, str]] = {
    "training": ("step", "steps"),
    "step": ("step", "steps"),
    "forward": ("forward pass", "forward passes"),
}


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
        """Where the times of training steps come from, for people."""
        return self.total_label("training")

    def total_label(self, total: Total, *, compiled: bool = False) -> str:
        """Where the times of such totals come from, for people."""
        if not self.operations.rows and not self.totals:
            return self.operations.label
        fit, (one, many) = self._fit(total, compiled=compiled), _NAMES[total]
        how = "compiled " if compiled else ""
        measured = f" and {fit.rows} {how}{many}" if fit else f"; no {how}{one} was measured"
        return self.operations.label + measured

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
        compiled: bool = False,
    ) -> list[Array]:
        """Predict how long operations take one after the other: `parts_seconds` of one part."""
        [found] = self.parts_seconds([operations], total, zs, bound=bound, compiled=compiled)
        return found

    def parts_seconds(
        self,
        parts: Iterable[Iterable[OpColumns]],
        total: Total,
        zs: Sequence[float] = (0.0,),
        *,
        bound: bool = False,
        compiled: bool = False,
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
            compiled: they are those of a compiled step (see `cost_models.operations.fusion`).

        Returns:
            For each part, for each quantile seconds, (N,), or (1,) where no column is longer; the
            parts add up to the total's quantiles.
        """
        each_s = self.operations.least_seconds if bound else self.operations.seconds
        fit = self._fit(total, compiled=compiled)
        if fit is None:
            return [_added_up(part, each_s, self.operations.sigma, zs) for part in parts]
        sums = [StepSums.of(part, each_s) for part in parts]
        factor = fit.median_factor(StepSums.total(sums), bound=bound)
        return [
            [factor * np.exp(z * fit.sigma) * part.base_s(fit.overhead_s) for z in zs]
            for part in sums
        ]

    def _fit(self, total: Total, *, compiled: bool) -> TotalFit | None:
        """How such totals fare where measured; a step of the trainer may pass for a plain one."""
        for name in ("training", "step") if total == "training" else (total,):
            fit = self.totals.get(f"{COMPILED}{name}" if compiled else name)
            if fit is not None:
                return fit
        return None


def _added_up(
    operations: Iterable[OpColumns],
    each_s: Callable[[OpColumns], Array],
    sigma: Callable[[OpColumns], Array],
    zs: Sequence[float],
) -> list[Array]:
    found = [np.zeros(1) for _ in zs]
    for op in operations:
        seconds = op.count * each_s(op)
        wide = np.maximum(sigma(op), ASSUMED_SIGMA) if any(zs) else ASSUMED_SIGMA
        found = [sum_s + seconds * np.exp(z * wide) for sum_s, z in zip(found, zs, strict=True)]
    return found
