"""What the schema cannot say of the section `launch`: options that exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from codesign.errors import ConfigError
from codesign.registry import plugin
from codesign.spec.yaml_reader import KeyPath, shown

SIZES = ("nodes", "gpus_per_node", "tasks_per_node")
# What launch.system planned chooses, so that the section hardware may not.
CHOSEN = ("devices", "system")
At = Callable[[KeyPath, str], str]


def processes_of(launch: Mapping[str, Any]) -> int:
    """Return how many processes train one trial, at most where they are planned, ≥ 1.

    Args:
        launch: the section, without mistakes.
    """
    if launch.get("executor") == "slurm":
        nodes, tasks = _nodes_and_tasks(launch)
        return nodes * tasks
    return int(launch.get("processes", 1))


def device_counts(launch: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the numbers of devices that a planned trial may have, rising.

    Doublings within a node, then doublings of whole nodes, and all of both.

    Args:
        launch: see `processes_of`.
    """
    if launch.get("executor") == "slurm":
        nodes, tasks = _nodes_and_tasks(launch)
    else:
        nodes, tasks = 1, processes_of(launch)
    return (*_doublings(tasks), *(count * tasks for count in _doublings(nodes)[1:]))


def _doublings(most: int) -> list[int]:
    """Return 1, 2, 4, … and `most`."""
    return [*(2**i for i in range((most - 1).bit_length())), most]


def _nodes_and_tasks(launch: Mapping[str, Any]) -> tuple[int, int]:
    section = launch.get("slurm", {})
    options = plugin("executor", "slurm").Options(
        **{name: section[name] for name in SIZES if name in section}
    )
    return options.nodes, options.processes // options.nodes


def launch_mistakes(values: Mapping[str, Any], at: At) -> Iterator[str]:
    """Yield what is wrong with the options of an executor that is known."""
    launch = values.get("launch", {})
    executor = launch.get("executor", "local")
    if "slurm" in launch and executor != "slurm":
        yield at(
            ("launch", "slurm"),
            f"stands beside executor {shown(executor)}; must be left out, or launch.executor slurm",
        )
    if executor != "slurm":
        return
    found = plugin("executor", executor).Options
    section = launch.get("slurm", {})
    for path, complaint in found.mistakes(section):
        yield at(("launch", "slurm", *path), complaint)
    if "processes" in launch:
        yield from _process_mistakes(launch, at)


def planning_mistakes(values: Mapping[str, Any], at: At) -> Iterator[str]:
    """Yield what is wrong with a section `hardware` beside `launch.system`."""
    if values.get("launch", {}).get("system", "given") == "given":
        return
    if "hardware" not in values:
        yield at(
            ("launch", "system"),
            "is planned; must have the section hardware beside it, such as hardware: h100-sxm",
        )
    for name in CHOSEN:
        if name in values.get("hardware", {}):
            yield at(
                ("hardware", name),
                "is chosen for each trial, as launch.system is planned; must be left out",
            )


def _process_mistakes(launch: Mapping[str, Any], at: At) -> Iterator[str]:
    try:
        most = processes_of(launch)
    except ConfigError:
        return  # It has been said.
    if launch["processes"] != most:
        yield at(
            ("launch", "processes"),
            f"is {launch['processes']}, and launch.slurm has {most} tasks on its nodes together; "
            "must be the same, or left out",
        )
