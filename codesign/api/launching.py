"""Studies whose loop runs as a job of the cluster, and what the cluster will be asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import LaunchError
from codesign.registry import plugin

if TYPE_CHECKING:
    from codesign.contracts import LaunchRequest
    from codesign.spec.model import StudySpec


@dataclass(frozen=True, kw_only=True)
class Script:
    """A file for sbatch.

    Attributes:
        trials: that it runs; empty: the study's loop.
        designs: their knobs.
    """

    text: str
    trials: tuple[int, ...] = ()
    designs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A loop that was submitted: its job, the study's folder, and where it prints."""

    job: str
    folder: Path
    log: Path


def preview_launch(
    spec_path: str | Path,
    *,
    study: str | Path | None = None,
    overrides: Sequence[str] = (),
    data_path: str | None = None,
    trials: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Script]:
    """Write the scripts of the study's loop and of its next trials; nothing is created.

    Args:
        study: the study's folder, which need not exist; default `studies/NAME`.
        overrides, data_path: see `load_problem`.
        trials: how many; None: as many as run at a time.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.api.studies import make_proposer
    from codesign.spec.problem import load_problem
    from codesign.study.attempts import job_of
    from codesign.study.folder import StudyFolder
    from codesign.study.preview import next_trials
    from codesign.study.recorded import read_study
    from codesign.study.state import fold

    problem = load_problem(spec_path, overrides=overrides, data_path=data_path, say=say)
    folder = StudyFolder(_folder(problem.spec, study))
    state = read_study(folder.path).state if folder.snapshot.exists() else fold(())
    executor, request = _executor(problem.spec, folder.path)
    most = trials or problem.spec.launch.workers or executor.DEFAULT_SLOTS
    upcoming = list(next_trials(problem, make_proposer(problem.spec), state, most))
    designs = {trial.number: dict(trial.awake) for trial in upcoming}
    jobs = [job_of(problem.spec, folder, trial) for trial in upcoming]
    command = _command(spec_path, folder.path, overrides, data_path)
    return [Script(text=executor.loop_script(request, command))] + [
        Script(text=text, trials=numbers, designs=tuple(designs[number] for number in numbers))
        for numbers, text in executor.trial_scripts(request, jobs)
    ]


def launch(
    spec_path: str | Path,
    *,
    study: str | Path | None = None,
    overrides: Sequence[str] = (),
    data_path: str | None = None,
) -> Launched:
    """Submit the study's loop as a job, which submits the trials and is requeued until they end.

    Args:
        study, overrides, data_path: see `preview_launch`.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.spec.problem import load_spec

    spec = load_spec(spec_path, overrides=overrides, data_path=data_path).spec
    folder = _folder(spec, study)
    executor, request = _executor(spec, folder)
    command = _command(spec_path, folder, overrides, data_path)
    job, log = executor.launch_loop(request, command)
    return Launched(job=job, folder=folder, log=log)


def _folder(spec: StudySpec, study: str | Path | None) -> Path:
    return (Path(study) if study else Path("studies") / spec.name).absolute()


def _executor(spec: StudySpec, folder: Path) -> tuple[Any, LaunchRequest]:
    """Return the module of the spec's executor, and what is asked of it."""
    from codesign.study.attempts import launch_request

    module = plugin("executor", spec.launch.executor)
    if not hasattr(module, "launch_loop"):
        raise LaunchError(
            f"is {spec.launch.executor!r}, which runs no loops",
            where="launch.executor",
            hint="run codesign optimize here, or take executor slurm",
        )
    return module, launch_request(spec, folder)


def _command(
    spec_path: str | Path, folder: Path, overrides: Sequence[str], data_path: str | None
) -> list[str]:
    """Return the arguments of `codesign` that run the study from anywhere."""
    arguments = ["optimize", str(Path(spec_path).absolute()), "--study", str(folder)]
    arguments += [] if data_path is None else ["--data", str(Path(data_path).absolute())]
    return arguments + [part for override in overrides for part in ("--set", override)]
