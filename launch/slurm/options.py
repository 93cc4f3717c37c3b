"""What a spec's `launch.slurm` asks for: the request of each trial's job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codesign.errors import ConfigError

SIGNAL_S = 90
LOOP_CPUS = 2
# Options of sbatch that have a field of their own, and those that codesign itself sets.
FIELDS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "nodes": "nodes",
    "ntasks-per-node": "tasks_per_node",
    "gpus-per-node": "gpus_per_node",
    "cpus-per-task": "cpus_per_task",
    "mem": "memory_gib",
    "time": "time_min",
    "signal": "signal_s",
}
OURS = (
    "array", "comment", "error", "help", "input", "job-name", "no-requeue", "ntasks", "open-mode",
    "output", "parsable", "quiet", "requeue", "test-only", "usage", "version", "wait", "wrap",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many processes a job has, and where.

    Attributes:
        nodes, tasks_per_node: their product is the number of processes.
        gpus_per_node: one for each task, or 0.
    """

    nodes: int
    tasks_per_node: int
    gpus_per_node: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """The section `launch.slurm` of a spec; the schema says what each field means.

    Raises:
        ConfigError: fields that cannot be together; the message lists every mistake.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    memory_gib: float | None = None
    time_min: float | None = None
    signal_s: int = SIGNAL_S
    array_parallelism: int | None = None
    setup: Sequence[str] = ()
    python: str | None = None
    srun_args: Sequence[str] = ()
    sbatch: Mapping[str, str | float | bool] = field(default_factory=dict)
    loop: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = [f"{'.'.join(path)} {wrong}" for path, wrong in self.mistakes(vars(self))]
        if found:
            raise ConfigError("; ".join(found), where="launch.slurm")

    @staticmethod
    def mistakes(section: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the key of each mistake, as a path below `launch.slurm`, and what is wrong.

        Args:
            section: fields of this class, each of the schema's type; any may be missing.
        """
        tasks, gpus = section.get("tasks_per_node"), section.get("gpus_per_node", 0)
        if gpus and tasks not in (None, gpus):
            yield (
                ("tasks_per_node",),
                f"is {tasks}, and gpus_per_node is {gpus}; must be the same: one process a GPU",
            )
        signal_s, time_min = section.get("signal_s", SIGNAL_S), section.get("time_min")
        if time_min is not None and signal_s >= time_min * 60:
            yield (
                ("time_min",),
                f"is {time_min:g}; must exceed the {signal_s} s of signal_s, to save a checkpoint",
            )
        for key, value in section.get("sbatch", {}).items():
            for complaint in _sbatch_mistakes(key.replace("_", "-"), value):
                yield ("sbatch", key), complaint

    @property
    def processes(self) -> int:
        """Of one job that has all nodes."""
        return self.nodes * self._tasks

    def size(self, processes: int) -> Size:
        """Spread the processes of one job evenly over as few nodes as hold them.

        Raises:
            ConfigError: they do not fit, or cannot be spread evenly.
        """
        nodes = -(-processes // self._tasks)
        if nodes > self.nodes or processes % nodes:
            raise ConfigError(
                f"{processes} processes cannot be spread evenly over {nodes} nodes of "
                f"{self._tasks} tasks each; there may be {self.nodes} nodes",
                where="launch.slurm",
            )
        tasks = processes // nodes
        return Size(
            nodes=nodes, tasks_per_node=tasks, gpus_per_node=tasks if self.gpus_per_node else 0
        )

    @property
    def of_loop(self) -> Options:
        """What the study's loop asks for, where it runs as a job, too."""
        return Options(
            partition=self.loop.get("partition", self.partition),
            account=self.account,
            qos=self.qos,
            cpus_per_task=self.loop.get("cpus", LOOP_CPUS),
            memory_gib=self.loop.get("memory_gib"),
            time_min=self.loop.get("time_min"),
            setup=self.setup,
        )

    @property
    def _tasks(self) -> int:
        return self.tasks_per_node or self.gpus_per_node or 1


def _sbatch_mistakes(name: str, value: Any) -> Iterator[str]:
    if name in FIELDS:
        yield f"has a field of its own; must stand as launch.slurm.{FIELDS[name]}"
    elif name in OURS:
        yield "is set by codesign itself; must be left out"
    elif not name.replace("-", "").isalnum():
        yield "is no option; must be the long name of one, such as reservation"
    elif isinstance(value, str) and not value.isprintable():
        yield "must be one line"
