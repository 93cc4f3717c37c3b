"""What the schema cannot say of the section `launch`: options that exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from codesign.errors import ConfigError
from codesign.registry import plugin
from codesign.spec.yaml_reader import KeyPath, shown

SIZES = ("nodes", "gpus_per_node", "tasks_per_node")
At = Callable[[KeyPath, str], str]


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
    if "processes" in launch and launch.get("system", "given") == "given":
        yield from _process_mistakes(found, launch, at)


def _process_mistakes(options: Any, launch: Mapping[str, Any], at: At) -> Iterator[str]:
    section = launch.get("slurm", {})
    try:
        most = options(**{name: section[name] for name in SIZES if name in section}).processes
    except ConfigError:
        return  # It has been said.
    if launch["processes"] != most:
        yield at(
            ("launch", "processes"),
            f"is {launch['processes']}, and launch.slurm has {most} tasks on its nodes together; "
            "must be the same, or left out",
        )
