"""What sbatch's refusals mean: wait, or mend which field of the spec."""

from __future__ import annotations

from codesign.errors import LaunchError

# Limits on how much may be queued: they pass as jobs end.
PASSING = (
    "maxsubmit", "maxjobcount", "max job count", "submit job limit", "job submit limit",
    "too many jobs", "launch limit",
)  # fmt: skip
# Limits that no waiting lifts, though sbatch speaks of limits on what may be queued, too.
LASTING = ("perjob", "pernode", "maxwall", "mincpus", "mingres", "minnode", "maxnode", "maxtres")
# Words of sbatch → the field of `launch.slurm` to look at.
FIELDS = {
    "qos": "qos",
    "account": "account",
    "partition": "partition",
    "feature": "constraint",
    "memory": "memory_gib",
    "time limit": "time_min",
    "gres": "gpus_per_node",
    "node count": "nodes",
    "configuration is not available": "nodes",
    "cpu count": "cpus_per_task",
    "unrecognized option": "sbatch",
    "invalid option": "sbatch",
}


def is_temporary(said: str) -> bool:
    """Whether sbatch takes the same request once other jobs have ended."""
    words = said.lower()
    return any(w in words for w in PASSING) and not any(w in words for w in LASTING)


def refused(said: str) -> LaunchError:
    """Return the error that names the field to mend.

    Args:
        said: by sbatch.
    """
    words = said.lower()
    fields = [field for word, field in FIELDS.items() if word in words]
    where = f"launch.slurm.{fields[0]}" if fields else "launch.slurm"
    return LaunchError(
        f"sbatch refuses the job: {said}",
        where=where,
        hint="codesign launch --dry-run shows what is asked for; sinfo and sacctmgr, what there is",
    )
