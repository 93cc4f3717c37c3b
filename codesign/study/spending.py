"""What a study has used of its own budgets, and which of them lets no more trial start."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from codesign.contracts import Queued
from codesign.spec.model import StudyBudgets
from codesign.study.state import StudyState


def gpu_hours(
    state: StudyState, wall_s: float | None = None, queue: Mapping[int, Queued] | None = None
) -> float:
    """Return device-hours of all attempts: ended well or not, cancelled, and running now.

    Args:
        wall_s: seconds that the study has run by now; None: up to its latest event.
        queue: where trials stand, which hold nothing while they wait there.
    """
    now_s = state.wall_s if wall_s is None else wall_s
    held_s = _held_s(queue)
    return sum(t.device_s_at(now_s, held_s.get(t.number)) for t in state.trials.values()) / 3600


def _held_s(queue: Mapping[int, Queued] | None) -> Mapping[int, float]:
    return {trial: job.seconds for trial, job in (queue or {}).items()}


def used_up(
    state: StudyState,
    budgets: StudyBudgets,
    wall_s: float,
    queue: Mapping[int, Queued] | None = None,
) -> str:
    """Say which budget lets no more trial start; empty where none does.

    A trial that runs, and the one that would start, are taken to need as much as the median of
    those completed or paused here.

    Args:
        wall_s: seconds that the study has run, all its runs together.
        queue: see `gpu_hours`.
    """
    if budgets.wall_hours is not None and wall_s >= 3600 * budgets.wall_hours:
        return "budgets.wall_hours is used up"
    limit = budgets.study_gpu_hours
    if limit is None:
        return ""
    used, held_s = gpu_hours(state, wall_s, queue), _held_s(queue)
    trials = state.trials.values()
    ended = ("completed", "paused")
    took_s = [t.device_s for t in trials if t.status in ended and t.processes]
    typical_s = statistics.median(took_s) if took_s else 0.0
    running = [t for t in trials if t.status == "running"]
    used_s = [t.device_s_at(wall_s, held_s.get(t.number)) for t in running]
    left_s = sum(max(0.0, typical_s - each_s) for each_s in used_s)
    if used >= limit or used + (left_s + typical_s) / 3600 > limit:
        return (
            f"budgets.study_gpu_hours is used up: {used:.3g} of {limit:g} GPU-hours, "
            f"and a trial takes {typical_s / 3600:.3g}"
        )
    return ""
