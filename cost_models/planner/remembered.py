"""Times of operations, each predicted once: many systems do the same operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.operations.ops import OpColumns
from cost_models.predict import Predictor
from cost_models.times.cost_model import Operations
from cost_models.times.roofline import Basis


def remembering(predictor: Predictor) -> Predictor:
    """Return the same predictor, which keeps what it has once predicted for operations."""
    model = predictor.model
    return replace(predictor, model=replace(model, operations=Remembered(of=model.operations)))


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """Satisfies `cost_models.times.cost_model.Operations`, as `of` does."""

    of: Operations
    _known: dict[tuple[Any, ...], Array] = field(default_factory=dict)

    @property
    def hardware(self) -> Hardware:
        """The device."""
        return self.of.hardware

    @property
    def precision(self) -> Precision:
        """Of matrix products."""
        return self.of.precision

    @property
    def label(self) -> str:
        """What it is and what it was fitted to, for people."""
        return self.of.label

    @property
    def rows(self) -> int:
        """Measured operations behind it."""
        return self.of.rows

    def seconds(self, op: OpColumns) -> Array:
        """Return the median time of one such operation by itself, (N,) or (1,)."""
        return self._once("seconds", self.of.seconds, op)

    def least_seconds(self, op: OpColumns) -> Array:
        """Bound `seconds` from below over all operations that are at least as large."""
        return self._once("least", self.of.least_seconds, op)

    def sigma(self, op: OpColumns) -> Array:
        """Return the standard deviation of log(measured / predicted), (N,) or (1,)."""
        return self._once("sigma", self.of.sigma, op)

    def basis(self, op: OpColumns) -> Basis:
        """Say what the time of such operations rests on."""
        return self.of.basis(op)

    def _once(self, what: str, predict: Callable[[OpColumns], Array], op: OpColumns) -> Array:
        dims = (op.count, op.batch, op.m, op.n, op.k, op.bytes)
        key = (what, op.kind, op.phase, op.dtype, op.layout, *(dim.tobytes() for dim in dims))
        if key not in self._known:
            self._known[key] = predict(op)
        return self._known[key]
