"""Trials as jobs of SLURM, submitted through submitit.

`options` is what the spec asks for; `script` writes the files for sbatch; `client` calls SLURM's
commands, and `refusals` says what these object to. `batch` is what lies on disk of a submission,
which `submission` hands over; `job` runs on the nodes. `looks` asks how jobs stand, `ends` says how
one ended, `executor` follows them all. `loop_job` is for the study's loop. submitit is imported
where it is used, and only in this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launch.slurm.options import Options

if TYPE_CHECKING:
    from codesign.contracts import Job, LaunchRequest
    from launch.slurm.executor import SlurmExecutor

__all__ = [
    "DEFAULT_SLOTS",
    "Options",
    "launch_loop",
    "logs",
    "loop_script",
    "make",
    "trial_scripts",
]

# Trials at a time, where nobody says how many.
DEFAULT_SLOTS = 8


def make(request: LaunchRequest) -> SlurmExecutor:
    """Return an executor for the study; asks nothing of SLURM yet.

    Raises:
        ConfigError: options that cannot be together.
        LaunchError: there is no sbatch on this machine.
    """
    from launch.slurm.client import Client
    from launch.slurm.executor import SlurmExecutor

    slots = request.workers or DEFAULT_SLOTS
    return SlurmExecutor(request, Options(**request.options), Client(), slots=slots)


def logs(folder: Path) -> list[Path]:
    """Return SLURM's own logs of the job of an attempt: of its script, and of its ranks.

    Args:
        folder: of the attempt.
    """
    from launch.slurm.ends import logs as of_attempt

    return of_attempt(folder)


def trial_scripts(
    request: LaunchRequest, jobs: Sequence[Job]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the trials and the text of each file that sbatch would be given for jobs.

    Needs no SLURM on this machine, and writes nothing.
    """
    from launch.slurm.batch import Batch
    from launch.slurm.script import ARRAY, jobs_of_size, trial_script

    assert request.study is not None
    for group in jobs_of_size(jobs, ARRAY):
        text = trial_script(Options(**request.options), Batch.of(group), study=request.study,
                            name=request.name)  # fmt: skip
        yield tuple(job.trial for job in group), text


def loop_script(request: LaunchRequest, arguments: Sequence[str]) -> str:
    """Return the file that runs a study's loop as a job.

    Args:
        arguments: of `codesign`.
    """
    from launch.slurm.script import loop_script as written

    assert request.study is not None
    options = Options(**request.options)
    return written(options, arguments, study=request.study, name=request.name)


def launch_loop(request: LaunchRequest, arguments: Sequence[str]) -> tuple[str, Path]:
    """Submit the loop of a study as a job, unless one is queued; return its id and its log.

    Raises:
        LaunchError: SLURM does not answer, or refuses the job.
    """
    from launch.slurm.loop_job import submit

    assert request.study is not None
    return submit(request.study, loop_script(request, arguments))
