"""How fast the trials of a study were, for those who predict it."""

from __future__ import annotations

from pathlib import Path

from codesign.contracts import MeasuredRun
from codesign.errors import ConfigError
from codesign.registry import task_family
from codesign.spec.problem import make_task
from codesign.study.recorded import read_study

THROUGHPUT = "examples_per_s"


def measured_runs(path: str | Path, *, data_path: str | None = None) -> list[MeasuredRun]:
    """Return the completed trials of a study, those left out that continued an earlier attempt.

    Args:
        data_path: where the study's data are, if not where they were.

    Raises:
        StudyError: the folder holds no study, or a damaged one.
        ConfigError: nothing is predicted for its models.
        DataError: its data cannot be had.
    """
    found = read_study(path, data_path=data_path)
    name = found.spec.model["name"]
    if THROUGHPUT not in task_family(name).METRICS:
        raise ConfigError(f"trains {name}, whose speed nothing predicts", where=str(path))
    task = make_task(found.spec)
    return [
        MeasuredRun(
            study=str(path),
            trial=trial.number,
            design=trial.awake,
            settings=task.settings(trial.awake),
            schema=task.schema,
            device=str(trial.facts.get("device", "unknown")),
            processes=int(trial.facts.get("processes", 1)),
            examples_per_s=float(trial.metrics[THROUGHPUT]),
        )
        for trial in found.state.trials.values()
        if trial.status == "completed"
        and THROUGHPUT in trial.metrics
        and not trial.facts.get("resumed_at_step")
    ]
