"""One run for each trial: its settings, its curve, and what became of it."""

from __future__ import annotations

from typing import Any

from codesign.report.figures import finite
from codesign.spec.problem import task_section
from codesign.study.folder import StudyFolder, read_json_lines, read_resolved_spec
from codesign.study.recorded import RecordedStudy
from codesign.study.state import Trial
from codesign.tracking.records import Run

MEMORY = "memory_per_device_gib"
# Of a line of `curve.jsonl`, what the step and the run's settings say already.
NOT_CHARTED = ("step", "examples", "total_examples", "by_task")


def study_id(study: RecordedStudy) -> str:
    """Return what identifies a study wherever its folder lies."""
    resolved = read_resolved_spec(study.folder)
    return str(resolved.get("study") or resolved["hash"])[:32]


def trial_run(study: RecordedStudy, trial: Trial) -> Run:
    """Describe the run of one trial; its steps are the examples trained on."""
    return Run(
        id=f"{study_id(study)}-{trial.number:04d}",
        name=f"{study.spec.name} trial {trial.number}",
        kind=trial.kind,
        tags=(trial.kind,),
        config=_config(study, trial),
        rows=curve(study.folder, trial),
        summary=_summary(trial),
        state=state_of(trial),
        over=not trial.open,
        failed=trial.status == "failed",
    )


def state_of(trial: Trial) -> str:
    """Return what changes whenever a trial that had ended, or paused, goes on."""
    return f"{trial.status} {trial.attempt}"


def curve(folder: StudyFolder, trial: Trial) -> dict[int, dict[str, float]]:
    """Return examples trained on → what was *measured* there, over all attempts at the trial.

    A later attempt repeats the points up to the checkpoint that it went on from, and then has its
    own. Of a line that is still being written nothing is returned.
    """
    rows: dict[int, dict[str, float]] = {}
    for attempt in range(1, trial.attempt + 1):
        for point in read_json_lines(folder.attempt(trial.number, attempt) / "curve.jsonl"):
            named = {name: v for name, v in point.items() if name not in NOT_CHARTED}
            found = {**named, **point.get("by_task", {})}
            rows[int(point["examples"])] = {
                name: float(value)
                for name, value in found.items()
                if isinstance(value, int | float) and finite(value) is not None
            }
    return rows


def measured_costs(trial: Trial) -> dict[str, float]:
    """Return what the trial *measured*, the memory of its fullest device among it."""
    memory = trial.facts.get("memory", {}).get("measured_gib")
    found = {**({} if memory is None else {MEMORY: memory}), **trial.metrics}
    return {name: value for name, value in found.items() if finite(value) is not None}


def _config(study: RecordedStudy, trial: Trial) -> dict[str, Any]:
    spec = study.spec
    section = task_section(spec, trial.system_train(trial.processes))
    return {
        "study": spec.name,
        "trial": trial.number,
        "kind": trial.kind,
        **({} if trial.of is None else {"repeats_trial": trial.of}),
        "seed": trial.seed,
        "design": trial.awake,
        "model": {"name": section["name"], **section["model"]},
        "train": section["train"],
        "data": {"source": section["source"]},
        "exact_counts": dict(trial.costs),
        "predictions": {name: dict(fields) for name, fields in trial.predictions.items()},
        **({"system": dict(trial.system)} if trial.system else {}),
    }


def _summary(trial: Trial) -> dict[str, Any]:
    """Predicted and measured figures side by side, under the names that charts can pair."""
    predicted = {
        f"predicted_{name}{end}": fields[key]
        for name, fields in trial.predictions.items()
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
    }
    return {
        **trial.costs,
        **predicted,
        **measured_costs(trial),
        "status": trial.status,
        "failure": trial.failure or "",
        "reason": trial.reason,
        "attempts": trial.attempt,
        "lost_attempts": trial.lost,
        "share_of_training": trial.share,
        "processes": trial.processes,
        "gpu_hours": trial.device_s / 3600,
        **({} if trial.seconds is None else {"wall_s": trial.seconds}),
    }
