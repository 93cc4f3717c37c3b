"""The files for sbatch, written by submitit: on any machine, with or without SLURM."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codesign.contracts import Job
from codesign.errors import MissingPackageError
from codesign.study.folder import CLUSTER_NAME
from launch.slurm.batch import Batch, batch_file
from launch.slurm.options import Options, Size

try:
    from submitit import SlurmExecutor
except ImportError as error:
    raise MissingPackageError(
        f"submitit does not load: {error}",
        where="launch.executor",
        hint="pip install submitit, or launch with executor local",
    ) from error

# Where Python looks for its library before it looks into the folder.
_ZIPPED = f"{sys.base_prefix}/lib/python{sys.version_info.major}{sys.version_info.minor}.zip"
# Without -m, bash has a command in the background ignore the interrupt that ends it.
LOOP = """\
set -m
trap 'kill -INT $loop; wait $loop; scontrol requeue $SLURM_JOB_ID; exit' USR2
{command} &
loop=$!
wait $loop"""
# Attempts in one array; sites allow 1000 and more.
ARRAY = 500


class _Writer(SlurmExecutor):
    """submitit's executor as far as the text goes."""

    @classmethod
    def affinity(cls) -> int:
        """Write also where there is no srun."""
        return 1

    def text(self, command: str, *, count: int) -> str:
        """Return the file for so many jobs; several are one array."""
        if count > 1:
            self.parameters["map_count"] = count
        return self._make_submission_file_text(command, uid="")


def trial_script(options: Options, batch: Batch, *, study: Path, name: str) -> str:
    """Return the file that runs the attempts of a batch, all of one size.

    Args:
        study: its folder, absolute; name: of the study, for people.
    """
    writer = _writer(options, options.size(batch.jobs[0].processes), study)
    srun = list(options.srun_args)
    if options.cpus_per_task is not None:
        srun.append(f"--cpus-per-task={options.cpus_per_task}")  # srun does not take sbatch's.
    writer.parameters |= {
        "job_name": _job_name(name, batch),
        "comment": f"codesign:{batch.key}",
        "array_parallelism": options.array_parallelism or len(batch.jobs),
        # One that failed for a reason of its own says why before it ends, and so ends the others.
        "srun_args": ["--kill-on-bad-exit=1", *srun],
    }
    listed = shlex.quote(str(batch_file(study, batch.key)))
    command = f"{_python(options)} -u -m launch.slurm.job {listed}"
    return writer.text(command, count=len(batch.jobs))


def loop_script(options: Options, arguments: Sequence[str], *, study: Path, name: str) -> str:
    """Return the file that runs the study's loop: one task, requeued before its time is over.

    Args:
        arguments: of `codesign`; study, name: see `trial_script`.
    """
    mine = options.of_loop
    writer = _writer(mine, mine.size(1), study)
    writer.parameters |= {"job_name": f"{name}.loop", "comment": loop_mark(study),
                          "use_srun": False}  # fmt: skip
    # To the shell, which has the loop end first: its trials' jobs go on.
    writer.parameters["additional_parameters"]["signal"] = f"B:USR2@{mine.signal_s}"
    command = shlex.join([sys.executable, "-u", "-m", "codesign", *arguments])
    return writer.text(LOOP.format(command=command), count=1)


def loop_mark(study: Path) -> str:
    """Return the comment of the job that runs a study's loop."""
    return f"codesign-loop:{study}"


def _writer(options: Options, size: Size, study: Path) -> _Writer:
    """Return a writer of files with all that a job asks for."""
    writer = _Writer(study / CLUSTER_NAME)
    asked: dict[str, Any] = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "nodes": size.nodes,
        "ntasks_per_node": size.tasks_per_node,
        "gpus_per_node": size.gpus_per_node or None,
        "cpus_per_task": options.cpus_per_task,
        "mem": None if options.memory_gib is None else f"{round(options.memory_gib * 1024)}M",
        "signal_delay_s": options.signal_s,
        "setup": [*options.setup, *_search_path(options)],
        "time": None if options.time_min is None else _time(options.time_min),
        "wckey": None,
    }
    more = {key: value for key, value in options.sbatch.items() if value is not False}
    writer.parameters = {**asked, "additional_parameters": {"requeue": True, **more}}
    return writer


def _python(options: Options) -> str:
    return shlex.quote(sys.executable) if options.python is None else options.python


def _search_path(options: Options) -> list[str]:
    """What can be imported here can be imported there; a container has packages of its own."""
    if options.python is not None:
        return []
    paths = sysconfig.get_paths()
    own = tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    folders = [path for path in sys.path if path and not path.startswith((*own, _ZIPPED))]
    return [f"export PYTHONPATH={shlex.quote(os.pathsep.join(folders))}"]


def _job_name(study: str, batch: Batch) -> str:
    trials = [job.trial for job in batch.jobs]
    span = f"{trials[0]}" if len(trials) == 1 else f"{min(trials)}-{max(trials)}"
    return f"{study}.{span}.{batch.key}"


def _time(minutes: float) -> str:
    seconds = round(minutes * 60)
    return f"{seconds // 60}:{seconds % 60:02d}"


def jobs_of_size(jobs: Sequence[Job], most: int) -> list[list[Job]]:
    """Group jobs that ask for the same, in groups of at most so many."""
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.processes, []).append(job)
    return [
        group[first : first + most]
        for group in groups.values()
        for first in range(0, len(group), most)
    ]
