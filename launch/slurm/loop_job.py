"""The job that runs a study's loop."""

from __future__ import annotations

from pathlib import Path

from codesign.errors import LaunchError
from codesign.study.folder import CLUSTER_NAME, write_text
from launch.slurm.client import Client, NoAnswerError, RefusedError
from launch.slurm.ends import is_over
from launch.slurm.refusals import refused
from launch.slurm.script import loop_mark


def submit(study: Path, script: str) -> tuple[str, Path]:
    """Submit a study's loop, unless a job that runs it is queued; return its id and its log.

    Raises:
        LaunchError: SLURM does not answer, or refuses the job.
    """
    client, folder = Client(), study / CLUSTER_NAME
    folder.mkdir(parents=True, exist_ok=True)
    try:
        job = _queued(client, study)
        if job is None:
            write_text(folder / "loop.sh", script)
            job = client.submit(folder / "loop.sh")
    except NoAnswerError as error:
        raise LaunchError(
            f"SLURM does not answer: {error}",
            where="launch.executor",
            hint="run the same command again later; a loop that it has taken is not begun twice",
        ) from error
    except RefusedError as error:
        raise refused(str(error)) from error
    return job, folder / f"{job}_0_log.err"


def _queued(client: Client, study: Path) -> str | None:
    """Return the id of a job that runs the study's loop, or waits to."""
    return next(
        (
            seen.job
            for seen in client.queue().values()
            if seen.mark == loop_mark(study) and not is_over(seen.state)
        ),
        None,
    )
