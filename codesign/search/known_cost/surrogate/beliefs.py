"""What is believed of each objective, and of whether a design trains at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.search.known_cost.surrogate.feasibility import Feasibility
from codesign.search.known_cost.surrogate.kernel import Rows
from codesign.search.known_cost.surrogate.process import Process

if TYPE_CHECKING:
    from codesign.search.known_cost.problem import Problem

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Beliefs:
    """Everything that was fitted.

    Attributes:
        processes: for each objective that is learned its process, None for the others.
        feasibility: None where no trial diverged or ran out of memory.
    """

    features: int
    processes: tuple[Process | None, ...]
    feasibility: Feasibility | None

    def log_success(self, inputs_CX: Array) -> Array:
        """Return the log probability that each design neither diverges nor runs out of memory.

        Returns:
            (C,), ≤ 0; zeros where no trial did.
        """
        if self.feasibility is None:
            return np.zeros(len(inputs_CX))
        return self.feasibility.log_success(inputs_CX[:, : self.features])


def learn(problem: Problem) -> Beliefs:
    """Fit whatever has to be learned. The same problem gives the same beliefs, to the last bit."""
    processes = tuple(
        _learned(problem, at) if column is None else None
        for at, column in enumerate(problem.known_column)
    )
    feasibility = None
    if len(problem.failed_FX):
        # What trains still has not failed: where designs pause, most of them are such.
        parts = [problem.trained_NX, problem.paused_PX, problem.failed_FX]
        inputs_RX = np.concatenate([part for part in parts if len(part)])
        success_R = np.arange(len(inputs_RX)) < len(inputs_RX) - len(problem.failed_FX)
        feasibility = Feasibility(inputs_RX[:, : problem.features], success_R)
    return Beliefs(features=problem.features, processes=processes, feasibility=feasibility)


def _learned(problem: Problem, objective: int) -> Process:
    """Fit the process of one objective to this study's trials and to what is related.

    A trial that diverged or ran out of memory has the worst gain seen: its surroundings lose their
    appeal even where no linear bound sets them apart.
    """
    rows = Rows.own(problem.trained_NX[:, : problem.features])
    gains_R = problem.gains_NO[:, objective]
    if len(problem.failed_FX) and len(gains_R):
        rows = rows.and_then(Rows.own(problem.failed_FX[:, : problem.features]))
        gains_R = np.concatenate([gains_R, np.full(len(problem.failed_FX), gains_R.min())])
    related = problem.related
    if related is not None:
        gains_E = related.gains_EO[:, objective]
        seen = np.isfinite(gains_E)
        rows = rows.and_then(
            Rows(
                features_RM=related.inputs_EX[seen, : problem.features],
                log_fidelity_R=np.log(related.fidelity_E[seen]),
                task_R=related.task_E[seen],
            )
        )
        gains_R = np.concatenate([gains_R, gains_E[seen]])
    return Process.fitted(rows, gains_R, compute=problem.compute)
