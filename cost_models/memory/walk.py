"""The walk back through a stage of a training step, which tells the most that it ever holds.

N designs. Sizes are elements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cost_models.exact import Array

_ZERO = np.zeros(1)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage holds in a step, in elements, each (N,) or (1,).

    Attributes:
        saved: what forward leaves for its backward.
        grads: gradients of its weights, as many as these.
        peak: the most that is live in its own backward, `saved` included.
        repeats: how many stages in a row it stands for.
        needed: of `saved`, what all else can be computed from again: a layer's input.
    """

    saved: Array
    grads: Array
    peak: Array
    repeats: Array
    needed: Array


class Walk:
    """Follows live elements through the backward pass of one stage."""

    def __init__(self, saved: Array, incoming: Array) -> None:
        self.saved = saved
        self.live = self.peak = saved + incoming
        self.grads = _ZERO

    def run(self, made: Array, *, freed: Array, weights: Array = _ZERO) -> None:
        """Differentiate one operation: its results come to life before its inputs die.

        Args:
            made: gradients passed on, and temporaries.
            freed: what nothing needs afterwards, temporaries among them.
            weights: gradients of weights, which stay.
        """
        self.live = self.live + made + weights
        self.peak = np.maximum(self.peak, self.live)
        self.live = self.live - freed
        self.grads = self.grads + weights

    def stage(self, repeats: Array, needed: Array | None = None) -> Stage:
        """Return what the walk has seen."""
        return Stage(
            saved=self.saved,
            grads=self.grads,
            peak=self.peak,
            repeats=repeats,
            needed=self.saved if needed is None else needed,
        )
