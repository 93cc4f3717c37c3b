"""Objectives as standardised gains: what a surrogate model learns. NumPy only.

A *gain* is an objective turned so that more is better, with mean 0 and standard deviation 1 over
the finished trials. N finished trials, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import ConfigError
from codesign.pareto import default_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codesign.contracts import Objective, Observation

Array = np.ndarray[Any, Any]

ABOUT_THE_DESIGN = frozenset({"out_of_memory", "diverged"})
"""Failures that another attempt would repeat; the others say nothing of the design."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How one objective becomes a gain: sign, logarithm, centre and spread."""

    objective: Objective
    log10: bool
    centre: float = 0.0
    spread: float = 1.0

    def gains(self, values: Array) -> Array:
        """Turn values of the objective into gains, of the same shape."""
        values = np.log10(values) if self.log10 else np.asarray(values, dtype=np.float64)
        sign = 1.0 if self.objective.goal == "maximize" else -1.0
        return np.asarray((sign * values - self.centre) / self.spread)

    def standardised(self, values_N: Array) -> Scale:
        """Return this scale with centre and spread taken from values."""
        return self.around(self.gains(values_N))

    def around(self, gains_N: Array) -> Scale:
        """Return this scale with centre and spread taken from gains on it."""
        centre, spread = float(gains_N.mean()), float(gains_N.std())
        # Equal values need not have a deviation of exactly 0 in floating point.
        differ = spread > 1e-12 * abs(centre)
        return replace(self, centre=centre, spread=spread if differ else 1.0)


def is_success(observation: Observation, learned: Sequence[Objective]) -> bool:
    """Whether a trial completed with a finite value of every learned objective.

    Raises:
        ConfigError: a completed trial does not report an objective.
    """
    if observation.failure is not None:
        return False
    missing = [o.metric for o in learned if o.metric not in observation.metrics]
    if missing:
        raise ConfigError(
            f"a completed trial reports no {', '.join(missing)}; "
            f"it reports {', '.join(sorted(observation.metrics)) or 'nothing'}",
            hint="objectives are metrics of the task or exact costs",
        )
    return all(np.isfinite(observation.metrics[o.metric]) for o in learned)


def learned_values(objective: Objective, observed: Sequence[Observation]) -> Array:
    """Read one learned objective of successful trials: float64 (N,)."""
    return np.array([o.metrics[objective.metric] for o in observed], dtype=np.float64)


def fenced(gains_N: Array) -> Array:
    """Draw values below Tukey's fence in to it: 1.5 interquartile ranges below the quartile.

    One trial that nearly diverged would otherwise flatten all differences that matter.
    """
    low, high = np.quantile(gains_N, [0.25, 0.75])
    fence = low - 1.5 * (high - low) if high > low else -np.inf
    return np.asarray(np.maximum(gains_N, fence))


def reference_gains(scales: Sequence[Scale], gains: Sequence[Array]) -> Array:
    """Place the reference point: where the user put it, else `pareto.default_reference`: (O,).

    Args:
        gains: for each objective those that designs may have, as far as they are known, each (R,).
    """
    reference_O = np.array([default_reference(g_R[:, None], ["maximize"])[0] for g_R in gains])
    for at, scale in enumerate(scales):
        given = scale.objective.reference
        if given is not None and scale.log10 and given <= 0:
            raise ConfigError(
                f"the reference of {scale.objective.metric} is {given}; must be > 0, "
                "as its values are compared by their logarithm"
            )
        if given is not None:
            reference_O[at] = scale.gains(np.array(given))
    return reference_O


def known_scale(objective: Objective, values: Array) -> Scale:
    """Choose the scale of a cost: logarithmic where all values are positive."""
    return Scale(objective=objective, log10=bool((values > 0).all()))


def learned_scale(objective: Objective, values_N: Array) -> Scale:
    """Choose the scale of what is learned: a positive loss is logarithmic.

    Its noise and its differences grow with it.
    """
    given = objective.reference
    positive = bool((values_N > 0).all()) and (given is None or given > 0)
    return Scale(objective=objective, log10=positive and objective.goal == "minimize")
