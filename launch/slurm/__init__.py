"""Trials as jobs of SLURM, submitted through submitit.

`options` is what the spec asks for; `script` writes the file for sbatch; `client` calls SLURM's
commands; `batch` is what lies on disk of a submission; `job` runs on the nodes; `ends` says how a
job ended; `executor` puts them together. submitit is imported where it is used, and only here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.slurm.options import Options

if TYPE_CHECKING:
    from codesign.contracts import LaunchRequest
    from launch.slurm.executor import SlurmExecutor

__all__ = ["Options", "make"]


def make(request: LaunchRequest) -> SlurmExecutor:
    """Return an executor for the study; asks nothing of SLURM yet.

    Raises:
        ConfigError: options that cannot be together.
        LaunchError: there is no sbatch on this machine.
    """
    from launch.slurm.client import Client
    from launch.slurm.executor import SlurmExecutor

    return SlurmExecutor(request, Options(**request.options), Client())
