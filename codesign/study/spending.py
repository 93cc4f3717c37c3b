"""What a study has used of its own budgets, and which of them lets no more trial start."""

from __future__ import annotations

import statistics

from codesign.spec.model import StudyBudgets
from codesign.study.state import StudyState


def gpu_hours(state: StudyState, wall_s: float | None = None) -> float:
    """Return device-hours of all attempts: ended well or not, cancelled, and running now.

    Args:
        wall_s: seconds that the study has run by now; None: up to its latest event.
    """
    now_s = state.wall_s if wall_s is None else wall_s
    return sum(trial.device_s_at(now_s) for trial in state.trials.values()) / 3600


def used_up(state: StudyState, budgets: StudyBudgets, wall_s: float) -> str:
    """Say which budget lets no more trial start; empty where none does.

    A trial that runs, and the one that would start, are taken to need as much as the median of
    those completed or paused here.

    Args:
        wall_s: seconds that the study has run, all its runs together.
    """
    if budgets.wall_hours is not None and wall_s >= 3600 * budgets.wall_hours:
        return "budgets.wall_hours is used up"
    limit = budgets.study_gpu_hours
    if limit is None:
        return ""
    used = gpu_hours(state, wall_s)
    trials = state.trials.values()
    ended = ("completed", "paused")
    took_s = [t.device_s for t in trials if t.status in ended and t.processes]
    typical_s = statistics.median(took_s) if took_s else 0.0
    running = [t for t in trials if t.status == "running"]
    left_s = sum(max(0.0, typical_s - t.device_s_at(wall_s)) for t in running)
    if used >= limit or used + (left_s + typical_s) / 3600 > limit:
        return (
            f"budgets.study_gpu_hours is used up: {used:.3g} of {limit:g} GPU-hours, "
            f"and a trial takes {typical_s / 3600:.3g}"
        )
    return ""
