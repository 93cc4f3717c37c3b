"""Proposers, and what they see of the feasible designs and of the trials that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from codesign.contracts.trials import FailureKind
from codesign.contracts.values import Columns, Design, Value

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class LogNormal:
    """What is believed of one predicted cost of N designs: its logarithm is normal.

    Attributes:
        median: > 0, (N,).
        log_sd: standard deviation of ln(true value / median), ≥ 0, (N,).
    """

    median: np.ndarray
    log_sd: np.ndarray


class Feasible(Protocol):
    """The designs that a study may launch: its space within its budgets.

    Attributes:
        levels: the lattice, every knob's allowed values in order (one value: fixed).
    """

    levels: Mapping[str, tuple[Value, ...]]

    def sample(self, n: int, rng: np.random.Generator) -> Columns:
        """Draw up to `n` distinct designs (fewer only where no more exist)."""

    def neighbours(self, design: Design) -> Columns:
        """All feasible designs that differ by one step of one knob."""

    def encode(self, columns: Columns) -> np.ndarray:
        """Features in [0, 1], shape (designs, features), float64."""

    def costs(self, columns: Columns) -> dict[str, np.ndarray]:
        """The exact costs of each design."""

    def predicted(self, columns: Columns) -> Mapping[str, LogNormal]:
        """Predict the other costs of each design that objectives may name; empty: there are none.

        No name is one of `costs`. A trial may have measured a metric of the same name, somewhere:
        an objective that is named here means the prediction.
        """


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a trial has shown of its design: how it ended, or a point of its curve.

    Attributes:
        metrics: empty where `failure` is set; exact costs of the design among them.
        fidelity: share of the full training that the metrics rest on, in (0, 1]. Below 1 it is a
            point of a curve: a trial may be seen at several, whether or not it ends at 1.
        task: the earlier study whose trial it is; empty: this study's own. A related task's values
            may differ, and its designs are not taken here.
    """

    design: Design
    metrics: Mapping[str, float]
    failure: FailureKind | None = None
    fidelity: float = 1.0
    task: str = ""

    @cached_property
    def key(self) -> frozenset[tuple[str, Value]]:
        """What makes its design the same as another, as `codesign.designs.key_of` says."""
        return frozenset(self.design.items())


class Proposer(Protocol):
    """Chooses what to train next. Everything it may know comes with the call."""

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """Propose up to `n` designs; none where none is left.

        None of them is pending, or observed in this study, at any fidelity.
        """
