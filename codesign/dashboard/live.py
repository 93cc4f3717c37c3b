"""What is going on right now, as plain JSON: the loop, the trials at work, those that wait."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from codesign.report.figures import brief_figures, knob_figure
from codesign.study.recorded import RecordedStudy
from codesign.study.status import RunningTrial, StudyStatus, status_of

AT_WORK = 200
WAITING_NAMED = 12


def live_state(study: RecordedStudy) -> dict[str, Any]:
    """Return it; trials that wait are counted by what they wait for."""
    status = status_of(study)
    at_work = [trial for trial in status.running if not trial.waits]
    return {
        "loop": status.loop,
        "host": status.owner.host if status.owner else "",
        "ended": status.ended,
        "planned": status.planned,
        "failed": status.trials.get("failed", 0),
        "left_s": None if status.left_s is None else round(status.left_s),
        "gpu_hours": f"{status.gpu_hours:.3g}",
        "gpu_hours_limit": status.gpu_hours_limit,
        "outage": status.outage,
        "at_work": len(at_work),
        "running": [_running(trial, status) for trial in at_work[:AT_WORK]],
        "waiting": _waiting([trial for trial in status.running if trial.waits]),
    }


def _running(trial: RunningTrial, status: StudyStatus) -> dict[str, Any]:
    job = trial.queued
    return {
        "trial": trial.trial,
        "attempt": trial.attempt,
        "share": None if trial.share is None else round(trial.share, 4),
        "left_s": None if trial.left_s is None else round(trial.left_s),
        "metrics": ", ".join(brief_figures(trial.metrics, status.objectives)),
        "design": ", ".join(f"{k} {knob_figure(v)}" for k, v in trial.design.items()),
        "job": "" if job is None else f"{job.job} {job.state.lower()}",
        "nodes": "" if job is None else job.nodes,
        "starts": 1 if job is None else max(1, job.starts),
    }


def _waiting(trials: list[RunningTrial]) -> list[dict[str, Any]]:
    alike: dict[tuple[str, str], list[RunningTrial]] = defaultdict(list)
    for trial in trials:
        if trial.queued is not None:
            alike[trial.queued.state.lower(), trial.queued.reason].append(trial)
    return [
        {
            "state": state,
            "reason": reason,
            "count": len(alike[state, reason]),
            "trials": [trial.trial for trial in alike[state, reason][:WAITING_NAMED]],
        }
        for state, reason in sorted(alike)
    ]
