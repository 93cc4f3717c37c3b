"""Times of operations by the roofline: each takes as long as its flop or its bytes do at peak.

    seconds(operation) = max(flop / peak flop/s, bytes / peak bytes/s) / utilisation + overhead

Utilisation, overhead and spread are one set for each kind of operation
(`cost_models.operations.ops.KINDS`), fitted where a device was measured and assumed where it was
not. Spreads are log-normal. N designs.

What is assumed of products is half of the peak, as of norms and lookups backward, which read some
tensors twice. Tensors that a cache holds may be faster than memory: the spread allows for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.operations.ops import OpColumns

# What a time rests on: a model learned from, or a roofline fitted to, operations of this kind that
# were measured on the device; or assumptions alone.
Basis = Literal["learned", "roofline", "assumed"]


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


# Without measurements: these shares of the peak, within a factor of 1.9 (90% on either side).
ASSUMED_SIGMA = 0.5
_ANY = 0.5
ASSUMED_UTILISATION: Mapping[tuple[str, str], float] = {
    # Streams of whole lines. A device copy was seen at 90% of the published rate on H100 and H200.
    ("elementwise", "forward"): 0.85,
    ("elementwise", "backward"): 0.85,
    ("copy", "forward"): 0.8,  # transposed ones, too
    ("copy", "backward"): 0.8,
    ("optimizer", "optimizer"): 0.8,
    # A row is read, reduced, and then written.
    ("softmax", "forward"): 0.75,
    ("softmax", "backward"): 0.75,
    ("layer_norm", "forward"): 0.75,
    ("reduction", "forward"): 0.7,
    ("reduction", "backward"): 0.7,
    # Rows lie anywhere in their table.
    ("embedding_bag", "forward"): 0.6,
}


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The roofline of one device in one precision (`cost_models.times.cost_model.Operations`).

    Attributes:
        kinds: fits by kind of operation; assumptions take the place of a kind that is not there.
    """

    hardware: Hardware
    precision: Precision
    kinds: Mapping[str, KindFit] = field(default_factory=dict)

    @classmethod
    def from_artifact(
        cls, hardware: Hardware, precision: Precision, fitted: Mapping[str, Any]
    ) -> Roofline:
        """Build it from the content of an artifact.

        Raises:
            KeyError, TypeError: the content is no roofline.
        """
        kinds = {kind: KindFit(**fit) for kind, fit in fitted["kinds"].items()}
        return cls(hardware=hardware, precision=precision, kinds=kinds)

    @property
    def label(self) -> str:
        """What it is and what it was fitted to, for people."""
        of = f"roofline of {self.hardware.name}, {self.precision}"
        rows = self.rows
        return (
            f"{of}: calibrated on {rows:,} measured operations" if rows else f"{of}: uncalibrated"
        )

    @property
    def rows(self) -> int:
        """Measured operations behind it."""
        return sum(fit.rows for fit in self.kinds.values())

    def seconds(self, op: OpColumns) -> Array:
        """Return the median time of one such operation by itself, (N,) or (1,)."""
        fit = self._fit(op)
        return self.floor_s(op.flop, op.bytes) / fit.utilisation + fit.overhead_s

    def least_seconds(self, op: OpColumns) -> Array:
        """Bound `seconds` from below over all operations that are at least as large."""
        return self.seconds(op)

    def sigma(self, op: OpColumns) -> Array:
        """Return the standard deviation of log(measured / predicted), (N,) or (1,)."""
        return np.array([self._fit(op).sigma])

    def basis(self, op: OpColumns) -> Basis:
        """Say whether this kind of operation was measured."""
        return "roofline" if self._fit(op).rows else "assumed"

    def floor_s(self, flop: Array, bytes_moved: Array) -> Array:
        """Return the least seconds that an operation takes at the device's peak rates."""
        compute_s = flop / self.hardware.peak_flop_per_s(self.precision)
        return np.maximum(compute_s, bytes_moved / self.hardware.bytes_per_s.value)

    def _fit(self, op: OpColumns) -> KindFit:
        return self.kinds.get(op.kind) or KindFit(
            utilisation=ASSUMED_UTILISATION.get((op.kind, op.phase), _ANY),
            overhead_s=self.hardware.launch_s.value,
            sigma=ASSUMED_SIGMA,
        )
