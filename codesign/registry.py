"""Plug-ins by name: one table per kind, each entry a module that is imported when asked for.

A task module offers what `codesign.contracts.TaskFamily` lists; a proposer module `Options` and
`make(objectives, options)`, and `LEARNS_RELATED_TASKS` where it learns from observations of other
studies; an executor module `make(request)`, `Options` where `launch` has a section of its name,
`logs(attempt)` where it has files of its own, and where it runs loops, too, what `launch.slurm` has
for that: `DEFAULT_SLOTS`, `trial_scripts`, `loop_script`, `launch_loop`; a tracker module `Options`
and `connect(options, study, group)`; profiler and preparer modules `run`, an evaluator module
`evaluate`, as `codesign.api` calls them. A name with a dot is a module of the user's own. A task's
name with a colon, `package.module:name`, is what builds a model of the user's own.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import cast

from codesign.contracts import TaskFamily
from codesign.errors import ConfigError

TASKS: Mapping[str, str] = {
    "wukong": "wukong.task",
}
# Its `family(name)` makes the task family of a model of the user's own.
OWN_MODELS = "wukong.own.task"
PROPOSERS: Mapping[str, str] = {
    "known_cost": "codesign.search.known_cost",
    "ax": "codesign.search.stock_ax",
    "nevergrad": "codesign.search.evolution",
    "regularized_evolution": "codesign.search.regularized_evolution",
    "sobol": "codesign.search.sobol",
    "support_points": "codesign.search.support_points",
    "random": "codesign.search.random",
}
EXECUTORS: Mapping[str, str] = {
    "local": "launch.local",
    "slurm": "launch.slurm",
}
TRACKERS: Mapping[str, str] = {
    "wandb": "codesign.tracking.wandb",
}
PROFILERS: Mapping[str, str] = {
    "wukong": "cost_models.profile.runner",
}
CALIBRATORS: Mapping[str, str] = {
    "wukong": "cost_models.calibrate",
}
EVALUATORS: Mapping[str, str] = {
    "wukong": "cost_models.evaluation.evaluate",
}
PREPARERS: Mapping[str, str] = {
    "wukong": "wukong.data.sources",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "task": TASKS,
    "proposer": PROPOSERS,
    "executor": EXECUTORS,
    "tracker": TRACKERS,
    "profiler": PROFILERS,
    "calibrator": CALIBRATORS,
    "evaluator": EVALUATORS,
    "preparer": PREPARERS,
}


# What a module of each kind offers.
OFFERS: Mapping[str, tuple[str, ...]] = {
    "task": ("KNOBS", "SETTINGS", "SOURCES", "METRICS", "NOT_YET_PREDICTED", "make"),
    "proposer": ("Options", "make"),
    "executor": ("make",),
    "tracker": ("Options", "connect"),
    "profiler": ("run",),
    "calibrator": ("run",),
    "evaluator": ("evaluate",),
    "preparer": ("run",),
}


def task_family(name: str) -> TaskFamily:
    """Import what stands behind a task's name.

    Raises:
        ConfigError: there is none, or it is not what it must be.
    """
    if ":" in name:
        return cast("TaskFamily", importlib.import_module(OWN_MODELS).family(name))
    return cast("TaskFamily", plugin("task", name))


def plugin(kind: str, name: str) -> ModuleType:
    """Import a plug-in's module.

    Raises:
        ConfigError: no plug-in of this kind has that name (the message says the nearest), or the
            module is none.
    """
    table = TABLES[kind]
    if not is_known(kind, name):
        raise ConfigError(f"{kind} {name!r} is unknown; {nearest(name, table)}")
    try:
        module = importlib.import_module(table.get(name, name))
    except ModuleNotFoundError as error:
        if name in table or error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"{kind} {name!r} is no module that can be imported: {error}") from error
    missing = [offer for offer in OFFERS[kind] if not hasattr(module, offer)]
    if missing:
        raise ConfigError(f"{kind} {name!r} is a module without {', '.join(missing)}")
    return module


def is_known(kind: str, name: str) -> bool:
    """Whether `plugin` has something to import for this name."""
    dotted = "." in name and all(part.isidentifier() for part in name.split("."))
    return name in TABLES[kind] or dotted


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names was probably meant, or list them all."""
    names = sorted(known)
    same = [one for one in names if one.casefold() == name.casefold()]
    if same:
        return f"did you mean {same[0]!r}?"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"must be one of {', '.join(names)}" if names else "there are none to choose from"
