"""How totals fare: measured steps, forward passes and peaks against what is predicted for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cost_models.exact import Array

Total = Literal["step", "forward"]


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


# What the allocator of a device adds to the tensors, where it was not measured.
ASSUMED_SLACK = Spread(factor=1.05, sigma=0.05)
