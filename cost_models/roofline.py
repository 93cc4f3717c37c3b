"""Step times by the roofline: each operation takes as long as its flop or its bytes do at peak.

    seconds(operation) = max(flop / peak flop/s, bytes / peak bytes/s) / utilisation + overhead

A step is the sum of its operations, times a factor where whole steps were measured. Utilisation,
overhead and spread are one set for each kind of operation (`cost_models.ops.KINDS`), fitted where a
device was measured and assumed where it was not. Spreads are log-normal. N designs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.ops import OpColumns

Total = Literal["step", "forward"]


@dataclass(frozen=True, kw_only=True)
class KindFit:
    """How operations of one kind fare against the roofline.

    Attributes:
        utilisation: share of the peak that they reach, > 0.
        overhead_s: what each takes besides, ≥ 0.
        sigma: standard deviation of log(measured / predicted).
        rows: measured operations behind it; 0: assumed.
    """

    utilisation: float
    overhead_s: float
    sigma: float
    rows: int = 0


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
class TotalFit(Spread):
    """How measured steps fare against the sum of their operations.

    Attributes:
        overhead_s: what each operation costs the program that starts it, which measuring
            operations one by one leaves out.
    """

    overhead_s: float


# Without measurements: half of the peak, within a factor of 1.9 (90% on either side).
ASSUMED_UTILISATION, ASSUMED_SIGMA = 0.5, 0.5
# What the allocator of a device adds to the tensors, where it was not measured.
ASSUMED_SLACK = Spread(factor=1.05, sigma=0.05)


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The roofline of one device in one precision.

    Attributes:
        kinds: fits by kind of operation; assumptions take the place of a kind that is not there.
        totals: how whole training steps and forward passes fare, where measured.
        memory: how peaks of memory fare.
    """

    hardware: Hardware
    precision: Precision
    kinds: Mapping[str, KindFit] = field(default_factory=dict)
    totals: Mapping[str, TotalFit] = field(default_factory=dict)
    memory: Spread = ASSUMED_SLACK

    @classmethod
    def from_artifact(
        cls, hardware: Hardware, precision: Precision, fitted: Mapping[str, Any]
    ) -> Roofline:
        """Build it from the content of an artifact.

        Raises:
            KeyError, TypeError: the content is no roofline.
        """
        memory = fitted.get("memory")
        return cls(
            hardware=hardware,
            precision=precision,
            kinds={kind: KindFit(**fit) for kind, fit in fitted["kinds"].items()},
            totals={total: TotalFit(**fit) for total, fit in fitted["totals"].items()},
            memory=ASSUMED_SLACK if memory is None else Spread(**memory),
        )

    @property
    def label(self) -> str:
        """Where its figures come from, for people."""
        rows = sum(fit.rows for fit in self.kinds.values())
        if not rows:
            return f"roofline of {self._device}: uncalibrated"
        steps = max((spread.rows for spread in self.totals.values()), default=0)
        return f"roofline of {self._device}: calibrated on {rows:,} measured operations" + (
            f" and {steps} steps" if steps else "; no step was measured"
        )

    @property
    def memory_label(self) -> str:
        """Where the bounds of memory come from, for people."""
        if not self.memory.rows:
            return f"closed form; slack of {self._device} assumed"
        return f"closed form; {self._device} compared with {self.memory.rows} measured steps"

    def seconds(
        self, operations: Iterable[OpColumns], total: Total, zs: Sequence[float] = (0.0,)
    ) -> list[Array]:
        """Predict how long operations take one after the other.

        Args:
            operations: of N designs.
            total: what they are together.
            zs: quantiles, as standard deviations above the median. Where such totals were not
                measured, the operations' quantiles are added up, as if all were as slow together,
                each at least as wide as the assumed spread: measured one by one, operations do not
                say how a whole step fares.

        Returns:
            For each quantile seconds, (N,), or (1,) where no column is longer.
        """
        measured = self.totals.get(total)
        found = [np.zeros(1) for _ in zs]
        for op in operations:
            fit = self.kinds.get(op.kind) or self._assumed
            each_s = self.floor_s(op.flop, op.bytes) / fit.utilisation + fit.overhead_s
            each_s = each_s + (measured.overhead_s if measured else 0.0)
            seconds, sigma = op.count * each_s, 0.0 if measured else max(fit.sigma, ASSUMED_SIGMA)
            found = [
                sum_s + seconds * np.exp(z * sigma) for sum_s, z in zip(found, zs, strict=True)
            ]
        if measured:
            return [measured.quantile(sum_s, z) for sum_s, z in zip(found, zs, strict=True)]
        return found

    def floor_s(self, flop: Array, bytes_moved: Array) -> Array:
        """Return the least seconds that an operation takes at the device's peak rates."""
        compute_s = flop / self.hardware.peak_flop_per_s(self.precision)
        return np.maximum(compute_s, bytes_moved / self.hardware.bytes_per_s.value)

    @property
    def _device(self) -> str:
        return f"{self.hardware.name}, {self.precision}"

    @property
    def _assumed(self) -> KindFit:
        return KindFit(
            utilisation=ASSUMED_UTILISATION,
            overhead_s=self.hardware.launch_s.value,
            sigma=ASSUMED_SIGMA,
        )
