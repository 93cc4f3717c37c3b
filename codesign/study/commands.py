"""What can be done with a study besides running it; while a loop runs and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.errors import StudyError
from codesign.study.folder import StudyFolder
from codesign.study.requests import Request, send

if TYPE_CHECKING:
    import polars

    from codesign.study.lock import Owner
    from codesign.study.logs import TrialLogs
    from codesign.study.status import StudyStatus


def status(study: str | Path) -> StudyStatus:
    """Say how a study stands.

    Raises:
        StudyError: the folder holds no study.
    """
    from codesign.study.recorded import read_study
    from codesign.study.status import status_of

    return status_of(read_study(study))


def logs(
    study: str | Path, trial: int, *, attempt: int | None = None, rank: int | None = None
) -> TrialLogs:
    """Find what a trial of a study has printed; see `codesign.study.logs`.

    Raises:
        StudyError: the folder holds no study, or it has no such trial, attempt or rank.
    """
    from codesign.study.logs import logs_of
    from codesign.study.recorded import read_study

    return logs_of(read_study(study), trial, attempt=attempt, rank=rank)


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What a request to stop found.

    Attributes:
        asked: the loop's process; None: nothing runs.
        jobs: in a cluster's queue without a loop.
    """

    asked: Owner | None
    jobs: int = 0


def stop(study: str | Path, *, now: bool = False) -> Stopped:
    """Ask the loop of a study to stop; the study can be continued.

    Args:
        now: end the trials that run, which run again when the study continues; else they end first.
            Jobs of a cluster are ended also where no loop runs.

    Raises:
        StudyError: the folder holds no study, or its loop cannot be asked.
    """
    from codesign.study.lock import owner_of
    from codesign.study.queue import read_queue

    folder = _existing(study)
    if owner_of(folder.path)[1] == "dead":
        jobs = len(read_queue(folder).jobs)
        if now and jobs:
            _end_jobs(folder)
        return Stopped(asked=None, jobs=jobs)
    return Stopped(asked=send(folder, Request(ask="stop now" if now else "stop")))


def cancel(study: str | Path, trials: tuple[int, ...]) -> Owner:
    """Ask the loop of a study to cancel trials: they end, and say nothing of their designs.

    Returns:
        The process that was asked.

    Raises:
        StudyError: nothing runs, or some of the trials have ended or are not known.
    """
    from codesign.study.snapshot import recorded_events
    from codesign.study.state import fold

    folder = _existing(study)
    known = fold(recorded_events(folder)).trials
    mistakes = [
        f"trial {number} is {known[number].status}" if number in known else f"no trial {number}"
        for number in trials
        if number not in known or not known[number].may_go_on
    ]
    if mistakes:
        can = ", ".join(str(trial.number) for trial in known.values() if trial.may_go_on)
        raise StudyError(
            f"has nothing to cancel there: {'; '.join(mistakes)}",
            where=str(folder.path),
            hint=f"trials that can be cancelled now: {can or 'none'}",
        )
    return send(folder, Request(ask="cancel", trials=trials))


def extend(study: str | Path, *, trials: int) -> Owner:
    """Ask the loop of a study to search longer.

    Args:
        trials: designs to search in all, as `search.trials` says.

    Returns:
        The process that was asked.

    Raises:
        StudyError: nothing runs, or as many are searched already, or may be at most.
    """
    from codesign.study.findings import designs_to_search
    from codesign.study.recorded import read_study

    found = read_study(study)
    due, most = designs_to_search(found.state, found.spec), found.spec.study_budgets.trials
    if not due < trials <= (most or trials):
        bound = "" if most is None else f", and budgets.trials allows {most}"
        raise StudyError(
            f"searches {due} designs{bound}; --trials is {trials}",
            where=str(found.folder.path),
            hint="give the number of designs in all, more than now",
        )
    return send(found.folder, Request(ask="extend", total=trials))


def export(study: str | Path, *, out: str | Path | None = None) -> polars.DataFrame:
    """Return the trials of a study as a table, one row each.

    Args:
        out: write it there, too: `.csv`, `.json` or `.parquet`.

    Raises:
        StudyError: the folder holds no study, or the file cannot be written.
        ConfigError: the file has another ending.
    """
    from codesign.study.export import trial_table, write_table
    from codesign.study.recorded import read_study

    table = trial_table(read_study(study))
    if out is not None:
        write_table(table, Path(out))
    return table


def export_design(study: str | Path, trial: int, *, out: str | Path | None = None) -> str:
    """Return the design of a trial as a file that `train`, `cost` and `plan` read (YAML).

    Args:
        out: write it there, too.

    Raises:
        StudyError: the folder holds no study, there is no such trial, or the file cannot be
            written.
    """
    from codesign.study.folder import write_text
    from codesign.study.outputs import design_yaml
    from codesign.study.recorded import read_study

    found = read_study(study)
    text = design_yaml(found.spec, found.state, trial)
    if out is not None:
        write_text(Path(out), text)
    return text


def _end_jobs(folder: StudyFolder) -> None:
    """End what a loop has left in a cluster's queue."""
    from codesign.registry import plugin
    from codesign.study.attempts import job_of, launch_request
    from codesign.study.lock import hold
    from codesign.study.queue import QueueSeen, write_queue
    from codesign.study.recorded import read_study

    with hold(folder.path):
        found = read_study(folder.path)
        executor = plugin("executor", found.spec.launch.executor).make(
            launch_request(found.spec, folder.path)
        )
        running = [trial for trial in found.state.open_trials if trial.status == "running"]
        for job in executor.adopt([job_of(found.spec, folder, trial) for trial in running]):
            executor.cancel(job)
        executor.close()
        write_queue(folder, QueueSeen())


def _existing(study: str | Path) -> StudyFolder:
    folder = StudyFolder(Path(study))
    if not folder.resolved_spec.exists():
        raise StudyError("holds no study", where=str(folder.path), hint="name a study's folder")
    return folder
